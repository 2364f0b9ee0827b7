"""What a key makes of identifiers: UIDs, pseudonyms and the number of days by which a patient's dates are moved.

The same identifier gives the same result under one key, in any file at any time, without a table that could be
stolen; without the key nobody can tell which belongs to which, nor try all numbers. Losing it ends the mapping.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import date, timedelta
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.secret_file import load_or_create

KEY_BYTES = 32
FEWEST_DAYS, MOST_DAYS = 366, 3650
"""How far back the dates of a patient are moved: more than a year, so that no season can be counted on."""

_DA = re.compile(r"(\d{4})(\d{2})(\d{2})")
_OLD_DA = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")
_DT = re.compile(r"(\d{8})((?:\d{2}){0,3}(?:(?<=\d{14})\.\d{1,6})?)([+-]\d{4})?")


class KeyFileError(MahtaiError):
    """The file of the key holds none."""

    kind = "key-file"
    title = "The key cannot be used"
    status = 422


def key_from(path: Path, keys: Keys | None) -> bytes:
    """The key in a file, which is made (only its user can read it) where there is none.

    Args:
        keys: of data at rest, for a file beside them; None leaves it plain.

    Raises:
        KeyFileError: it does not hold 32 bytes, or cannot be read.
    """
    try:
        key = load_or_create(path, keys)
    except OSError as error:
        raise KeyFileError(
            f"The key {path} cannot be read or made ({error.strerror}).", "Name another file."
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(
            f"{path} holds {len(key)} bytes; a key is {KEY_BYTES} bytes.",
            "Name the right file, or one that is not there.",
        )
    return key


class Keyed:
    """Identifiers under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def uid(self, uid: str) -> str:
        """``2.25.`` and a UUID (version 8, RFC 9562) as a number, at most 44 characters (PS3.5 B.2)."""
        digest = bytearray(self._digest("uid", uid.strip("\0 "))[:16])
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        return f"2.25.{int.from_bytes(digest, 'big')}"

    def pseudonym(self, person: str, prefix: str = "P") -> str:
        """Of a patient or another person: the prefix and 16 letters and digits (80 bits)."""
        return f"{prefix}-{base64.b32encode(self._digest('person', person)[:10]).decode()}"

    def days(self, person: str) -> int:
        """By which the dates of a patient are moved, always the same for the patient; negative."""
        span = MOST_DAYS - FEWEST_DAYS + 1
        return -(FEWEST_DAYS + int.from_bytes(self._digest("days", person)[:8], "big") % span)

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.new(self._key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def shifted_date(value: str, days: int) -> str:
    """A DA value so many days later; empty where it is no date."""
    found = _DA.fullmatch(value.strip()) or _OLD_DA.fullmatch(value.strip())
    if not found:
        return ""
    try:
        moved = date(*map(int, found.groups())) + timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04}{moved.month:02}{moved.day:02}"


def shifted_datetime(value: str, days: int) -> str:
    """A DT value so many days later with its time of day; empty where it names no day."""
    found = _DT.fullmatch(value.strip())
    moved = shifted_date(found[1], days) if found else ""
    return f"{moved}{found[2]}{found[3] or ''}" if found and moved else ""
