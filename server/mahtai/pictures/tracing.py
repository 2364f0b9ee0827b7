"""The tracing of a cephalogram over its image, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from mahtai.pictures.plane import units_of
from MahtAILib.cephalometry import Tracing, tracing
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.markups import LandmarkPoint

Place = tuple[float, float]

WIDTH_INCHES = 9.0
DPI = 130

MOST_PIXELS = 2400
"""Along a side of the image that is drawn, about twice what the PNG shows; matplotlib needs 50 bytes for each."""

_GAMMA = 1.4
"""Darkens the picture, so that the lines over it are seen."""

_SIDES = ((1.0, -0.8), (1.0, 0.9), (-1.0, -0.8), (-1.0, 0.9))
"""Where a point's name may stand, the preferred place first; across and down, in heights of the letters."""

_CURVES = {"soft": "#f0c987", "bone": "#7fd1f0", "tooth": "#f5f5f5"}
_PLANES, _ARCS = "#9fdf9f", "#ffd24d"
_CERTAIN, _DOUBTFUL = "#35d96b", "#ff9a1a"
_DARK: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black", alpha=0.75)]


def tracing_picture(
    path: Path, image: NDArray[Any], geometry: Geometry, points: Sequence[LandmarkPoint], lines: Sequence[str]
) -> None:
    """Draw the image with outlines, planes, angles, and every point with its 90 % circle.

    Args:
        path: of the PNG.
        image: [column, row] grey values, bone bright.
        geometry: of the image; shapes and spacings are taken from it.
        lines: said below the picture, the first one large.
    """
    width, height = (
        count * spacing for count, spacing in zip(geometry.shape[:2], geometry.spacing_mm[:2], strict=True)
    )
    tall = min(max(height / width, 0.4), 2.5)
    footer = 0.35 + 0.22 * len(lines)
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * tall + footer), facecolor="black")
    share = footer / figure.get_figheight()
    axes = figure.add_axes((0, share, 1, 1 - share))
    across, down, _ = geometry.spacing_mm
    shown, (columns, rows) = _reduced(image)
    low, high = np.percentile(shown, [0.5, 99.5])
    axes.imshow(
        shown.T,
        cmap="gray",
        norm=PowerNorm(_GAMMA, low, max(high, low + 1)),
        extent=(-across / 2, (columns - 0.5) * across, (rows - 0.5) * down, -down / 2),
        interpolation="antialiased",
    )
    places = units_of(points, geometry)
    _draw_tracing(axes, tracing(places))
    _draw_points(axes, points, places, width)
    axes.set(xlim=(-across / 2, width - across / 2), ylim=(height - down / 2, -down / 2))
    axes.axis("off")
    for number, line in enumerate(lines):
        figure.text(
            0.015,
            share - (0.2 + 0.22 * number) / figure.get_figheight(),
            line,
            color="white" if number == 0 else "#c8c8c8",
            fontsize=11 if number == 0 else 9,
            va="center",
            wrap=False,
        )
    figure.savefig(path, dpi=DPI, facecolor="black", format="png")


def _reduced(image: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """The image with at most ``MOST_PIXELS`` along each side, by means over blocks of whole pixels.

    Returns:
        The smaller image, and how many columns and rows of the original its blocks cover. The last block
        of a side may reach past the image; it then is the mean of what there is.
    """
    covered = list(image.shape)
    for axis, length in enumerate(image.shape):
        block = -(-length // MOST_PIXELS)
        if block > 1:
            starts = np.arange(0, length, block)
            counts = np.diff(starts, append=length).astype(np.float32)
            sums = np.add.reduceat(image, starts, axis=axis, dtype=np.float32)
            image = sums / (counts[:, None] if axis == 0 else counts)
            covered[axis] = len(starts) * block
    return image, (covered[0], covered[1])


def _draw_tracing(axes: Axes, drawn: Tracing) -> None:
    for curve in drawn.curves:
        points = np.vstack([curve.points, curve.points[:1]]) if curve.closed else curve.points
        style = (0, (4, 3)) if curve.estimated else "-"
        axes.plot(*points.T, color=_CURVES[curve.kind], linewidth=1.3, linestyle=style, alpha=0.9)
    for plane in drawn.planes:
        if plane.usual:
            axes.plot(*np.transpose([plane.start, plane.end]), color=_PLANES, linewidth=0.8, alpha=0.85)
            _write(axes, plane.label_at, plane.label, _PLANES, 7)
    for arc in drawn.arcs:
        if arc.usual:
            axes.plot(*arc.points.T, color=_ARCS, linewidth=1.0)
            _write(axes, arc.label_at, arc.label, _ARCS, 7)


def _draw_points(
    axes: Axes, points: Sequence[LandmarkPoint], places: dict[str, tuple[float, float]], width: float
) -> None:
    letter = 0.013 * width
    taken = list(places.values())
    for point in points:
        if point.id not in places:
            continue
        x, y = places[point.id]
        color = _DOUBTFUL if point.is_doubtful else _CERTAIN
        if point.radius:
            axes.add_patch(Circle((x, y), point.radius, fill=False, edgecolor=color, linewidth=0.9))
        axes.plot([x], [y], marker="+", color=color, markersize=5, markeredgewidth=1.0)
        at, side = _free_side((x, y), taken, letter)
        taken.append(at)
        _write(axes, at, point.id, color, 8, ha="left" if side > 0 else "right")


def _free_side(place: Place, taken: Sequence[Place], letter: float) -> tuple[Place, float]:
    """Where the name of a point stands farthest from other points and names, and on which side of it."""
    others = np.array([other for other in taken if other != place] or [(np.inf, np.inf)])
    found, best = (place, 1.0), -np.inf
    for side, down in _SIDES:
        at = (place[0] + 0.6 * side * letter, place[1] + down * letter)
        middle = (at[0] + 1.2 * side * letter, at[1])
        room = min(float(np.hypot(*(others - middle).T).min()), 2.5 * letter)
        if room > best:
            found, best = (at, side), room
    return found


def _write(axes: Axes, at: tuple[float, float], text: str, color: str, size: float, ha: str = "center") -> None:
    written = axes.text(*at, text, color=color, fontsize=size, ha=ha, va="center", clip_on=True)
    written.set_path_effects(_DARK)
