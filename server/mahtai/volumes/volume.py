"""A volume as the engine takes it, what can be told of a file without its voxels, and the voxel checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mahtai.errors import MahtaiError
from mahtai.volumes.geometry import Geometry

MAX_VOXELS = 2**30
"""What a file may claim to hold unless the caller says otherwise: 1024³."""


class VolumeError(MahtaiError):
    """A file that is no usable volume: damaged, of a kind that is not read, or without content."""

    kind = "volume"
    title = "The volume cannot be used"
    status = 422


@dataclass(frozen=True)
class StatedPixelSize:
    """What a radiograph's file says of the true size of its pixels, apart from its grid.

    Attributes:
        mm: along I and along J; None where the file says nothing that can be used.
        source: which attribute says so, or why none does; a sentence for the reader.
        warnings: what makes it doubtful.
    """

    mm: tuple[float, float] | None
    source: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan in memory.

    Attributes:
        array: [i, j, k], native byte order.
        geometry: of the voxel grid.
        format: ``nrrd``, ``nifti``, ``dicom``, ``png``, ``jpeg``, ``tiff`` or ``bmp``.
        warnings: what the reader should know about the file, in plain words.
        pixel_size: what a 2-D image's file says of its scale; None where its grid is all that it says.
    """

    array: NDArray[Any]
    geometry: Geometry
    format: str
    warnings: tuple[str, ...] = ()
    pixel_size: StatedPixelSize | None = None


@dataclass(frozen=True, eq=False)
class VolumeInfo:
    """What the header of a file says.

    Attributes:
        kind: a scan (``volume``) or a segmentation with named segments.
        dtype: of a voxel, numpy's name such as ``int16``.
    """

    kind: Literal["volume", "segmentation"]
    format: str
    geometry: Geometry
    dtype: str
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        return {
            "kind": self.kind,
            "format": self.format,
            "dtype": self.dtype,
            **self.geometry.as_json(),
            "warnings": list(self.warnings),
        }


def check_claim(shape: tuple[int, ...], max_voxels: int) -> None:
    """Refuse a header before anything is allocated for it.

    Raises:
        VolumeError: an axis without voxels, or more voxels than allowed.
    """
    voxels = math.prod(shape)
    if min(shape, default=0) < 1:
        raise VolumeError(
            f"The volume is empty: it has {' × '.join(str(n) for n in shape)} voxels.", "Choose another volume."
        )
    if voxels > max_voxels:
        raise VolumeError(
            f"The file claims {voxels:,} voxels; at most {max_voxels:,} are accepted.",
            "If the scan is really so large, crop it first (Slicer: Crop Volume). Otherwise the file is damaged.",
        )


def check_voxels(volume: Volume) -> None:
    """Refuse a scan in which nothing can be seen.

    A blank 2-D image passes: the task that it is for says that it shows nothing.

    Raises:
        VolumeError: not 3-D, one voxel, empty, constant, or with NaN or infinite values.
    """
    array = volume.array
    if array.ndim != 3:
        raise VolumeError(
            f"The volume has {array.ndim} dimensions; one 3-D volume is expected.",
            "Split the series (Slicer: Sequences or Multi-volume modules) and send one volume of it.",
        )
    if array.size <= 1:
        raise VolumeError("The volume has one voxel only.", "Choose the scan itself.")
    low, high = array.min(), array.max()
    # the minimum of an array with a NaN is NaN, so that two passes see every value
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(array.size - np.isfinite(array).sum())
        raise VolumeError(
            f"The volume holds {bad:,} values that are not numbers (NaN or infinite).",
            "They come from a calculation; export the scan itself, or set them to 0 first.",
        )
    if low == high and array.shape[2] > 1:
        what = "empty: every voxel is 0" if low == 0 else f"constant: every voxel is {low:g}"
        raise VolumeError(f"The volume is {what}.", "Choose the scan itself; nothing can be seen in this one.")


def check_is_stack(shape: tuple[int, ...]) -> None:
    """Refuse a single slice where a whole series is needed.

    Raises:
        VolumeError: there is one slice only.
    """
    if min(shape) < 2:
        raise VolumeError(
            f"The volume has one slice only ({' × '.join(str(n) for n in shape)} voxels).",
            "Choose the whole series; a single image is not enough.",
        )
