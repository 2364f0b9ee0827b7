"""The wire format of volumes: NRRD with raw or gzip voxels, LPS, little endian.

Arrays are indexed [i, j, k] ([component, i, j, k] for layered segmentations) and geometry is one
4×4 matrix to RAS in mm; LPS exists only inside the bytes. The same volume always gives the same
bytes, so that their SHA-256 can serve as its identity.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MahtAILib.client.nrrd_header import NrrdError, NrrdHeader, check_matrix, parse_line, read_header

__all__ = ["MAX_VOXELS", "NrrdError", "NrrdHeader", "NrrdVolume", "decode", "encode", "encode_raw", "read_header"]

MAX_VOXELS = 2**30
"""What one volume may claim to hold unless the caller says otherwise: 1024³."""

_WRITTEN_TYPES = {
    "i1": "signed char",
    "u1": "unsigned char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "i8": "long long int",
    "u8": "unsigned long long int",
    "f4": "float",
    "f8": "double",
}
_LPS = np.array([[-1.0], [-1.0], [1.0]])
_GZIP = 31
_COMPRESSION_LEVEL = 1
_DEFLATE_MAX_RATIO = 1032
_INPUT_CHUNK = 2**18
_OUTPUT_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class NrrdVolume:
    """A volume, or a layered segmentation, with its place in the patient.

    Attributes:
        array: [i, j, k], or [component, i, j, k]; native byte order, its own memory.
        ijk_to_ras: 4×4 float64, voxel index → RAS in mm.
        fields: the custom ``key:=value`` pairs of the header.
    """

    array: NDArray[Any]
    ijk_to_ras: NDArray[np.float64]
    fields: dict[str, str] = field(default_factory=dict)


def encode(
    array: NDArray[Any],
    ijk_to_ras: ArrayLike,
    fields: Mapping[str, str] | None = None,
    encoding: Literal["raw", "gzip"] = "raw",
) -> bytes:
    """Write a volume as one NRRD file in memory.

    Args:
        array: [i, j, k] or [component, i, j, k]. Transposed C-contiguous arrays (as Slicer gives them)
            are read in place. Booleans become uint8 and half floats become float32.
        ijk_to_ras: 4×4, voxel index → RAS in mm.
        fields: custom ``key:=value`` pairs; line breaks in values are kept.
        encoding: of the voxels.

    Raises:
        NrrdError: a wrong number of axes, no voxel, a type that NRRD lacks, a matrix or key that cannot
            be written.
    """
    header, voxels = _header_and_voxels(array, ijk_to_ras, fields, encoding)
    if encoding == "gzip":
        return header + gzip.compress(voxels, _COMPRESSION_LEVEL, mtime=0)
    return b"".join((header, voxels))


def encode_raw(array: NDArray[Any], ijk_to_ras: ArrayLike) -> tuple[bytes, memoryview]:
    """The file that ``encode`` writes, in two pieces: its header, and the voxels where they lie in memory.

    The voxels are copied only where they do not lie in memory as in the file; arguments and errors as for ``encode``.
    """
    return _header_and_voxels(array, ijk_to_ras, None, "raw")


def decode(data: bytes | bytearray | memoryview, max_voxels: int = MAX_VOXELS) -> NrrdVolume:
    """Read a NRRD file that holds its own voxels.

    Nothing is allocated before the claims of the header are found to fit the limit and the data.

    Args:
        data: the whole file.
        max_voxels: a header that claims more numbers than this is refused.

    Raises:
        NrrdError: not a NRRD volume, damaged, cut off, longer than it says, larger than ``max_voxels``,
            or of a kind that :func:`read_header` refuses.
    """
    view = memoryview(data).cast("B")
    header = read_header(view)
    if header.voxels > max_voxels:
        raise NrrdError(f"The NRRD header claims {header.voxels:,} voxels; at most {max_voxels:,} are accepted.")
    stored = view[header.data_offset :]
    raw = stored if header.encoding == "raw" else _inflate(stored, header.data_bytes)
    if len(raw) != header.data_bytes:
        raise _wrong_length(header.data_bytes, len(raw))
    # raw voxels are copied: after the header they lie unaligned in memory that the caller may not write
    flat = np.frombuffer(raw, header.dtype).astype(header.dtype.newbyteorder("="), copy=header.encoding == "raw")
    return NrrdVolume(flat.reshape(header.sizes[::-1]).T, header.ijk_to_ras, header.fields)


def _header_and_voxels(
    array: NDArray[Any], ijk_to_ras: ArrayLike, fields: Mapping[str, str] | None, encoding: str
) -> tuple[bytes, memoryview]:
    if array.ndim not in (3, 4) or array.size == 0:
        raise NrrdError(f"A volume has 3 axes (4 with layers in front) and voxels; this has shape {array.shape}.")
    voxels = np.asfortranarray(_writable_type(array)).T  # C order of the transpose: i runs fastest
    header = _header(array.shape, voxels.dtype, encoding, np.asarray(ijk_to_ras, np.float64), fields or {})
    return header, voxels.data.cast("B")


def _writable_type(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _header(
    sizes: tuple[int, ...],
    dtype: np.dtype[np.generic],
    encoding: str,
    ijk_to_ras: NDArray[np.float64],
    fields: Mapping[str, str],
) -> bytes:
    """The header of a little-endian LPS file, with the blank line that ends it.

    The same arguments give the same bytes: keys are sorted, and nothing names a date or a program.

    Raises:
        NrrdError: the type, the encoding, the matrix or a key cannot be written.
    """
    code = dtype.newbyteorder("=").str[1:]
    if code not in _WRITTEN_TYPES:
        raise NrrdError(f"NRRD has no voxel type for {dtype}.")
    if encoding not in ("raw", "gzip"):
        raise NrrdError(f"Encoding {encoding!r} is not written here; use raw or gzip.")
    check_matrix(ijk_to_ras)
    vectors = [_vector(column) for column in (ijk_to_ras[:3] * _LPS).T]
    layered = len(sizes) == 4
    lines = [
        "NRRD0004",
        f"type: {_WRITTEN_TYPES[code]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in sizes),
        "space directions: " + " ".join((["none"] if layered else []) + vectors[:3]),
        "kinds: " + ("list " if layered else "") + "domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: {vectors[3]}",
        *(_field_line(key, fields[key]) for key in sorted(fields)),
    ]
    try:
        return ("\n".join(lines) + "\n\n").encode()
    except UnicodeEncodeError as error:
        raise NrrdError("A custom field holds characters that are no valid text.") from error


def _field_line(key: str, value: str) -> str:
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    line = f"{_escape(key)}:={_escape(value)}"
    # reading it back is the one test that covers every character with a meaning in a header
    if "\0" in line or "\r" in line or key.startswith("#") or parse_line(line) != (key, True, value):
        raise NrrdError(f"The custom field {key[:60]!r} cannot be written into a NRRD header.")
    return line


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"  # + 0.0: no -0.0


def _inflate(stored: memoryview, expected: int) -> memoryview:
    """Exactly ``expected`` bytes out of a gzip stream; its checksum is verified."""
    if expected > _DEFLATE_MAX_RATIO * len(stored):
        raise NrrdError(
            f"The header claims {expected:,} bytes of voxels; {len(stored):,} bytes cannot unpack to so many."
        )
    try:
        unpacked = memoryview(bytearray(expected))
    except MemoryError as error:
        raise NrrdError(f"This computer has not enough memory free for {expected:,} bytes of voxels.") from error
    stream = zlib.decompressobj(_GZIP)
    filled = 0
    try:
        for start in range(0, len(stored), _INPUT_CHUNK):
            pending: bytes | memoryview = stored[start : start + _INPUT_CHUNK]
            while pending and not stream.eof:
                piece = stream.decompress(pending, _OUTPUT_CHUNK)
                pending = stream.unconsumed_tail
                if filled + len(piece) > expected:
                    raise _wrong_length(expected, filled + len(piece))
                unpacked[filled : filled + len(piece)] = piece
                filled += len(piece)
            if stream.eof and (stream.unused_data or start + _INPUT_CHUNK < len(stored)):
                raise NrrdError("The NRRD file goes on after its voxels end.")
    except zlib.error as error:
        raise NrrdError("The compressed voxels are damaged.") from error
    if not stream.eof:
        raise NrrdError(f"The NRRD file is cut off: its compressed voxels end after {filled:,} of {expected:,} bytes.")
    return unpacked[:filled]


def _wrong_length(expected: int, found: int) -> NrrdError:
    if found < expected:
        return NrrdError(f"The NRRD file is cut off: {found:,} of {expected:,} bytes of voxels are there.")
    return NrrdError(f"The NRRD file holds more voxels than its header says: {expected:,} bytes were expected.")
