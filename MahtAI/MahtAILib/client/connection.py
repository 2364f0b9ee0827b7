"""One MahtAI server: its address, its token, and requests that always end, in an answer or a typed error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import requests
from urllib3.exceptions import HTTPError

from MahtAILib.client.acting import NOBODY, Account, Person
from MahtAILib.client.address import clean_url, is_loopback
from MahtAILib.client.answers import read_body, read_document, require_success
from MahtAILib.client.background import Task
from MahtAILib.client.diagnosis import explain_failure, not_mahtai
from MahtAILib.client.errors import (
    AccessTokenExpiredError,
    BusyError,
    ConnectionLostError,
    SessionEndedError,
    TooManyRequestsError,
    WrongTokenError,
)
from MahtAILib.client.login import NO_LOGIN, Bearer, Login, TokenLogin
from MahtAILib.client.server_info import ServerInfo, read_server_info
from MahtAILib.client.transport import open_session

_MAX_RETRY_WAIT_S = 5.0
_UPLOAD_CONNECT_TIMEOUT_S = 10.0

T = TypeVar("T")


class Body(Protocol):
    """A request body of known length that can be sent more than once."""

    def __len__(self) -> int:
        """Its size in bytes."""

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Its pieces, from the beginning each time."""


class Connection:
    """Requests to one server, from any thread.

    Every request has a time-out for connecting and for each wait for data. Those that may be repeated
    without harm are repeated after a short pause when the connection breaks or the server is busy.

    Attributes:
        person: who asks; only a server that has shown to be MahtAI's is told, and one with accounts knows better.
        account: whose login it is; None where the server has no accounts, or was not asked.
        login: what requests show; a session takes its place after signing in.

    Usage::

        with Connection("http://127.0.0.1:8391", token) as connection:
            connection.probe()
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 30.0,
        retries: int = 2,
        backoff_s: float = 0.3,
        ca_file: str | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: ``http://host:port`` or ``https://…``; without a scheme http is meant.
            token: the access token.
            connect_timeout_s: for setting up a connection.
            read_timeout_s: for each wait for data.
            retries: how often a request that may be repeated is repeated.
            backoff_s: pause before the first repetition; it doubles each time.
            ca_file: certificates to trust instead of the system's; they are loaded now.

        Raises:
            BadAddressError: ``url`` cannot be read.
            WrongTokenError: ``token`` holds characters that no token has.
            CertificateError: ``ca_file`` cannot be read.
        """
        self.url = clean_url(url)
        self.is_local = is_loopback(self.url)
        self.person: Person = NOBODY
        self.account: Account | None = None
        self._timeouts = (connect_timeout_s, read_timeout_s)
        self._retries = retries
        self._backoff_s = backoff_s
        self.login: Login = TokenLogin(token)
        self._server: ServerInfo | None = None
        self._ca_file = ca_file
        self._session = open_session(self.url, self.is_local, ca_file)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the sockets that are kept open."""
        self._session.close()

    def probe(self) -> ServerInfo:
        """Find out whether a MahtAI server that this client understands answers and accepts the token.

        Raises:
            ClientError: the one of its kinds that names what is wrong.
        """
        self._server = None
        info = self.require_mahtai()
        self.json("GET", "/v1/models", retry=False)
        return info

    def require_mahtai(self) -> ServerInfo:
        """Make sure, once per connection, that it is a MahtAI server before anything is sent to it.

        Raises:
            NotMahtAIError, ServerTooOldError, ServerTooNewError: it is not, or not of this API version.
            ClientError: it does not answer.
        """
        if self._server is None:
            # without the token: whoever listens there has not shown yet that it may see it
            try:
                with self._opened("GET", "/healthz", login=NO_LOGIN) as response:
                    document = read_document(response, self.url)
            except WrongTokenError as error:
                raise not_mahtai(self.url, "it wants a login of its own") from error
            self._server = read_server_info(document, self.url)
        return self._server

    def json(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
        task: Task | None = None,
        login: Login | None = None,
    ) -> Any:
        """Send one JSON request and return the JSON answer (None for an empty one).

        Args:
            method: HTTP method.
            path: from the root of the server.
            body: to be sent as JSON, if not None.
            headers: additional ones.
            retry: whether the request may be repeated; by default whether its method is idempotent.
            task: stops waiting between repetitions when it is stopped.
            login: instead of that of the connection.

        Raises:
            ClientError: no answer, or one that is not a success.
        """
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"

        def once() -> Any:
            with self._opened(method, path, data=data, headers=sent, login=login) as response:
                return read_document(response, self.url)

        may_repeat = method in ("GET", "HEAD", "PUT", "DELETE") if retry is None else retry
        return self._repeated(once, task, may_repeat)

    def put(self, path: str, body: Body, headers: Mapping[str, str], task: Task | None = None) -> Any:
        """Upload a body and return the JSON answer; repeated where the connection breaks.

        Raises:
            ClientError: no answer, or one that is not a success.
        """
        # the first number is also how long one piece of the body may take to go out
        timeouts = (max(self._timeouts[0], _UPLOAD_CONNECT_TIMEOUT_S), self._timeouts[1])

        def once() -> Any:
            with self._opened("PUT", path, data=body, headers=headers, timeouts=timeouts) as response:
                return read_document(response, self.url)

        return self._repeated(once, task)

    def download(
        self, path: str, max_bytes: int, on_bytes: Callable[[int], None] | None = None, task: Task | None = None
    ) -> bytes:
        """Fetch a file; ``on_bytes`` is called with the number of bytes that are there.

        Raises:
            NotMahtAIError: it goes on after ``max_bytes``.
            ClientError: no answer, or one that is not a success.
        """

        def once() -> bytes:
            with self._opened("GET", path) as response:
                return read_body(response, self.url, max_bytes, on_bytes, task)

        return self._repeated(once, task)

    def ask(
        self, path: str, body: bytes, content_type: str, max_bytes: int, read_timeout_s: float, task: Task | None = None
    ) -> bytes:
        """POST a file as a question and return the file that answers it; repeated where the connection breaks.

        Args:
            path: of a call that changes nothing on the server.
            read_timeout_s: for each wait for data.

        Raises:
            NotMahtAIError: the answer goes on after ``max_bytes``.
            ClientError: no answer, or one that is not a success.
        """
        headers, timeouts = {"Content-Type": content_type}, (self._timeouts[0], read_timeout_s)

        def once() -> bytes:
            with self._opened("POST", path, data=body, headers=headers, timeouts=timeouts) as response:
                return read_body(response, self.url, max_bytes, None, task)

        return self._repeated(once, task)

    @contextmanager
    def events(self, path: str, silence_s: float) -> Iterator[requests.Response]:
        """An answer that stays open; the body is for the caller to read, within ``explaining()``.

        Args:
            path: from the root of the server.
            silence_s: how long no byte may come before the answer counts as timed out.
        """
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        with self._opened("GET", path, headers=headers, timeouts=(self._timeouts[0], silence_s)) as response:
            yield response

    @contextmanager
    def _opened(
        self,
        method: str,
        path: str,
        *,
        data: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: tuple[float, float] | None = None,
        login: Login | None = None,
    ) -> Iterator[requests.Response]:
        """A successful answer whose body has not been read; every failure inside becomes a ClientError."""
        shown = login or self.login
        sent = {**({} if login is not None else self.person.headers()), **(headers or {})}

        def ask(token: str) -> requests.Response:
            response = self._session.request(
                method,
                self.url + path,
                data=data,  # type: ignore[arg-type]
                headers=sent,
                timeout=timeouts or self._timeouts,
                auth=Bearer(token),
                verify=self._ca_file or True,  # of the session it would give way to a variable of the environment
                stream=True,
                allow_redirects=False,
            )
            try:
                require_success(response)
            except BaseException:
                response.close()
                raise
            return response

        try:
            token = shown.token()
            try:
                response = ask(token)
            except AccessTokenExpiredError:
                shown.renew(token)
                response = ask(shown.token())
            with response:
                yield response
        except SessionEndedError:
            shown.end()
            raise
        except (requests.RequestException, HTTPError, OSError) as error:
            raise explain_failure(error, self.url, self._ca_file is not None) from error

    def _repeated(self, once: Callable[[], T], task: Task | None, may_repeat: bool = True) -> T:
        """What ``once`` returns; what the server did not even look at is repeated in any case."""
        pause_s = self._backoff_s
        for _ in range(self._retries):
            try:
                return once()
            except (ConnectionLostError, BusyError) as error:
                if not may_repeat and not isinstance(error, TooManyRequestsError):
                    raise
                asked_s = error.retry_after_s if isinstance(error, BusyError) else None
                if asked_s is not None and asked_s > _MAX_RETRY_WAIT_S:
                    raise
                wait_s = pause_s if asked_s is None else asked_s
            (task or Task()).wait(wait_s)
            pause_s *= 2
        return once()
