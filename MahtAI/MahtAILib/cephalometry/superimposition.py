"""An earlier set of points laid on the present one, registered at sella along sella-nasion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MahtAILib.cephalometry.orientation import orientation_of
from MahtAILib.cephalometry.positions import clean_points, clean_positive, shortest_direction, size_of


@dataclass(frozen=True, eq=False)
class Superimposition:
    """The earlier points in the present image.

    Attributes:
        points: landmark id → (x, y) in units of the present image; empty where it cannot be done.
        earlier_to_present: 2×3, applied to (x, y, 1) of the earlier image.
        scale: units of the present image in one of the earlier.
        mirrored: the faces look different ways, so the earlier one was mirrored.
        note: why it cannot be done, or what to know about the scale; else empty.
    """

    points: Mapping[str, tuple[float, float]]
    earlier_to_present: NDArray[np.float64]
    scale: float
    mirrored: bool
    note: str


def superimpose(
    earlier: Mapping[str, ArrayLike],
    present: Mapping[str, ArrayLike],
    earlier_mm_per_unit: float | None = None,
    present_mm_per_unit: float | None = None,
) -> Superimposition:
    """Lay the earlier points on the present ones: S on S, the line S-N on the line S-N; never raises over a point.

    Where both images are calibrated a millimetre stays a millimetre, so that growth can be seen. Where one is not,
    the earlier face is scaled to the present length of S-N, and the note says so.

    Args:
        earlier: landmark id → (x, y) in units of the earlier image, y down.
        present: likewise, of the present image.
        earlier_mm_per_unit: true millimetres in a unit of the earlier image.
        present_mm_per_unit: likewise, of the present image.
    """
    before, now = clean_points(earlier), clean_points(present)
    for points, which in ((before, "earlier"), (now, "present")):
        missing = [one for one in ("S", "N") if one not in points]
        if missing:
            return _impossible(f"The {which} image has no {' and no '.join(missing)}.")
        if abs(points["N"] - points["S"]) <= shortest_direction(size_of(points)):
            return _impossible(f"S and N of the {which} image lie on one spot.")
    mirrored = orientation_of(before).handedness * orientation_of(now).handedness < 0
    seen = {one: point.conjugate() if mirrored else point for one, point in before.items()}
    turned = (now["N"] - now["S"]) / (seen["N"] - seen["S"])
    scale, note = _scale(abs(turned), clean_positive(earlier_mm_per_unit), clean_positive(present_mm_per_unit))
    factor = turned / abs(turned) * scale
    offset = now["S"] - factor * seen["S"]
    moved = {one: factor * point + offset for one, point in seen.items()}
    flip = -1.0 if mirrored else 1.0
    matrix = np.array([[factor.real, -factor.imag * flip, offset.real], [factor.imag, factor.real * flip, offset.imag]])
    return Superimposition({one: (at.real, at.imag) for one, at in moved.items()}, matrix, scale, mirrored, note)


def _scale(by_length: float, earlier_mm: float | None, present_mm: float | None) -> tuple[float, str]:
    """Units of the present image in one of the earlier, and what to know about it."""
    if earlier_mm is not None and present_mm is not None:
        return earlier_mm / present_mm, ""
    which = [name for name, mm in (("earlier", earlier_mm), ("present", present_mm)) if mm is None]
    images = f"The {which[0]} image is" if len(which) == 1 else "The images are"
    return by_length, f"{images} not calibrated: scaled to the length of S-N, so growth of S-N itself does not show."


def _impossible(note: str) -> Superimposition:
    return Superimposition({}, np.array([[1.0, 0, 0], [0, 1.0, 0]]), 1.0, False, note)
