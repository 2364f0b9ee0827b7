"""Codes of an authenticator app (TOTP, RFC 6238), none of which counts twice, and recovery codes for its loss."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

import pyotp

STEP_S = 30
TOLERANCE = 1
"""Steps that the clock of the phone may be off in either direction."""

RECOVERY_CODES = 10

_CHANCE_BYTES = 10

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""None that are mistaken for each other."""


def new_secret(key: bytes, about: str) -> str:
    """160 bits in base 32, half of them random, the others a mark by which ``is_given_out`` knows them again.

    Args:
        key: of this server. about: whom it is for; another's is not taken.
    """
    chance = secrets.token_bytes(_CHANCE_BYTES)
    return base64.b32encode(chance + _mark(key, about, chance)).decode()


def is_given_out(secret: str, key: bytes, about: str) -> bool:
    """Whether the secret is one that was made for this."""
    try:
        given = base64.b32decode(secret)
    except ValueError:
        return False
    chance, mark = given[:_CHANCE_BYTES], given[_CHANCE_BYTES:]
    return hmac.compare_digest(mark, _mark(key, about, chance))


def _mark(key: bytes, about: str, chance: bytes) -> bytes:
    return hmac.new(key, b"secret of codes " + about.encode() + chance, hashlib.sha256).digest()[: 20 - _CHANCE_BYTES]


def uri_of(secret: str, account: str) -> str:
    """What an authenticator app reads as a QR code."""
    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=account, issuer_name="MahtAI")


def step_of(code: str, secret: str, used: int | None, now_s: float | None = None) -> int | None:
    """The time step that a code stands for, if it is right and newer than the last one used; None otherwise.

    Args:
        used: step of the newest code that was taken; a code of it or of an earlier one is a replay.
    """
    wanted = code.replace(" ", "")
    if len(wanted) != 6 or not (wanted.isascii() and wanted.isdigit()):
        return None
    here = int((time.time() if now_s is None else now_s) // STEP_S)
    totp = pyotp.TOTP(secret, interval=STEP_S)
    found = None
    for step in range(here - TOLERANCE, here + TOLERANCE + 1):  # all of them, so that the time taken tells nothing
        if hmac.compare_digest(totp.generate_otp(step), wanted) and (used is None or step > used):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes to be shown once and written down; 79 bits each."""
    return [
        "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4)) for _ in range(RECOVERY_CODES)
    ]


def hash_recovery_code(code: str) -> str:
    """What is kept of one. It has too many bits to be found from its hash."""
    clean = "".join(character for character in code.casefold() if character.isalnum())
    return hashlib.sha256(b"mahtai recovery code " + clean.encode()).hexdigest()


def looks_like_recovery_code(code: str) -> bool:
    """Whether it is one at all, and no code of an app."""
    return sum(character.isalnum() for character in code) == 16


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
