"""Passwords: kept as argon2id hashes (RFC 9106, its second recommended setting), checked at a steady pace."""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from mahtai.errors import MahtaiError

SHORTEST, LONGEST = 12, 1024
FEWEST_DIFFERENT = 5

_CHECKS_AT_ONCE = 4
"""Each takes 64 MiB, so that a flood of guesses cannot take all of the memory."""

_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4, type=Type.ID)
_turns = threading.BoundedSemaphore(_CHECKS_AT_ONCE)
_dummy: list[str] = []


class WeakPassword(MahtaiError):
    """A password that would be guessed."""

    kind = "weak-password"
    title = "The password cannot be used"
    status = 422


def check_new(password: str, login: str) -> None:
    """Refuse a password that is among the first that anybody tries.

    Raises:
        WeakPassword: saying why.
    """
    clean = _normal(password)
    hint = f"Take a sentence, or let a password manager make one: at least {SHORTEST} characters."
    if not SHORTEST <= len(clean) <= LONGEST:
        raise WeakPassword(f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(clean)}.", hint)
    if len(set(clean.casefold())) < FEWEST_DIFFERENT:
        raise WeakPassword("The password repeats the same few characters.", hint)
    if login and login in clean.casefold():
        raise WeakPassword("The password contains the account's name.", hint)
    if _is_a_row(clean):
        raise WeakPassword("The password is a row of neighbouring characters.", hint)


def hash_password(password: str) -> str:
    """The hash to keep; it holds its own salt and settings."""
    with _turns:
        return _hasher.hash(_normal(password))


def is_right(password: str, kept: str | None) -> bool:
    """Whether it is the password; as slow for an account that has none or does not exist."""
    with _turns:
        try:
            return _hasher.verify(kept or _nobodys(), _normal(password)) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


def get_ready() -> None:
    """Make what is compared with where there is no account, so that the first such attempt takes no longer either."""
    with _turns:
        _nobodys()


def is_outdated(kept: str) -> bool:
    """Whether the hash was made with weaker settings than those of today."""
    return _hasher.check_needs_rehash(kept)


def _nobodys() -> str:
    if not _dummy:
        _dummy.append(_hasher.hash("nobody has this password"))
    return _dummy[0]


def _normal(password: str) -> str:
    """The same letters typed on another keyboard are the same password (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])


def _is_a_row(text: str) -> bool:
    steps = {ord(b) - ord(a) for a, b in zip(text, text[1:], strict=False)}
    return len(steps) == 1
