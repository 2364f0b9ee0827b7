"""Columns whose content is encrypted on the disk where the server has a key.

A sealed value begins with ``PREFIX``; anything else was written without a key and is read as it is. A text that itself
begins so is marked as plain. The cipher hangs on the engine's dialect (``dialect.mahtai_cipher``), so that two
databases in one process do not mix their keys.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol, cast

from sqlalchemy import Text, TypeDecorator
from sqlalchemy.engine import Dialect

from mahtai.security.at_rest.keys import not_set

PREFIX = "sealed:"

PLAIN = "sealed:plain:"
_FORM = re.compile(r"sealed:[0-9a-f]{16}:[A-Za-z0-9+/]+={0,2}")


class ColumnCipher(Protocol):
    """Encrypts and decrypts short texts."""

    def seal(self, text: str, place: str) -> str:
        """Text → ``sealed:…``; ``place`` (table.column) is bound to it."""

    def unseal(self, sealed: str, place: str) -> str:
        """``sealed:…`` → text. Raises a ``MahtaiError`` where the key or the place is another one."""


def cipher_of(dialect: Dialect) -> ColumnCipher | None:
    """The cipher of the database that a value is for or from."""
    return cast("ColumnCipher | None", getattr(dialect, "mahtai_cipher", None))


def hang_on(dialect: Dialect, cipher: ColumnCipher | None) -> None:
    """Have what the dialect writes sealed; None leaves it plain."""
    dialect.mahtai_cipher = cipher  # type: ignore[attr-defined]


class SealedText(TypeDecorator[str]):
    """Text that is encrypted where there is a key.

    Args:
        place: ``table.column``; a value that was moved elsewhere cannot be read there.
    """

    impl = Text
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Seal."""
        if value is None:
            return None
        cipher = cipher_of(dialect)
        text = str(value)
        if cipher is not None:
            return cipher.seal(text, self.place)
        return PLAIN + text if text.startswith(PREFIX) else text

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Unseal."""
        if value is None or not value.startswith(PREFIX):
            return value
        if value.startswith(PLAIN):
            return value.removeprefix(PLAIN)
        cipher = cipher_of(dialect)
        if cipher is not None:
            return cipher.unseal(value, self.place)
        if _FORM.fullmatch(value):
            raise not_set("What is stored here is")
        return value  # written before texts that begin so were marked


class SealedJson(SealedText):
    """JSON that is encrypted where there is a key."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Seal."""
        return None if value is None else super().process_bind_param(json.dumps(value), dialect)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Unseal."""
        text = super().process_result_value(value, dialect)
        return None if text is None else json.loads(text)
