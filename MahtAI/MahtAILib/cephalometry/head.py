"""The head that is traced: its points, which way is forward and down in it, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from MahtAILib.cephalometry.orientation import Facing, orientation_of
from MahtAILib.cephalometry.positions import shortest_direction, size_of

_SELLA_NASION_MM = 67.0
_SIZE_MM = 45.0
_SELLA_NASION_RISE = 1.0 - 0.12j
_PALATE_RISE = 1.0 + 0.02j


@dataclass(frozen=True, eq=False)
class Head:
    """A head to be drawn; positions are x + iy in units of the image, y down.

    Attributes:
        points: landmark id → position.
        facing: where the face looks; None if the points do not tell.
        forward: unit vector, along the Frankfort horizontal where there is one.
        down: unit vector, at a right angle to it.
        mm: about one millimetre of this head, in units: for the size of what is drawn, never for a measurement.
        shortest: points nearer than this have no direction, in units.
    """

    points: Mapping[str, complex]
    facing: Facing | None
    forward: complex
    down: complex
    mm: float
    shortest: float

    def has(self, *landmarks: str) -> bool:
        """Whether all these points are there."""
        return all(landmark in self.points for landmark in landmarks)

    def __getitem__(self, landmark: str) -> complex:
        """Where a point is."""
        return self.points[landmark]

    def near(self, start: complex, forward_mm: float, down_mm: float) -> complex:
        """What lies about so many millimetres ahead of and below a position."""
        return start + (self.forward * forward_mm + self.down * down_mm) * self.mm

    def apart(self, *landmarks: str) -> bool:
        """Whether these points are there and no two neighbours of them coincide."""
        return self.has(*landmarks) and all(
            abs(self[second] - self[first]) > self.shortest
            for first, second in zip(landmarks, landmarks[1:], strict=False)
        )


def head_of(points: Mapping[str, complex], facing: Facing | None = None) -> Head | None:
    """The head that these points make; None if they all lie on one spot.

    Args:
        points: landmark id → position, finite.
        facing: where the face looks, where that is known.
    """
    size = size_of(points)
    if not size:
        return None
    orientation = orientation_of(points, facing)
    shortest = shortest_direction(size)
    handedness = orientation.handedness or 1
    forward = complex(handedness)
    for back, front, rise in (
        ("Po", "Or", 1.0 + 0j),
        ("S", "N", _SELLA_NASION_RISE),
        ("PNS", "ANS", _PALATE_RISE),
    ):
        if back in points and front in points and abs(points[front] - points[back]) > shortest:
            # the rise is that of a face that looks right
            usual = rise if handedness > 0 else rise.conjugate()
            forward = (points[front] - points[back]) / usual
            break
    forward /= abs(forward)
    mm = size / _SIZE_MM
    if "S" in points and "N" in points and 0.4 < abs(points["N"] - points["S"]) / (_SELLA_NASION_MM * mm) < 2.5:
        mm = abs(points["N"] - points["S"]) / _SELLA_NASION_MM
    return Head(points, orientation.facing, forward, forward * 1j * handedness, mm, shortest)
