"""A font for pictures drawn with Pillow, with the signs that measurements need: −, ±, °, ø."""

from __future__ import annotations

from functools import cache
from typing import Any

from PIL import ImageFont

_FILES = (
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "arial.ttf",
    "Arial.ttf",
    "Helvetica.ttc",
    "LiberationSans-Regular.ttf",
    "NotoSans-Regular.ttf",
)
"""Of Linux, Windows and macOS; Pillow looks for them where the system keeps its fonts."""

_PLAIN = str.maketrans({"−": "-", "–": "-", "…": "...", "ø": "o", "⚠": "!"})
"""For Pillow's own font, which lacks them."""


@cache
def font(size: int) -> Any:
    """A font of this size in pixels."""
    name = _file()
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


def written(text: str) -> str:
    """A text as the font can write it."""
    return text if _file() is not None else text.translate(_PLAIN)


@cache
def _file() -> str | None:
    for name in _FILES:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return None
