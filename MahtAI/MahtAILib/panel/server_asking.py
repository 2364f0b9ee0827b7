"""How a server is asked whether it is there and lets this user in; in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.acting import Account
from MahtAILib.client.address import is_loopback
from MahtAILib.client.certificates import Authority, Pins, fetch_authority
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import SessionEndedError, UnknownAuthorityError, WrongTokenError
from MahtAILib.client.login import NO_LOGIN, Login, TokenLogin
from MahtAILib.client.sign_in import own_account
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.settings import Settings

_READ_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What a server said that lets this user in.

    Attributes:
        models: as the API describes them.
        account: whose login it is; None where the server has no accounts.
    """

    connection: Connection
    version: str
    ways: tuple[str, ...]
    models: tuple[dict[str, Any], ...]
    account: Account | None


@dataclass(frozen=True)
class SignInWanted:
    """A server that is there and wants to know who asks.

    Attributes:
        ways: ``password``, ``hospital``, ``token``.
        error: why what was shown does not let in, or None where nothing was.
    """

    url: str
    version: str
    ways: tuple[str, ...]
    error: ExplainedError | None = None


class AuthorityUnknown(ExplainedError):
    """The server's certificate comes from an authority that only the reader can vouch for."""

    def __init__(self, url: str, authority: Authority, error: ExplainedError) -> None:
        super().__init__(error.reason, error.hint)
        self.url = url
        self.authority = authority


class ServerAsking:
    """Asks servers.

    Attributes:
        pins: authorities that the reader confirmed.

    Args:
        token_of_this_computer: finds the token of a server that this user runs on this computer, if any.
    """

    def __init__(self, settings: Settings, token_of_this_computer: Callable[[], str]) -> None:
        self.pins = Pins(settings.folder / "trusted")
        self._settings = settings
        self._token_of_this_computer = token_of_this_computer

    def ask(self, url: str, typed: str, session: Login | None) -> Answer | SignInWanted:
        """Whether the server is there and lets this user in.

        Args:
            typed: a token, empty for the ones that are known.
            session: of somebody who is signed in to this server, or None.

        Raises:
            AuthorityUnknown: only the reader can tell whether it is the right server; nothing was sent.
            ClientError: what is wrong.
        """
        refused: ExplainedError | None = None
        connection = self.connection(url)
        info = self._introduced(connection)
        logins = list(self._logins(url, typed, session))
        if not logins and not info.has_accounts:
            # the answer still tells a server that wants a token from one that does not
            logins = [NO_LOGIN]
        for login in logins:
            connection.login = login
            try:
                answer = self.look(connection)
            except (WrongTokenError, SessionEndedError) as error:
                refused = error
                continue
            if typed:
                self._settings.remember_token(url, typed)
            return answer
        if info.has_accounts:
            return SignInWanted(url, info.version, info.sign_in, refused if typed else None)
        assert refused is not None
        raise refused

    def connection(self, url: str) -> Connection:
        """To a server, that shows nothing yet."""
        return Connection(url, read_timeout_s=_READ_TIMEOUT_S, ca_file=self.pins.ca_file(url))

    def look(self, connection: Connection) -> Answer:
        """Who is let in, and what the server has for them.

        Raises:
            ClientError: what is wrong.
        """
        info = connection.probe()
        account = own_account(connection) if info.has_accounts else None
        listing = connection.json("GET", "/v1/models")
        models = listing.get("models", []) if isinstance(listing, dict) else []
        return Answer(connection, info.version, info.sign_in, tuple(models), account)

    def _introduced(self, connection: Connection) -> Any:
        """What the server says about itself before anything is shown to it."""
        try:
            return connection.require_mahtai()
        except UnknownAuthorityError as error:
            raise AuthorityUnknown(connection.url, fetch_authority(connection.url), error) from error

    def _logins(self, url: str, typed: str, session: Login | None) -> Iterator[Login]:
        """Worth trying, each once: the file on this computer is newer than what was remembered."""
        if typed:
            yield TokenLogin(typed)
            return
        if session is not None and not session.is_ended:
            yield session
        here = self._token_of_this_computer() if is_loopback(url) else ""
        for token in dict.fromkeys((here, self._settings.token(url))):
            if token:
                yield TokenLogin(token)


def question_about(unknown: AuthorityUnknown) -> str:
    """What the reader is asked before an authority is trusted."""
    return _(
        "The server {url} shows a certificate that this computer does not know. That is usual for a server with a "
        "certificate authority of its own.\n\nFingerprint of its authority (SHA-256):\n\n{fingerprint}\n\nCompare it "
        "with the one that the person who runs the server gave you, for instance on paper or by telephone; they see it "
        "with: mahtai tls show\n\nIs it the same, in every place? If you cannot compare it, answer No: somebody could "
        "stand between you and the server. Nothing was sent so far. You are asked only once."
    ).format(url=unknown.url, fingerprint=_in_lines(unknown.authority.fingerprint))


def _in_lines(fingerprint: str) -> str:
    """Eight pairs a line, so that the eye finds its place."""
    pairs = fingerprint.split(":")
    return "\n".join(":".join(pairs[place : place + 8]) for place in range(0, len(pairs), 8))
