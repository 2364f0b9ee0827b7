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

from mahtai.inference.skull_stripping import background_of, is_skull_stripped, skull_evidence
from mahtai.inference.spatial import canonical_grid, resample
from mahtai.volumes.volume import Volume

__all__ = ["BrainMask", "MaskWarning", "brain_mask", "is_skull_stripped", "skull_evidence"]

PLAUSIBLE_ML = (700.0, 2000.0)
"""Brain with cerebrospinal fluid, of small and of large adults."""

_WORKING_MM = (1.0, 1.0, 1.0)
_THRESHOLD = 0.5
_CLOSING_VOXELS = 4


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
        return _checked(_head(t1), t1, "head")
    on_own_grid = resample(torch.from_numpy(found.astype(np.float32))[None], grid, t1.geometry)[0]
    return _checked((on_own_grid > 0.5).numpy(), t1, "deepbet")


def _checked(array: NDArray[np.bool_], volume: Volume, method: Literal["deepbet", "nonzero", "head"]) -> BrainMask:
    volume_ml = float(np.count_nonzero(array)) * volume.geometry.voxel_ml
    warnings = []
    low, high = PLAUSIBLE_ML
    if method == "head":
        text = "No brain was found in the scan: everything that is not air was used. Check the segmentation with care."
        warnings.append(MaskWarning("not-found", text))
    elif not low <= volume_ml <= high:
        kind: Literal["small", "large"] = "small" if volume_ml < low else "large"
        text = (
            f"The brain was found to have {volume_ml:.0f} ml, which is not plausible for an adult: check the "
            "segmentation, or run again with the brain mask switched off."
        )
        warnings.append(MaskWarning(kind, text))
    return BrainMask(array, volume_ml, method, tuple(warnings))


def _stripped_foreground(volume: Volume) -> NDArray[np.bool_]:
    background, _ = background_of(volume.array)
    return np.asarray(volume.array != background)


def _head(volume: Volume) -> NDArray[np.bool_]:
    """Everything brighter than a tenth of what is bright in the scan, holes filled."""
    bright = float(np.percentile(volume.array, 99))
    return np.asarray(ndimage.binary_fill_holes(volume.array > 0.1 * bright))


def _deepbet(scan: NDArray[np.float32], device: torch.device) -> NDArray[np.bool_] | None:
    """The brain of a scan with RAS axes at 1 mm, or None where the network sees no brain."""
    network = _network(device.type == "cuda")
    try:
        found = network.postprocess(network.run_model(scan.copy()) > _THRESHOLD)
    except (AssertionError, ValueError):
        # deepbet's way to say that nothing is above its threshold
        return None
    # a tumour at the surface can be left out as a notch; closing takes it back in
    padded = np.pad(np.asarray(found, bool), _CLOSING_VOXELS)
    closed = ndimage.binary_closing(padded, ndimage.generate_binary_structure(3, 1), iterations=_CLOSING_VOXELS)
    filled = ndimage.binary_fill_holes(closed)
    return np.asarray(filled[(slice(_CLOSING_VOXELS, -_CLOSING_VOXELS),) * 3])


@lru_cache(maxsize=1)
def _network(on_cuda: bool) -> Any:
    import deepbet

    return deepbet.BrainExtraction(no_gpu=not on_cuda)
