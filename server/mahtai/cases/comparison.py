"""What a person changed: voxels and Dice between two segmentations of one grid, by segment id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client.segmentation import Segmentation


@dataclass(frozen=True)
class SegmentContent:
    """How much a segment holds."""

    name: str
    label_value: int
    voxels: int
    volume_ml: float


@dataclass(frozen=True)
class Comparison:
    """Difference between two segmentations.

    Attributes:
        voxels_changed: voxels that belong to other segments than before.
        dice: segment id → 2·|A∩B| / (|A|+|B|); 1 where both are empty, 0 where only one has the segment.
    """

    voxels_changed: int
    dice: dict[str, float]


def contents(segmentation: Segmentation) -> dict[str, SegmentContent]:
    """Voxels and volume of every segment, by id."""
    found = {}
    for segment in segmentation.segments:
        voxels = int(np.count_nonzero(segmentation.mask(segment.id)))
        volume_ml = round(voxels * segmentation.geometry.voxel_ml, 4)
        found[segment.id] = SegmentContent(segment.name, segment.label_value, voxels, volume_ml)
    return found


def compare(saved: Segmentation, other: Segmentation) -> Comparison:
    """Compare two segmentations, both [i, j, k] on the same grid.

    Raises:
        ValueError: the shapes differ.
    """
    if saved.geometry.shape != other.geometry.shape:
        raise ValueError(f"cannot compare grids of {saved.geometry.shape} and {other.geometry.shape} voxels")
    ids = {segment.id for part in (saved, other) for segment in part.segments}
    changed = np.zeros(saved.geometry.shape, dtype=bool)
    dice = {}
    for segment_id in sorted(ids):
        first, second = _mask(saved, segment_id), _mask(other, segment_id)
        changed |= first != second
        both = int(np.count_nonzero(first & second))
        total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
        dice[segment_id] = round(2 * both / total, 6) if total else 1.0
    return Comparison(int(np.count_nonzero(changed)), dice)


def _mask(segmentation: Segmentation, segment_id: str) -> NDArray[Any]:
    try:
        return segmentation.mask(segment_id)
    except KeyError:
        return np.zeros(segmentation.geometry.shape, dtype=bool)
