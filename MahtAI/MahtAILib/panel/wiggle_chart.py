"""The chart against the norm: each measurement's distance from its mean in standard deviations, as a picture.

Drawn with Pillow, which Slicer ships: the same picture is shown in the panel and exported.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from MahtAILib.cephalometry import ChartRow
from MahtAILib.panel.picture_fonts import font, written

_MOST_SD = 4.0
_ROW, _HEAD, _GROUP, _FOOT = 21, 26, 24, 8
_FONT, _SMALL = 11, 9
_WIDE = 500
"""From this width on the norms stand beside the values; in a panel the table has them."""
_FINE = 2
"""Drawn this much larger and made smaller again, so that slanted lines are smooth."""


@dataclass(frozen=True)
class Colors:
    """Of a light or a dark panel."""

    paper: str
    ink: str
    faint: str
    norm: str
    wider: str
    grid: str
    line: str


LIGHT = Colors("#ffffff", "#202428", "#70767c", "#dcefe1", "#f2f7f3", "#c9ced3", "#54606c")
DARK = Colors("#2b2b2b", "#e6e8ea", "#9aa0a6", "#2f4a38", "#303a33", "#55595e", "#aab4be")

_WITHIN, _BEYOND_1, _BEYOND_2 = "#2f9e5b", "#e08e0b", "#d2413a"


def draw_chart(
    rows: Sequence[ChartRow], names: Mapping[str, str], width: int = 460, is_dark: bool = False, scale: int = 1
) -> Any:
    """A Pillow picture of the rows, grouped by analysis; of no rows a picture that says so.

    Args:
        names: analysis id → name, for the headings.
        width: in pixels, before ``scale``.
        scale: 2 for a picture to be printed.
    """
    colors = DARK if is_dark else LIGHT
    groups = {analysis: [row for row in rows if row.analysis == analysis] for analysis in _in_order(rows)}
    height = _HEAD + sum(_GROUP + _ROW * len(group) for group in groups.values()) + _FOOT
    fine = _FINE * scale
    sheet = Image.new("RGB", (width * fine, max(height, 60) * fine), colors.paper)
    if not rows:
        pen = ImageDraw.Draw(sheet)
        words = "No measurement with a norm can be made yet."
        pen.text((width * fine / 2, 30 * fine), words, colors.faint, font(_FONT * fine), anchor="mm")
        return sheet.resize((width * scale, 60 * scale), Image.Resampling.LANCZOS)
    _Drawing(sheet, colors, width, fine).draw(groups, names)
    return sheet.resize((width * scale, height * scale), Image.Resampling.LANCZOS)


def png_of(picture: Any) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class _Drawing:
    """Draws on a sheet in pixels of the panel."""

    def __init__(self, sheet: Any, colors: Colors, width: int, fine: int) -> None:
        self._pen = ImageDraw.Draw(sheet)
        self._colors, self._width, self._fine = colors, width, fine
        self._with_norms = width >= _WIDE
        self._left, self._right = round(0.33 * width), width - (146 if self._with_norms else 84)
        self._fonts = {size: font(size * fine) for size in (_FONT, _SMALL)}

    def draw(self, groups: Mapping[str, Sequence[ChartRow]], names: Mapping[str, str]) -> None:
        self._scale_of_sd()
        top = _HEAD
        for analysis, group in groups.items():
            self._text(6, top + _GROUP / 2, names.get(analysis, analysis), "lm", self._colors.faint)
            top += _GROUP
            bottom = top + _ROW * len(group)
            self._bands(top, bottom)
            centres = [top + _ROW * (number + 0.5) for number in range(len(group))]
            spots = [(self._x(row.deviation_sd), centre) for row, centre in zip(group, centres, strict=True)]
            for first, second in zip(spots, spots[1:], strict=False):
                self._line([first, second], self._colors.line, 1.4)
            for row, centre in zip(group, centres, strict=True):
                self._row(row, centre)
            top = bottom

    def _row(self, row: ChartRow, y: float) -> None:
        color = color_of(row.deviation_sd)
        if row.low_sd is not None and row.high_sd is not None:
            low, high = sorted((self._x(row.low_sd), self._x(row.high_sd)))
            self._line([(low, y), (high, y)], color, 2.4)
        x = self._x(row.deviation_sd)
        if abs(row.deviation_sd) > _MOST_SD:
            tip = 5 if row.deviation_sd > 0 else -5
            self._shape([(x + tip, y), (x - tip, y - 5), (x - tip, y + 5)], color)
        else:
            fine = self._fine
            box = ((x - 4) * fine, (y - 4) * fine, (x + 4) * fine, (y + 4) * fine)
            self._pen.ellipse(box, color, self._colors.paper, fine)
        self._text(10, y, _fitted(row.label, self._left - 16, self._fonts[_FONT], self._fine), "lm")
        self._text(self._right + 70, y, row.value_text, "rm")
        if self._with_norms:
            norm = row.norm_text.removesuffix(" mm").removesuffix("°")
            self._text(self._width - 6, y, norm, "rm", self._colors.faint, _SMALL)

    def _scale_of_sd(self) -> None:
        for sd in range(-3, 4):
            self._text(self._x(sd), _HEAD / 2, f"{sd:+d}".replace("-", "−") if sd else "0", "mm", None, _SMALL)
        self._text(self._x(_MOST_SD) + 2, _HEAD / 2, "SD", "lm", self._colors.faint, _SMALL)

    def _bands(self, top: float, bottom: float) -> None:
        fine = self._fine
        for sd, color in ((2, self._colors.wider), (1, self._colors.norm)):
            self._pen.rectangle((self._x(-sd) * fine, top * fine, self._x(sd) * fine, bottom * fine), color)
        for sd in range(-3, 4):
            self._line([(self._x(sd), top), (self._x(sd), bottom)], self._colors.grid, 1.4 if sd == 0 else 0.6)

    def _x(self, sd: float) -> float:
        share = (min(max(sd, -_MOST_SD), _MOST_SD) + _MOST_SD) / (2 * _MOST_SD)
        return self._left + share * (self._right - self._left)

    def _line(self, points: Sequence[tuple[float, float]], color: str, width: float) -> None:
        fine = self._fine
        self._pen.line([(x * fine, y * fine) for x, y in points], color, max(round(width * fine), 1))

    def _shape(self, points: Sequence[tuple[float, float]], color: str) -> None:
        self._pen.polygon([(x * self._fine, y * self._fine) for x, y in points], color)

    def _text(self, x: float, y: float, text: str, anchor: str, color: str | None = None, size: int = _FONT) -> None:
        place = (x * self._fine, y * self._fine)
        self._pen.text(place, written(text), color or self._colors.ink, self._fonts[size], anchor=anchor)


def color_of(deviation_sd: float) -> str:
    """Green within one standard deviation of the mean, amber within two, red beyond."""
    away = abs(deviation_sd)
    return _WITHIN if away <= 1 else _BEYOND_1 if away <= 2 else _BEYOND_2


def _in_order(rows: Sequence[ChartRow]) -> list[str]:
    return list(dict.fromkeys(row.analysis for row in rows))


def _fitted(text: str, width: float, face: Any, fine: int) -> str:
    """The text, cut off where it is wider than its room."""
    text = written(text)
    if face.getlength(text) <= width * fine:
        return text
    while text and face.getlength(text + "…") > width * fine:
        text = text[:-1]
    return text.rstrip() + "…"
