"""Which way the face looks, found from the points themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from MahtAILib.cephalometry.positions import clean_points

Facing = Literal["right", "left"]

# pairs of landmarks that lie one behind the other, and one above the other, in every head
BACK_TO_FRONT = (
    *(("S", "N"), ("S", "Or"), ("Po", "Or"), ("PNS", "ANS"), ("PNS", "A"), ("Ar", "A"), ("Ar", "N"), ("Go", "B")),
    *(("Go", "Me"), ("Ar", "Sn"), ("PNS", "UL"), ("Go", "Pog'"), ("PNS", "U1"), ("Ar", "ANS"), ("Po", "N"), ("S", "A")),
    *(("Co", "Or"), ("Ba", "N"), ("Ptm", "ANS"), ("U6", "U1"), ("L6", "L1"), ("Po", "Prn"), ("C", "Me'")),
)
TOP_TO_BOTTOM = (
    *(("N", "Me"), ("N", "B"), ("S", "Go"), ("Or", "B"), ("Po", "Go"), ("ANS", "Pog"), ("N", "ANS"), ("Sn", "Pog'")),
    *(("Or", "U1"), ("ANS", "L1"), ("S", "PNS"), ("N", "A"), ("UL", "Pog"), ("Co", "Go"), ("N'", "Me'"), ("Or", "Gn")),
)

_AGREEMENT = 0.2
_LEVEL = np.sqrt(0.5)


@dataclass(frozen=True)
class Orientation:
    """How the head lies in the image.

    Attributes:
        handedness: 1 if the face, held upright, looks right, -1 if left, 0 if the points do not tell. It does not
            change when the image is rotated, only when it is mirrored; the signs of measurements depend on it.
        forward: which way along the image's x axis the face looks: 1 to the right, -1 to the left, 0 if the points do
            not tell or the head is turned so far that forward is rather up or down in the image.
    """

    handedness: int
    forward: int

    @property
    def facing(self) -> Facing | None:
        """Where the upright face looks; None if the points do not tell."""
        if not self.handedness:
            return None
        return "right" if self.handedness > 0 else "left"


def facing_of(points: Mapping[str, ArrayLike]) -> Facing | None:
    """Where the face, held upright, looks; None if the points do not tell.

    Args:
        points: landmark id → (x, y), y down; points that are not numbers do not count.
    """
    return orientation_of(clean_points(points)).facing


def orientation_of(points: Mapping[str, complex], facing: Facing | None = None) -> Orientation:
    """How the head lies, by the vote of many pairs of landmarks, so that a few wrong ones do not matter.

    Args:
        points: landmark id → x + iy, y down; finite.
        facing: what is known about it already.
    """
    forward = _directions(points, BACK_TO_FRONT)
    downward = _directions(points, TOP_TO_BOTTOM)
    known = {"right": 1, "left": -1}.get(facing or "", 0)
    if not len(forward):
        return Orientation(known, known)
    mean = forward.mean()
    level = 0 if abs(mean.real) < _LEVEL * abs(mean) or not abs(mean) else int(np.sign(mean.real))
    if known:
        return Orientation(known, level)
    if not len(downward):
        return Orientation(level, level)
    agreement = float((forward.conj()[:, None] * downward[None, :]).imag.mean())
    return Orientation(0 if abs(agreement) < _AGREEMENT else int(np.sign(agreement)), level)


def _directions(
    points: Mapping[str, complex], pairs: tuple[tuple[str, str], ...]
) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
    """Unit vectors from the first to the second of each pair that is there and does not coincide."""
    vectors = np.array(
        [points[end] - points[start] for start, end in pairs if start in points and end in points], complex
    )
    lengths = np.abs(vectors)
    return vectors[lengths > 0] / lengths[lengths > 0]
