"""Whom a request comes from: on one computer whoever has its token; in a hospital a session, or an account's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mahtai.cases.person import Person
from mahtai.errors import MahtaiError
from mahtai.security.api_tokens import PREFIX, ApiTokens
from mahtai.security.naming import person_named_by
from mahtai.security.sessions import Sessions
from mahtai.security.token import is_valid


class WrongToken(MahtaiError):
    """No token, or another one than this server's."""

    kind = "wrong-token"
    title = "The access token is missing or wrong"
    status = 401


@dataclass(frozen=True)
class Principal:
    """Who acts, and in which session, if it is one."""

    person: Person
    session: str | None = None


class Authentication(Protocol):
    """A way to know people.

    Attributes:
        ways: how one signs in, as ``/healthz`` says it.
        asks_tables: whether it takes a look into the database, for which nobody else should have to wait.
    """

    ways: tuple[str, ...]
    asks_tables: bool

    def principal(self, token: str, headers: Mapping[str, str], keeps_awake: bool) -> Principal:
        """Who presents the token.

        Raises:
            MahtaiError: with status 401: nobody.
        """


class OneToken:
    """On one computer: whoever has the token may do everything, under the name that they give."""

    ways: tuple[str, ...] = ("token",)
    asks_tables = False

    def __init__(self, token: str) -> None:
        self._token = token

    def principal(self, token: str, headers: Mapping[str, str], keeps_awake: bool) -> Principal:
        """Whoever has the token."""
        if not is_valid(token, self._token):
            raise WrongToken(
                "The access token is not the one of this server.",
                "Paste it again; it lies in the file `token` of the server's settings folder.",
            )
        return Principal(person_named_by(headers))


class SignedInPeople:
    """In a hospital: sessions of people, and tokens that they made for programs.

    Args:
        hospital: whether the hospital's own sign-in can be used as well.
    """

    asks_tables = True

    def __init__(self, sessions: Sessions, tokens: ApiTokens, hospital: bool = False) -> None:
        self.ways = ("password", "token", *(("hospital",) if hospital else ()))
        self._sessions = sessions
        self._tokens = tokens

    def principal(self, token: str, headers: Mapping[str, str], keeps_awake: bool) -> Principal:
        """Whose session or token it is."""
        if token.startswith(PREFIX):
            account, scopes = self._tokens.check(token)
            return Principal(account.person(scopes))
        if token.count(".") != 2:
            raise WrongToken("The access token is not known here.", "Sign in, or make a token with your account.")
        access = self._sessions.check(token, keeps_awake)
        return Principal(access.account.person(access.limited_to), access.session)
