"""Where the model was unsure: connected places and slices to look at first. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.images import filled_box

_NEIGHBOURHOOD_MM = 5.0
_BLOCK_MM = 2.0
_LEVELS = (0.3, 0.45, 0.6, 0.75)
"""Mean doubt in the neighbourhood. The thin shell of doubt round most borders stays below the first."""

_LARGE_ML = 2.0
"""A place larger than this is parted where doubt falls between two of its peaks."""

_SMALLEST_ML = 0.05
_MOST_PLACES = 20
_SLICES_APART_MM = 6.0


@dataclass(frozen=True)
class Place:
    """A place to look at.

    Attributes:
        ras_mm: its most doubtful point, RAS.
        size_ml: volume of the connected place; for a slice, the doubt in it.
        doubt: 0..1, mean within the place.
    """

    ras_mm: tuple[float, float, float]
    size_ml: float
    doubt: float


def doubtful_places(confidence: NDArray[Any], geometry: Geometry) -> list[Place]:
    """Connected doubtful places, the largest amount of doubt first.

    Args:
        confidence: [i, j, k], percent; 100 is certain.
        geometry: of the array.
    """
    from scipy import ndimage  # here, because importing it takes as long as all else that opening the panel needs

    percent, offset = _doubt(confidence)
    if percent.size == 0:
        return []
    doubt, grid = _coarse(percent, offset, geometry)
    size = [max(1, round(_NEIGHBOURHOOD_MM / spacing)) for spacing in grid.spacing_mm]
    smooth = ndimage.uniform_filter(doubt, size, mode="constant")
    places = _places(smooth, (0, 0, 0), grid, 0)
    return sorted(places, key=lambda place: place.size_ml * place.doubt, reverse=True)[:_MOST_PLACES]


def _coarse(
    doubt: NDArray[np.uint8], offset: Sequence[int], geometry: Geometry
) -> tuple[NDArray[np.float32], Geometry]:
    """Means over blocks of about 2 mm, 0..1, and where they lie.

    The filters hold Python's lock, and Slicer waits for it.

    Args:
        doubt: [i, j, k], percent.
        offset: index in ``geometry`` of the first voxel of ``doubt``.
    """
    block = [max(1, round(_BLOCK_MM / spacing)) for spacing in geometry.spacing_mm]
    sums: NDArray[Any] = doubt
    for axis, side in enumerate(block):
        sums = _sums_along(sums, axis, side)
    to_fine = np.diag([*(float(side) for side in block), 1.0])
    to_fine[:3, 3] = np.array(offset) + (np.array(block) - 1) / 2
    means = sums.astype(np.float32) / (100 * np.prod(block))
    return np.asarray(means, np.float32), Geometry(means.shape, geometry.ijk_to_ras @ to_fine)


def _sums_along(values: NDArray[Any], axis: int, side: int) -> NDArray[np.uint32]:
    """Sums of each ``side`` neighbours along an axis; past the end there is nothing to add."""
    count = -(-values.shape[axis] // side)
    shape = [*values.shape[:axis], count, *values.shape[axis + 1 :]]
    sums = np.zeros(shape, np.uint32, order="F")
    for start in range(side):
        every = values[(slice(None),) * axis + (slice(start, None, side),)]
        sums[(slice(None),) * axis + (slice(0, every.shape[axis]),)] += every
    return sums


def _places(smooth: NDArray[np.float32], offset: Sequence[int], geometry: Geometry, level: int) -> list[Place]:
    """Connected places above a level of doubt, large ones parted by the levels above."""
    from scipy import ndimage

    parts, _ = ndimage.label(smooth > _LEVELS[level], np.ones((3, 3, 3)))
    places: list[Place] = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        size_ml = float(inside.sum()) * geometry.voxel_ml
        if size_ml < _SMALLEST_ML:
            continue
        values = np.where(inside, smooth[box], 0)
        corner = [start + axis.start for start, axis in zip(offset, box, strict=True)]
        if size_ml > _LARGE_ML and level + 1 < len(_LEVELS):
            smaller = _places(values, corner, geometry, level + 1)
            if len(smaller) > 1:
                places += smaller
                continue
        index = [start + int(p) for start, p in zip(corner, _middle_of_peak(values), strict=True)]
        places.append(Place(_ras(geometry, index), size_ml, float(values[inside].mean())))
    return places


def _middle_of_peak(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """The voxel in the middle of those that are as doubtful as any."""
    peak = np.argwhere(values >= 0.95 * values.max())
    return np.asarray(peak[np.linalg.norm(peak - peak.mean(axis=0), axis=1).argmin()])


def doubtful_slices(confidence: NDArray[Any], geometry: Geometry) -> list[Place]:
    """Slices with most doubt, the most doubtful first; neighbours of a listed slice are left out.

    Slices are those of the grid's axis with the largest spacing, or the one nearest to head-foot.
    """
    doubt, offset = _doubt(confidence)
    if doubt.size == 0:
        return []
    axis = slice_axis(geometry)
    others = tuple(other for other in range(3) if other != axis)
    mass = doubt.sum(axis=others, dtype=np.int64)
    apart = max(1, round(_SLICES_APART_MM / geometry.spacing_mm[axis]))
    chosen: list[int] = []
    for index in np.argsort(-mass, kind="stable"):
        if mass[index] <= 0 or len(chosen) == _MOST_PLACES:
            break
        if all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    places = []
    for index in chosen:
        plane = doubt[(slice(None),) * axis + (index,)]
        first, second = np.unravel_index(int(plane.argmax()), plane.shape)
        found = [0, 0, 0]
        found[axis], found[others[0]], found[others[1]] = index, int(first), int(second)
        voxel = [value + o for value, o in zip(found, offset, strict=True)]
        amount = float(mass[index]) / 100
        places.append(Place(_ras(geometry, voxel), amount * geometry.voxel_ml, amount / max((plane > 0).sum(), 1)))
    return places


def slice_axis(geometry: Geometry) -> int:
    """The axis across which a reader scrolls: 0, 1 or 2."""
    spacing = np.array(geometry.spacing_mm)
    if np.ptp(spacing) > 1e-3:
        return int(spacing.argmax())
    return int(np.abs(geometry.direction[2]).argmax())


def _doubt(confidence: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
    """Percent of doubt in the box that holds all of it, and where that box begins."""
    box = filled_box(confidence < 100)
    percent = np.clip(confidence[box], 0, 100).astype(np.uint8, copy=False)
    return np.uint8(100) - percent, (box[0].start, box[1].start, box[2].start)


def _ras(geometry: Geometry, index: list[int]) -> tuple[float, float, float]:
    right, anterior, superior = (geometry.ijk_to_ras @ [*index, 1.0])[:3]
    return float(right), float(anterior), float(superior)
