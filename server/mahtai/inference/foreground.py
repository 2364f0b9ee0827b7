"""What was scanned, without the empty space around it: a stripped brain fills a third of its grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mahtai.inference.skull_stripping import MIN_BACKGROUND_SHARE, background_of
from mahtai.inference.spatial import crop_grid
from mahtai.volumes.volume import Volume

EDGE_VOXELS = 2
"""Background that is kept around what was scanned, so that interpolation at its edge sees it."""


def filled_part(volume: Volume) -> Volume:
    """The volume with background 0, cropped to what is not background; whole where it has no background.

    Returns:
        A volume whose array is float32, with its place in the patient.
    """
    background, share = background_of(volume.array)
    box = _box_of(volume.array != background) if share >= MIN_BACKGROUND_SHARE else None
    if box is None:
        array = volume.array.astype(np.float32)
        return replace(volume, array=array - np.float32(background) if share >= MIN_BACKGROUND_SHARE else array)
    part = volume.array[box].astype(np.float32)
    if background:
        part -= np.float32(background)
    return replace(volume, array=part, geometry=crop_grid(volume.geometry, box))


def _box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds a mask, with ``EDGE_VOXELS`` around it; None for an empty one."""
    # first along the axis whose voxels lie together in memory, which leaves little for the others
    fastest = int(np.argmin(mask.strides))
    slow = [axis for axis in range(3) if axis != fastest]
    projected = np.asarray(mask.any(axis=fastest))
    filled = {axis: projected.any(axis=1 - number) for number, axis in enumerate(slow)}
    filled[fastest] = mask.any(axis=(slow[0], slow[1]))
    box: list[slice] = []
    for axis in range(3):
        inside = np.flatnonzero(filled[axis])
        if not inside.size:
            return None
        stop = min(int(inside[-1]) + 1 + EDGE_VOXELS, mask.shape[axis])
        box.append(slice(max(int(inside[0]) - EDGE_VOXELS, 0), stop))
    return box[0], box[1], box[2]
