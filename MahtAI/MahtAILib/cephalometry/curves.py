"""Smooth curves through a few points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PER_SEGMENT = 10


def smooth(through: Sequence[complex], per_segment: int = _PER_SEGMENT) -> NDArray[np.float64]:
    """A curve without corners through all these positions, in their order: a natural cubic spline.

    Its parameter grows with the square root of the distance (centripetal), so that it does not swing out between
    points that lie close together. Neighbours that coincide count once.

    Args:
        through: x + iy.
        per_segment: number of straight pieces from one position to the next.

    Returns:
        [n, 2]
    """
    positions = np.array(through, complex)
    keep = np.concatenate([[True], np.abs(np.diff(positions)) > 1e-9 * (np.abs(np.diff(positions)).max(initial=0.0))])
    positions = positions[keep]
    if len(positions) < 3:
        return as_points(positions)
    steps = np.sqrt(np.abs(np.diff(positions)))
    slopes = np.diff(positions) / steps
    bends = np.zeros(len(positions), complex)
    matrix = np.diag(2 * (steps[:-1] + steps[1:])) + np.diag(steps[1:-1], 1) + np.diag(steps[1:-1], -1)
    bends[1:-1] = np.linalg.solve(matrix, 6 * np.diff(slopes))
    share = np.arange(per_segment) / per_segment
    at = share[None, :] * steps[:, None]
    first = slopes - steps * (2 * bends[:-1] + bends[1:]) / 6
    third = (bends[1:] - bends[:-1]) / (6 * steps)
    pieces = positions[:-1, None] + at * (first[:, None] + at * (bends[:-1, None] / 2 + at * third[:, None]))
    return as_points(np.append(pieces.ravel(), positions[-1]))


def as_points(positions: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Positions x + iy as [n, 2]."""
    return np.stack([positions.real, positions.imag], 1)
