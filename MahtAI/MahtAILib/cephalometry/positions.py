"""Points as they come in, made into numbers that can be computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

LARGEST = 1e12
"""Coordinates and radii beyond this, in units, are no measurement of anything."""

_NO_DIRECTION = 1e-3
_SAME_SPOT = 1e-6


def clean_points(points: Mapping[str, ArrayLike]) -> dict[str, complex]:
    """Landmark id → x + iy of all points that are two finite numbers; the others are left out.

    Args:
        points: landmark id → (x, y) or (x, y, anything); None for a missing one.
    """
    cleaned = {}
    for landmark, position in points.items():
        number = _clean(position)
        if number is not None:
            cleaned[landmark] = number
    return cleaned


def _clean(position: Any) -> complex | None:
    try:
        x, y = float(position[0]), float(position[1])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None
    if not (abs(x) < LARGEST and abs(y) < LARGEST):
        return None
    return complex(x, y)


def size_of(points: Mapping[str, complex]) -> float:
    """How large the head is, roughly: the median distance of the points from their middle, in units.

    A few points far off do not change it. 0 if all lie on one spot.
    """
    if not points:
        return 0.0
    positions = np.fromiter(points.values(), complex, len(points))
    middle = complex(np.median(positions.real), np.median(positions.imag))
    distances = np.abs(positions - middle)
    size = float(np.median(distances)) or float(distances.max())
    spread = float(np.ptp(positions.real) + np.ptp(positions.imag))
    return size if spread > 0 else 0.0


def shortest_direction(size: float) -> float:
    """Two points nearer than this, in units, have no direction that means anything."""
    return _NO_DIRECTION * size


def same_spot(size: float) -> float:
    """Two points nearer than this, in units, lie on one spot."""
    return _SAME_SPOT * size


def clean_positive(number: float | None) -> float | None:
    """A number above 0 that means something, or None."""
    try:
        value = float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return value if 1 / LARGEST < value < LARGEST else None
