"""A session: a short access token, renewed by a refresh token that can be used once. In memory only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from MahtAILib.client.errors import SessionEndedError

_SPARE_S = 10.0
_SPARE_PART = 0.2


@dataclass(frozen=True)
class Tokens:
    """What goes with requests, and what gives the next pair; ``expires_in_s`` is of the access token."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_s: float


class Session:
    """The login of somebody who signed in.

    Any number of threads may use it: whichever finds the access token expired first renews it, the others wait for
    that. A session that has ended asks the server no more.

    Attributes:
        is_ended: signed out, idle for too long, or ended by somebody else.

    Args:
        tokens: the first pair.
        renewed: asks the server for the next pair, by the refresh token.
    """

    def __init__(self, tokens: Tokens, renewed: Callable[[str], Tokens]) -> None:
        self.is_ended = False
        self._renewed = renewed
        self._lock = threading.Lock()
        self._tokens = tokens
        self._renew_at = _renew_at(tokens)

    def token(self) -> str:
        """The access token; a new one shortly before it expires, so that no upload is sent in vain.

        Raises:
            SessionEndedError: one has to sign in again.
            ClientError: it could not be renewed.
        """
        token = self._present()
        if time.monotonic() >= self._renew_at:
            self.renew(token)
            token = self._present()
        return token

    def renew(self, refused: str) -> None:
        """Renew the access token, once for all threads that were refused with the same one.

        Raises:
            SessionEndedError: one has to sign in again.
            ClientError: no answer; the next request tries again.
        """
        with self._lock:
            if self._present() != refused:
                return
            try:
                self._tokens = self._renewed(self._tokens.refresh_token)
            except SessionEndedError:
                self._forget()
                raise
            self._renew_at = _renew_at(self._tokens)

    def end(self) -> None:
        """Show nothing any more."""
        with self._lock:
            self._forget()

    def _present(self) -> str:
        if self.is_ended:
            raise SessionEndedError(
                "You are signed out: you signed out, did nothing for a while, or somebody ended your session. "
                "Nothing was lost.",
                "Sign in again: what you see stays open, and what was saved meanwhile is sent then.",
            )
        return self._tokens.access_token

    def _forget(self) -> None:
        self.is_ended = True
        self._tokens = Tokens("", "", 0.0)


def _renew_at(tokens: Tokens) -> float:
    return time.monotonic() + tokens.expires_in_s - min(_SPARE_S, _SPARE_PART * tokens.expires_in_s)
