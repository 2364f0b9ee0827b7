"""How far the uncertainty of the points moves each value: 90 % intervals by propagation of errors.

The error of a point is taken as Gaussian, the same in all directions and independent of the other points', so that
90 % of the errors lie within ``radius = sigma * sqrt(2 ln 10)``. Each coordinate is moved up and down by the half-width
of its own 90 % interval (1.645 sigma); the halves of the differences that this makes add as squares. A step of that
size, rather than an infinitesimal one, also sees a sign that changes within the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from MahtAILib.cephalometry.orientation import Orientation
from MahtAILib.cephalometry.program import Program

SIGMAS_PER_RADIUS = 1.0 / math.sqrt(2.0 * math.log(10.0))
"""Standard deviation along one axis of a point whose 90 % circle has radius 1."""

_HALF_WIDTH_SIGMAS = 1.6448536269514722
_STEP_PER_RADIUS = _HALF_WIDTH_SIGMAS * SIGMAS_PER_RADIUS


def values_and_half_widths(
    program: Program,
    points: Mapping[str, complex],
    radii: Mapping[str, float],
    orientation: Orientation,
    shortest: float,
    magnitudes: Sequence[int] = (),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of all formulas, and half the width of their 90 % intervals.

    Args:
        program: the formulas.
        points: landmark id → x + iy.
        radii: landmark id → radius of the 90 % circle, in the same units; what is not there is taken as exact here.
        orientation: of the head.
        shortest: see ``Program.run``.
        magnitudes: numbers of the formulas whose value can be near the smallest that it can take, so that points
            moved either way make it larger: the length between two points that nearly meet.

    Returns:
        two arrays [formulas]; NaN where there is none.
    """
    landmarks = program.landmarks
    itself = np.array([points.get(landmark, complex(math.nan, math.nan)) for landmark in landmarks], complex)
    moved = [row for row, landmark in enumerate(landmarks) if landmark in points and radii.get(landmark, 0.0) > 0]
    steps = np.array([radii[landmarks[row]] for row in moved]) * _STEP_PER_RADIUS
    values = program.run(_variants(itself, moved, steps), orientation, shortest)
    if not moved:
        return values[:, 0], np.where(np.isfinite(values[:, 0]), 0.0, np.nan)
    # x up, x down, y up, y down of each moved point, behind the set itself
    effects = values[:, 1:].reshape(len(values), 2, 2, len(moved))
    halves = (effects[:, :, 0] - effects[:, :, 1]) / 2
    rows = list(magnitudes)
    halves[rows] = np.abs(effects[rows] - values[rows, 0, None, None, None]).max(2)
    return values[:, 0], np.sqrt((halves**2).sum((1, 2)))


def _variants(
    itself: NDArray[np.complex128], moved: Sequence[int], steps: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """[landmarks, 1 + 4 · moved]: the set itself, and with one point after the other moved along each axis."""
    count = len(moved)
    variants = np.repeat(itself[:, None], 1 + 4 * count, axis=1)
    for number, direction in enumerate((1, -1, 1j, -1j)):
        variants[moved, 1 + number * count + np.arange(count)] += direction * steps
    return variants
