"""Volumes as NIfTI-1 files, for servers that read nothing else.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h. The world of NIfTI is RAS in mm, as ours is.
"""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MahtAILib.errors import ExplainedError

_HEADER_BYTES = 352
_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
_MOST_VOXELS = 2**15 - 1
_MILLIMETRES = 2
_SCANNER = 1


class NiftiError(ExplainedError):
    """A volume that NIfTI cannot hold."""


def encode(array: NDArray[Any], ijk_to_ras: ArrayLike) -> bytes:
    """Write a volume as ``.nii.gz`` in memory; the same volume gives the same bytes.

    Args:
        array: [i, j, k]. Booleans become uint8 and half floats become float32.
        ijk_to_ras: 4×4, voxel index → RAS in mm; kept as float32, which is all that NIfTI has.

    Raises:
        NiftiError: not three axes, too many voxels along one, or a type that NIfTI lacks.
    """
    narrow = {"b1": "u1", "f2": "f4"}
    kind = narrow.get(array.dtype.str[1:], array.dtype.str[1:])
    if array.ndim != 3 or max(array.shape) > _MOST_VOXELS or kind not in _CODES:
        shape = " × ".join(str(count) for count in array.shape)
        raise NiftiError(f"A volume of {shape} voxels of the type {array.dtype} cannot be written as NIfTI.")
    matrix = np.asarray(ijk_to_ras, np.float64)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _CODES[kind], 8 * np.dtype(kind).itemsize)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, float(_HEADER_BYTES), 1.0, 0.0)
    header[123] = _MILLIMETRES
    struct.pack_into("<2h", header, 252, 0, _SCANNER)
    struct.pack_into("<12f", header, 280, *matrix[:3].ravel())
    header[344:348] = b"n+1\0"
    voxels = np.asarray(array, np.dtype(f"<{kind}")).tobytes(order="F")
    return gzip.compress(bytes(header) + voxels, 1, mtime=0)
