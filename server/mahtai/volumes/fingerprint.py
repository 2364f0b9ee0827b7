"""What a scan is known by, whatever its file is called and however it is stored."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST_VALUES = 16
FEWEST_VOXELS = 1000
"""With less in it, two scans can be alike by chance."""


def fingerprint(voxels: NDArray[Any]) -> str:
    """SHA-256 of the histogram without the background, of an array of any shape and real type.

    It stays the same when a file is renamed, compressed anew, mirrored, turned by right angles,
    cropped or padded, so that none of these hides a scan.
    """
    return _digest(*_histogram(voxels))


def telling_fingerprint(voxels: NDArray[Any]) -> str | None:
    """``fingerprint`` of a scan that has enough in it to tell it from any other; else None."""
    values, counts = _histogram(voxels)
    if len(values) < FEWEST_VALUES or int(counts.sum()) < FEWEST_VOXELS:
        return None
    return _digest(values, counts)


def _histogram(voxels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values that occur, ascending, and how often each does."""
    if voxels.dtype in (np.uint8, np.uint16):
        every = np.bincount(voxels.ravel(order="K"))
        every[0] = 0
        values = np.flatnonzero(every)
        return values, every[values]
    flat = voxels.ravel(order="K")
    return np.unique(flat[flat != 0], return_counts=True)


def _digest(values: NDArray[Any], counts: NDArray[Any]) -> str:
    return hashlib.sha256(values.astype("<f4").tobytes() + counts.astype("<i8").tobytes()).hexdigest()
