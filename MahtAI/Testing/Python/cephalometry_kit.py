"""A drawn face with all 38 landmarks, in millimetres: sella at the origin, Frankfort horizontal level, to the right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FACE: dict[str, tuple[float, float]] = {
    "S": (0, 0), "N": (66, -8), "Or": (54, 22), "Po": (-20, 22), "A": (64, 53), "B": (58, 90), "Pog": (58.5, 104),
    "Me": (49, 113), "Gn": (55, 110), "Go": (-10, 88), "L1": (65, 75), "U1": (68, 76), "UL": (82, 66), "LL": (79, 82),
    "Sn": (80, 48), "Pog'": (71, 104), "PNS": (16, 46), "ANS": (68, 47), "Ar": (-18, 32), "D": (51, 103),
    "U1A": (59, 54), "L1A": (57, 95), "Cm": (90, 44), "Ptm": (14, 44), "Co": (-12, 20), "Prn": (95, 38),
    "Ba": (-24, 40), "Pt": (17, 22), "Bo": (-45, 48), "UL'": (80.5, 61), "LL'": (77, 87), "Gn'": (66, 114),
    "Me'": (52, 121), "G'": (76, -28), "N'": (73, -6), "C": (10, 118), "U6": (36.5, 69), "L6": (37.5, 76),
}  # fmt: skip

Points = Mapping[str, tuple[float, float]]


def moved(points: Points, **by: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """The points with some of them moved by (x, y)."""
    return {one: tuple(np.add(at, by.get(one, (0, 0)))) for one, at in points.items()}


def mirrored(points: Points) -> dict[str, tuple[float, float]]:
    """As seen from the other side."""
    return {one: (1000 - x, y) for one, (x, y) in points.items()}


def turned(
    points: Points, degrees: float, scale: float = 1.0, by: tuple[float, float] = (0, 0)
) -> dict[str, tuple[float, float]]:
    """Rotated, enlarged, then shifted."""
    angle = np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return {one: tuple(matrix @ at + by) for one, at in points.items()}


def without(points: Points, *landmarks: str) -> dict[str, tuple[float, float]]:
    """The points less some of them."""
    return {one: at for one, at in points.items() if one not in landmarks}
