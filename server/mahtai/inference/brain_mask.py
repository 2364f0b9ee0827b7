"""Where the brain is: is the skull off already, and if not, which voxels are brain.

Extraction is done by deepbet (Fisch et al., 2024, doi:10.1016/j.compbiomed.2024.108845), a network for
T1-weighted MRI of adults whose weights come with its package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mahtai.inference.spatial import canonical_grid, resample
from mahtai.volumes.volume import Volume

LARGEST_BRAIN_ML = 2100.0
LARGEST_BRAIN_SECTION_CM2 = 215.0
"""Axial sections of heads with scalp are larger, those of brains smaller."""

LEAST_BACKGROUND = 0.25
"""Share of a volume that one constant value fills if the skull is off: even the tightest box round a
brain holds more."""

PLAUSIBLE_ML = (700.0, 2000.0)
CLOSING_MM = 4


@dataclass(frozen=True, eq=False)
class BrainMask:
    """The brain of a volume.

    Attributes:
        array: [i, j, k] bool on the grid of the volume.
        volume_ml: of the mask.
        method: program and version.
        warnings: for the reader; not empty if the mask is not plausible.
    """

    array: NDArray[np.bool_]
    volume_ml: float
    method: str
    warnings: tuple[str, ...] = ()


def background_value(array: NDArray[Any]) -> float:
    """The value outside of the head: what most corners of the volume have in common, else 0."""
    corners = array[np.ix_(*([0, -1] for _ in range(3)))].ravel()
    values, counts = np.unique(corners, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() >= 6 else 0.0


def is_skull_stripped(volume: Volume) -> bool:
    """Whether only brain is left: much of one constant value, and no more tissue than a brain has."""
    tissue = np.asarray(volume.array) != background_value(np.asarray(volume.array))
    if 1 - tissue.mean() < LEAST_BACKGROUND:
        return False
    if tissue.sum() * volume.geometry.voxel_ml > LARGEST_BRAIN_ML:
        return False
    axial = int(np.argmax(np.abs(volume.geometry.direction[2])))
    others = [axis for axis in range(3) if axis != axial]
    voxel_cm2 = float(np.prod([volume.geometry.spacing_mm[axis] for axis in others])) / 100
    return float(tissue.sum(axis=tuple(others)).max()) * voxel_cm2 <= LARGEST_BRAIN_SECTION_CM2


def brain_mask(t1: Volume, device: str = "cpu") -> BrainMask:
    """Extract the brain of an adult's head.

    Args:
        t1: T1-weighted, with or without contrast, any grid.
        device: ``cpu`` or ``cuda``.
    """
    grid = canonical_grid(t1.geometry, (1.0, 1.0, 1.0), "RAS")
    source = torch.from_numpy(np.ascontiguousarray(t1.array).astype(np.float32))[None]
    head = resample(source, t1.geometry, grid)[0].numpy()
    network = _network(device.startswith("cuda"))
    found = network.postprocess(network.run_model(head.copy()) > 0.5)
    # a tumour at the surface can be left out as a notch; closing takes it back in
    padded = np.pad(np.asarray(found, bool), CLOSING_MM)
    closed = ndimage.binary_closing(padded, ndimage.generate_binary_structure(3, 1), iterations=CLOSING_MM)
    closed = ndimage.binary_fill_holes(closed)[(slice(CLOSING_MM, -CLOSING_MM),) * 3]
    restored = resample(torch.from_numpy(closed.astype(np.float32))[None], grid, t1.geometry)[0].numpy() >= 0.5
    volume_ml = float(restored.sum()) * t1.geometry.voxel_ml
    warnings: tuple[str, ...] = ()
    if not PLAUSIBLE_ML[0] <= volume_ml <= PLAUSIBLE_ML[1]:
        warnings = (
            f"The brain was found to have {volume_ml:.0f} ml, which is not plausible: check the segmentation, "
            "or run again with the brain mask switched off.",
        )
    return BrainMask(restored, volume_ml, f"deepbet {version('deepbet')}", warnings)


@cache
def _network(on_cuda: bool) -> Any:
    import deepbet

    return deepbet.BrainExtraction(no_gpu=not on_cuda)
