"""The cephalogram with its tracing as a picture of its own, whatever the views show. Pillow only; no scene, no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from MahtAILib.cephalometry import Tracing
from MahtAILib.panel.picture_fonts import font, written

_HEIGHT = 1800
_FINE = 2

_CURVES = {"soft": "#ffb482", "bone": "#f4e9d2", "tooth": "#d8f0ff"}
_PLANE, _ARC = "#73ccff", "#fff259"
_POINT, _EARLIER = "#5ae08c", "#ff5ac0"


@dataclass(frozen=True, eq=False)
class Picture:
    """What is to be drawn.

    Attributes:
        grey: [row, column], any range.
        spacing: units a pixel, across and down.
        points: landmark id → (x, y) in units.
        drawing: the tracing, in units.
        earlier: an earlier tracing that was laid on this one, or None.
        caption: lines below the picture: what holds for it.
    """

    grey: NDArray[Any]
    spacing: tuple[float, float]
    points: Mapping[str, ArrayLike]
    drawing: Tracing
    earlier: Tracing | None = None
    caption: tuple[str, ...] = field(default_factory=tuple)


def draw_tracing(picture: Picture) -> Any:
    """A Pillow picture; to be made in a thread, for it takes a second."""
    rows, columns = picture.grey.shape
    across, down = picture.spacing
    scale = _HEIGHT / (rows * down)
    width, height = max(round(columns * across * scale), 1), _HEIGHT
    sheet = Image.fromarray(_bytes(picture.grey)).resize((width, height), Image.Resampling.LANCZOS).convert("RGB")
    over = Image.new("RGBA", (width * _FINE, height * _FINE), (0, 0, 0, 0))
    pen = _Pen(over, scale * _FINE, (across, down))
    if picture.earlier is not None:
        for curve in picture.earlier.curves:
            pen.line(curve.points, _EARLIER, 2, curve.closed)
    for curve in picture.drawing.curves:
        pen.line(curve.points, _CURVES[curve.kind], 1.5 if curve.estimated else 2.5, curve.closed)
    for plane in picture.drawing.planes:
        if plane.usual:
            pen.line(np.array([plane.start, plane.end]), _PLANE, 1.5)
            pen.text(plane.label_at, plane.label, _PLANE)
    for arc in picture.drawing.arcs:
        if arc.usual:
            pen.line(arc.points, _ARC, 2)
            pen.text(arc.label_at, arc.label, _ARC)
    for name, point in picture.points.items():
        pen.cross(np.asarray(point, float), name, _POINT)
    over = over.resize((width, height), Image.Resampling.LANCZOS)
    sheet.paste(over, (0, 0), over)
    return _with_caption(sheet, picture.caption)


class _Pen:
    """Draws in units of the image."""

    def __init__(self, sheet: Any, scale: float, spacing: tuple[float, float]) -> None:
        self._pen = ImageDraw.Draw(sheet)
        self._scale = scale
        self._shift = np.array(spacing) / 2  # units are counted from the centre of the first pixel
        self._font = font(19 * _FINE)

    def line(self, points: NDArray[np.float64], color: str, width: float, is_closed: bool = False) -> None:
        places = [tuple(place) for place in self._places(points)]
        if len(places) > 1:
            places += places[:1] if is_closed else []
            self._pen.line(places, color, max(round(width * _FINE), 1), joint="curve")

    def text(self, place: ArrayLike, text: str, color: str) -> None:
        x, y = self._places(place)
        self._pen.text((x, y), written(text), color, self._font, "mm", stroke_width=_FINE, stroke_fill="#000000")

    def cross(self, point: NDArray[np.float64], text: str, color: str) -> None:
        x, y = self._places(point)
        size = 7 * _FINE
        self._pen.line([(x - size, y), (x + size, y)], color, _FINE * 2)
        self._pen.line([(x, y - size), (x, y + size)], color, _FINE * 2)
        place = (x + size, y - size)
        self._pen.text(place, written(text), color, self._font, "lb", stroke_width=_FINE, stroke_fill="#000000")

    def _places(self, points: ArrayLike) -> NDArray[np.float64]:
        return np.asarray((np.asarray(points, float) + self._shift) * self._scale)


def _bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """From the darkest to the brightest, a hair cut off at both ends."""
    low, high = np.percentile(grey[::4, ::4], (0.2, 99.8))
    share = (grey.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(share, 0, 1) * 255, np.uint8)


def _with_caption(picture: Any, lines: tuple[str, ...]) -> Any:
    if not lines:
        return picture
    face, step = font(22), 34
    sheet = Image.new("RGB", (picture.width, picture.height + step * len(lines) + 16), "#000000")
    sheet.paste(picture, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((14, picture.height + 10 + step * number), written(line), "#e6e6e6", face)
    return sheet
