"""Which server the panel talks to, how that stands, and what models it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from MahtAILib.client.acting import NOBODY, Person
from MahtAILib.client.address import clean_url, is_loopback
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import BadAddressError, WrongTokenError
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.topics import Topic

DEFAULT_URL = "http://127.0.0.1:8391"


@dataclass(frozen=True)
class Answer:
    """What a server said when it was asked whether it is there."""

    connection: Connection
    version: str
    models: tuple[dict[str, Any], ...]
    token_was_typed: bool


class ServerState:
    """The connection. Every question is asked in a thread; ``changed`` tells when the answer is there.

    Attributes:
        connection: to a server that answered and took the token; None before.
        version: of that server.
        models: its models that are ready, as the API describes them.
        is_asking: whether an answer is awaited.
        error: why there is no connection, or None.

    Args:
        token_of_this_computer: finds the token of a server that this user runs on this computer, if any.
    """

    def __init__(self, background: Background, settings: Settings, token_of_this_computer: Callable[[], str]) -> None:
        self.changed = Topic()
        self.connection: Connection | None = None
        self.version = ""
        self.models: tuple[dict[str, Any], ...] = ()
        self.error: ExplainedError | None = None
        self._person = NOBODY
        self._guests: tuple[dict[str, Any], ...] = ()
        self._background = background
        self._settings = settings
        self._token_of_this_computer = token_of_this_computer
        self._errand: Errand[Answer] | None = None

    @property
    def is_asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._errand is not None

    @property
    def person(self) -> Person:
        """Who reads, as the server is told."""
        return self._person

    @person.setter
    def person(self, person: Person) -> None:
        self._person = person
        if self.connection is not None:
            self.connection.person = person

    def connect(self, address: str, token: str = "", then: Callable[[], None] | None = None) -> None:
        """Ask the server at this address; an empty token means the one that is remembered or lies on this computer.

        Args:
            then: called once when the answer is there, if it is a good one.
        """
        if self._errand is not None:
            self._errand.cancel()
        try:
            url = clean_url(address)
        except BadAddressError as error:
            self._errand = None
            self._lost(error)
            return
        typed = token.strip()

        def done(answer: Answer) -> None:
            if self._errand is errand:
                self._found(answer, typed)
                if then is not None:
                    then()

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand = None
                self._lost(error)

        errand = self._background.run(lambda _errand: self._ask(url, typed), done, failed)
        self._errand = errand
        self.changed.publish()

    def check(self) -> None:
        """Ask the connected server again, for instance after a request failed."""
        if self.connection is not None and self._errand is None:
            self.connect(self.connection.url)

    def disconnect(self) -> None:
        """Forget the connection, for instance because the server was stopped."""
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None
        self.connection, self.version, self.models, self.error = None, "", (), None
        self.changed.publish()

    def set_guests(self, models: Sequence[dict[str, Any]]) -> None:
        """Models of another kind of server, which are offered beside those of this one."""
        self._guests = tuple(models)
        self.changed.publish()

    def models_for(self, task: str) -> list[dict[str, Any]]:
        """Models of a task that can run, those of other servers last."""
        every = (*self.models, *self._guests)
        return [model for model in every if model.get("task") == task and model.get("state") == "ready"]

    def model_for(self, task: str, wanted: str) -> str:
        """Id of the wanted model if this server can run it, else of the first one that it can; empty for none.

        A model of another server is none of this one's.
        """
        if any(model["id"] == wanted for model in self._guests):
            return ""
        ready = [str(model["id"]) for model in self.models_for(task) if model not in self._guests]
        return wanted if wanted in ready else next(iter(ready), "")

    def _ask(self, url: str, typed: str) -> Answer:
        """In a thread.

        Raises:
            ClientError: what is wrong.
        """
        error: WrongTokenError | None = None
        for token in self._tokens(url, typed):
            connection = Connection(url, token, read_timeout_s=10.0)
            try:
                info = connection.probe()
                listing = connection.json("GET", "/v1/models")
            except WrongTokenError as refused:
                error = refused
                continue
            models = listing.get("models", []) if isinstance(listing, dict) else []
            return Answer(connection, info.version, tuple(models), bool(typed))
        assert error is not None
        raise error

    def _tokens(self, url: str, typed: str) -> list[str]:
        """Worth trying, each once: the file on this computer is newer than what was remembered."""
        here = self._token_of_this_computer() if is_loopback(url) else ""
        candidates = [typed] if typed else [here, self._settings.token(url)]
        # without any, the answer still tells a server that wants one from one that is not there
        return list(dict.fromkeys(token for token in candidates if token)) or [""]

    def _found(self, answer: Answer, typed: str) -> None:
        self._errand = None
        self.connection, self.version, self.models, self.error = answer.connection, answer.version, answer.models, None
        self.connection.person = self._person
        self._settings.remember_address(answer.connection.url)
        if typed:
            self._settings.remember_token(answer.connection.url, typed)
        self.changed.publish()

    def _lost(self, error: ExplainedError) -> None:
        self.connection, self.version, self.models, self.error = None, "", (), error
        self.changed.publish()
