"""Signing in to a server with accounts, and one's own account there. Passwords and codes are sent and never kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from MahtAILib.client.acting import Account
from MahtAILib.client.address import is_loopback
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotEncryptedError, NotMahtAIError, RequestRefusedError
from MahtAILib.client.login import NO_LOGIN
from MahtAILib.client.session import Session, Tokens


@dataclass(frozen=True)
class SignedIn:
    """What signing in came to.

    Attributes:
        must_enrol: codes of an authenticator app have to be set up before anything else is allowed.
        idle_s: seconds without work after which the session ends by itself.
    """

    account: Account
    must_enrol: bool
    idle_s: float


@dataclass(frozen=True)
class CodeSecret:
    """What an authenticator app needs; never to be written down by a program.

    Attributes:
        secret: in base 32. uri: the same for a link, ``otpauth://…``. qr_svg: the same as a picture.
    """

    secret: str
    uri: str
    qr_svg: str


def sign_in(connection: Connection, name: str, password: str, code: str = "") -> SignedIn:
    """Begin a session; from now on the connection acts for the account.

    Raises:
        NotEncryptedError: nothing was sent.
        WrongCredentialsError, CodeWantedError, WrongCodeError, TooManyAttemptsError: not let in.
        ClientError: no answer.
    """
    require_encryption(connection.url)
    connection.require_mahtai()
    body = {"name": name.strip(), "password": password, "code": code.replace(" ", "").strip() or None}
    return begin_session(connection, connection.json("POST", "/v1/sign-in", body, login=NO_LOGIN))


def begin_session(connection: Connection, document: Any) -> SignedIn:
    """Have a connection act for the account of a session that the server has described.

    Raises:
        NotMahtAIError: the description cannot be understood.
    """

    def renewed(refresh_token: str) -> Tokens:
        body = {"refresh_token": refresh_token}
        # never repeated by itself: a refresh token that comes twice ends the session
        return _tokens(connection.json("POST", "/v1/sign-in/refresh", body, login=NO_LOGIN))

    try:
        found = SignedIn(_account(document["account"]), bool(document["must_enrol"]), float(document["idle_s"]))
        connection.login = Session(_tokens(document), renewed)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood() from error
    connection.account, connection.person = found.account, found.account.person
    return found


def sign_out(connection: Connection) -> None:
    """End the session, here and on the server.

    Raises:
        ClientError: the server did not hear it; the session then ends there when it has been idle for long enough.
    """
    login = connection.login
    try:
        connection.json("DELETE", "/v1/session", retry=False)
    finally:
        if isinstance(login, Session):
            login.end()


def own_account(connection: Connection) -> Account | None:
    """Whose login the connection shows; None where the server has no accounts.

    Raises:
        ClientError: no answer, or the login is not accepted.
    """
    try:
        document = connection.json("GET", "/v1/account")
    except (RequestRefusedError, NotMahtAIError):
        return None  # a server from before there were accounts
    try:
        account = _account(document) if document["id"] else None
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood() from error
    connection.account = account
    return account


def begin_codes(connection: Connection, password: str) -> CodeSecret:
    """A secret for an authenticator app; nothing is changed before a code of it was shown.

    Raises:
        WrongCredentialsError, TooManyAttemptsError: it is not they.
    """
    document = connection.json("POST", "/v1/account/codes", {"password": password}, retry=False)
    try:
        return CodeSecret(str(document["secret"]), str(document["uri"]), str(document["qr_svg"]))
    except (KeyError, TypeError) as error:
        raise _not_understood() from error


def finish_codes(connection: Connection, secret: str, code: str) -> tuple[str, ...]:
    """Show a code of the app: from now on one is wanted with each sign-in. Returns the recovery codes.

    Raises:
        WrongCodeError: nothing was changed.
    """
    body = {"secret": secret, "code": code.replace(" ", "").strip()}
    document = connection.json("PUT", "/v1/account/codes", body, retry=False)
    try:
        return tuple(map(str, document["recovery_codes"]))
    except (KeyError, TypeError) as error:
        raise _not_understood() from error


def require_encryption(url: str) -> None:
    """Make sure that nobody on the network reads what is typed.

    Raises:
        NotEncryptedError: the address is on another computer, and not of TLS.
    """
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise NotEncryptedError(
            "A password is not sent without encryption. Nothing was sent.",
            "Write the address with https://, or ask the person who runs the server for it.",
        )


def _tokens(document: Mapping[str, Any]) -> Tokens:
    try:
        return Tokens(str(document["access_token"]), str(document["refresh_token"]), float(document["expires_in_s"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood() from error


def _account(document: Mapping[str, Any]) -> Account:
    permissions = frozenset(map(str, document.get("permissions") or ()))
    return Account(
        str(document["id"]),
        str(document["name"]),
        str(document["role"]),
        permissions,
        bool(document.get("has_codes")),
    )


def _not_understood() -> NotMahtAIError:
    return NotMahtAIError("The server's description of an account cannot be understood.")
