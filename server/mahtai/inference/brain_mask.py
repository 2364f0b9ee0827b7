"""Where the brain is: of a scan with the skull on by deepbet's network, of a stripped one by its voxels.

deepbet (MIT, https://doi.org/10.1016/j.compbiomed.2024.108845) was trained on T1 of adults; it holds
on T1c as well. Its weights come with the package, nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mahtai.inference.skull_stripping import is_skull_stripped, skull_evidence
from mahtai.inference.spatial import canonical_grid, resample
from mahtai.volumes.volume import Volume

__all__ = ["BrainMask", "MaskWarning", "brain_mask", "is_skull_stripped", "skull_evidence"]

PLAUSIBLE_ML = (700.0, 2000.0)
"""Brain with cerebrospinal fluid, of small and of large adults."""

_WORKING_MM = (1.0, 1.0, 1.0)
_THRESHOLD = 0.5


@dataclass(frozen=True)
class MaskWarning:
    """Why a mask may be wrong: ``kind`` for programs, ``text`` for the reader."""

    kind: Literal["small", "large", "not-found"]
    text: str


@dataclass(frozen=True, eq=False)
class BrainMask:
    """Where the brain is.

    Attributes:
        array: bool [i, j, k] on the grid of the volume.
        volume_ml: of the mask.
        method: ``deepbet`` (network), ``nonzero`` (the scan was stripped already), ``head`` (the network
            found no brain: everything that is not air).
        warnings: empty if the mask is plausible.
    """

    array: NDArray[np.bool_]
    volume_ml: float
    method: Literal["deepbet", "nonzero", "head"]
    warnings: tuple[MaskWarning, ...]

    def as_json(self) -> dict[str, Any]:
        """For the record kept with the result; without the voxels."""
        return {
            "method": self.method,
            "volume_ml": round(self.volume_ml, 1),
            "warnings": [{"kind": warning.kind, "text": warning.text} for warning in self.warnings],
        }


def brain_mask(t1: Volume, device: str | torch.device = "cpu") -> BrainMask:
    """Find the brain in a T1 or T1c of an adult, on any grid, with the skull on or already stripped.

    Args:
        t1: the scan; thick slices and oblique or mirrored axes are fine.
        device: that the network runs on. On a CPU it takes as many threads as torch is set to.
    """
    if is_skull_stripped(t1):
        return _checked(_stripped_foreground(t1), t1, "nonzero")
    grid = canonical_grid(t1.geometry, _WORKING_MM, "RAS")
    voxels = torch.from_numpy(np.ascontiguousarray(t1.array, dtype=np.float32))
    scan = resample(voxels[None], t1.geometry, grid)[0].numpy()
    found = _deepbet(scan, torch.device(device))
    if found is None:
        return _checked(_head(scan_of=t1), t1, "head")
    on_own_grid = resample(torch.from_numpy(found.astype(np.float32))[None], grid, t1.geometry)[0]
    return _checked((on_own_grid > 0.5).numpy(), t1, "deepbet")
