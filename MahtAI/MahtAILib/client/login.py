"""How requests show who they come from: with a token that stays, or with a session's that is renewed."""

from __future__ import annotations

from typing import Protocol

import requests
from requests.auth import AuthBase

from MahtAILib.client.address import clean_token
from MahtAILib.client.errors import AccessTokenExpiredError


class Login(Protocol):
    """Gives the token for a request; used by many threads at once.

    Attributes:
        is_ended: nobody is let in with it any more.
    """

    is_ended: bool

    def token(self) -> str:
        """For the next request; empty for none.

        Raises:
            SessionEndedError: one has to sign in again.
        """

    def renew(self, refused: str) -> None:
        """Get another token, because the server says that this one has expired.

        Raises:
            ClientError: there is none.
        """

    def end(self) -> None:
        """The server says that the session is over."""


class TokenLogin:
    """A token that is the same for ever; an empty one for requests that show none.

    Raises:
        WrongTokenError: it holds characters that no token has.
    """

    def __init__(self, token: str) -> None:
        self.is_ended = False
        self._token = clean_token(token)

    def token(self) -> str:
        """The same each time."""
        return self._token

    def renew(self, refused: str) -> None:
        """There is no other.

        Raises:
            AccessTokenExpiredError: always.
        """
        raise AccessTokenExpiredError("The access token has expired.", "Ask for a new one, or sign in.")

    def end(self) -> None:
        """A token has no session."""


NO_LOGIN = TokenLogin("")


class Bearer(AuthBase):
    """Sets the token, or nothing; either way requests takes no password from a .netrc file."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Called by requests with what is about to be sent."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request
