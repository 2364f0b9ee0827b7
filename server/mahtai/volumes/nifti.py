"""NIfTI-1 and NIfTI-2 in one file, plain or gzipped; the header is checked before anything is allocated.

The affine follows nibabel's rules (sform if its code is set, else qform, else spacing only), with
the length unit of the header honoured. Scaling (scl_slope, scl_inter) is applied.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume, VolumeError, check_claim

HEADER_BYTES = 540
"""Enough for either version: NIfTI-1 has 348 bytes, NIfTI-2 540."""

GZIP_MAGIC = b"\x1f\x8b"

_EXPORT_AGAIN = "Export the volume again from the program that made it."
_MM_OF_UNIT = {"unknown": 1.0, "meter": 1000.0, "mm": 1.0, "micron": 0.001}
_DEFLATE_MAX_RATIO = 1032
_INPUT_CHUNK = 1 << 18
_OUTPUT_CHUNK = 1 << 22
_USUAL_SURPLUS = 1 << 20


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a NIfTI header says.

    Attributes:
        geometry: RAS in mm.
        dtype: as stored, with its byte order.
        offset: of the voxels in the uncompressed file, bytes.
        slope, inter: stored × slope + inter = value.
    """

    geometry: Geometry
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    warnings: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        """Bytes of voxels that the header claims."""
        return math.prod(self.geometry.shape) * self.dtype.itemsize


def looks_like_nifti(head: bytes) -> bool:
    """Whether (uncompressed) bytes begin as a NIfTI file does."""
    return head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") or head[4:8] in (b"n+2\0", b"ni2\0")


def read_nifti_header(head: bytes, max_voxels: int) -> NiftiHeader:
    """Parse the first 540 bytes of an uncompressed file.

    Raises:
        VolumeError: cut off, damaged, 4-D, of a voxel type that is no scan's, or too large.
        GeometryError: the affine is not 3-D.
    """
    header = _parsed(head)
    if bytes(np.asarray(header["magic"]).tobytes())[:3] in (b"ni1", b"ni2"):
        raise VolumeError(
            "This is only the header of a NIfTI pair (.hdr); its voxels are in an .img file.",
            "Save the volume as one .nii.gz file.",
        )
    shape = _shape(header)
    check_claim(shape, max_voxels)
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise VolumeError(f"Voxels of type {header.get_value_label('datatype')} are no scan.", _EXPORT_AGAIN)
    offset = float(header["vox_offset"])
    smallest = int(header["sizeof_hdr"])
    if not math.isfinite(offset) or offset != int(offset) or not smallest <= offset < 2**31:
        raise VolumeError(f"The NIfTI header says that its voxels begin at byte {offset:g}.", _EXPORT_AGAIN)
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise VolumeError(f"The intensity scaling in the NIfTI header is damaged: {error}.", _EXPORT_AGAIN) from error
    affine, warnings = _affine(header)
    return NiftiHeader(
        geometry=Geometry(shape, affine),
        dtype=dtype,
        offset=int(offset),
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        warnings=warnings,
    )


def _parsed(head: bytes) -> Any:
    second = head[4:8] in (b"n+2\0", b"ni2\0")
    kind: Any
    kind, size = (Nifti2Header, 540) if second else (Nifti1Header, 348)
    if len(head) < size:
        raise VolumeError(f"The NIfTI file is cut off inside its header ({len(head)} bytes).", "Send it again.")
    try:
        return kind.from_fileobj(BytesIO(head[:size]), check=True)
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise VolumeError(f"The NIfTI header is damaged: {error}.", _EXPORT_AGAIN) from error


def _shape(header: Any) -> tuple[int, int, int]:
    """Voxels along I, J, K from ``dim``; further axes of length 1 do not count."""
    dim = [int(count) for count in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise VolumeError(f"The NIfTI header claims {dim[0]} dimensions.", _EXPORT_AGAIN)
    counts = dim[1 : dim[0] + 1]
    if len(counts) < 3 or any(count > 1 for count in counts[3:]):
        raise VolumeError(
            f"The NIfTI file has {' × '.join(str(count) for count in counts)} voxels: it is {len(counts)}-D, "
            "and one 3-D volume is expected.",
            "Split a time series into its volumes, or choose the whole series instead of one image.",
        )
    return counts[0], counts[1], counts[2]


def _affine(header: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    warnings: list[str] = []
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise VolumeError(f"The orientation in the NIfTI header is damaged: {error}.", _EXPORT_AGAIN) from error
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        warnings.append(
            "The NIfTI file does not say where left and right are; the usual order was assumed. Check the side."
        )
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "unknown"
    scale = _MM_OF_UNIT.get(unit, 1.0)
    if scale != 1.0:
        affine[:3] *= scale
        warnings.append(f"The NIfTI file gives lengths in {unit}; they were converted to mm.")
    return affine, tuple(warnings)


def unpack_head(data: bytes | memoryview) -> bytes:
    """The first bytes of a gzip stream, enough for a header.

    Raises:
        VolumeError: it is no gzip stream.
    """
    try:
        return zlib.decompressobj(31).decompress(data, HEADER_BYTES)
    except zlib.error as error:
        raise VolumeError("The compressed file is damaged.", "Send it again.") from error


def check_length(header: NiftiHeader, data: bytes | memoryview) -> None:
    """Whether the file holds what its header claims.

    Raises:
        VolumeError: it does not; or a gzip stream is damaged.
    """
    expected = header.offset + header.data_bytes
    if bytes(data[:2]) != GZIP_MAGIC:
        if len(data) < expected:
            raise _cut_off(len(data) - header.offset, header.data_bytes)
        return
    if expected > _DEFLATE_MAX_RATIO * len(data):
        raise VolumeError(
            f"The NIfTI header claims {expected:,} bytes; {len(data):,} bytes cannot unpack to so many.",
            "The file is damaged. Export the volume anew.",
        )
    # a gzip file ends with its unpacked size modulo 2³²; where that does not fit the header (cut off,
    # several streams in a row) only unpacking tells
    stated = int.from_bytes(data[-4:], "little")
    if 0 <= (stated - expected) % 2**32 <= _USUAL_SURPLUS:
        return
    found = sum(len(piece) for piece in _pieces(data, expected))
    if found < expected:
        raise _cut_off(found - header.offset, header.data_bytes)


def read_nifti(data: bytes | memoryview, max_voxels: int) -> Volume:
    """Read a NIfTI file, plain or gzipped.

    Raises:
        VolumeError, GeometryError: see ``read_nifti_header``; or the voxels are cut off or damaged.
    """
    packed = bytes(data[:2]) == GZIP_MAGIC
    head = unpack_head(data) if packed else bytes(data[:HEADER_BYTES])
    if not looks_like_nifti(head):
        raise VolumeError("The file is no NIfTI file.", "Send NRRD, NIfTI (.nii, .nii.gz) or a zip of a DICOM series.")
    header = read_nifti_header(head, max_voxels)
    check_length(header, data)
    stop = header.offset + header.data_bytes
    stored = _unpack(data, header) if packed else memoryview(data)[header.offset : stop]
    array = np.frombuffer(stored, header.dtype).reshape(header.geometry.shape, order="F")
    return Volume(_scaled(array, header), header.geometry, "nifti", header.warnings)


def scaled_type(header: NiftiHeader) -> np.dtype[Any]:
    """Type of a voxel after scaling: 24 bits of float32 hold every 16-bit value, wider ones need float64."""
    wide = header.dtype.itemsize > (4 if header.dtype.kind == "f" else 2)
    return np.dtype(np.float64 if wide else np.float32)


def _scaled(array: NDArray[Any], header: NiftiHeader) -> NDArray[Any]:
    if header.slope == 1.0 and header.inter == 0.0:
        return np.array(array, dtype=header.dtype.newbyteorder("="), order="F")
    kind = scaled_type(header)
    return np.asarray(array.astype(kind) * kind.type(header.slope) + kind.type(header.inter))


def _unpack(data: bytes | memoryview, header: NiftiHeader) -> memoryview:
    """The voxels out of a gzip file; never more memory than the header claims."""
    wanted = header.offset + header.data_bytes
    try:
        unpacked = memoryview(bytearray(wanted))
    except MemoryError as error:
        raise VolumeError(
            f"This computer has not enough memory free for {wanted:,} bytes of voxels.", "Close other programs."
        ) from error
    filled = 0
    for piece in _pieces(data, wanted):
        unpacked[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled < wanted:
        raise _cut_off(filled - header.offset, header.data_bytes)
    return unpacked[header.offset :]


def _pieces(data: bytes | memoryview, wanted: int) -> Iterator[bytes]:
    """The first ``wanted`` unpacked bytes, piece by piece, of all gzip streams in the file.

    A stream is followed a little further than wanted, because its checksum stands at its end.
    """
    view = memoryview(data)
    stream = zlib.decompressobj(31)
    left = wanted
    for start in range(0, len(view), _INPUT_CHUNK):
        pending: bytes | memoryview = view[start : start + _INPUT_CHUNK]
        while pending:
            if stream.eof:
                if left <= 0 or bytes(pending[:2]) != GZIP_MAGIC:  # padding after the last stream
                    return
                stream = zlib.decompressobj(31)
            try:
                piece = stream.decompress(pending, _OUTPUT_CHUNK)
            except zlib.error as error:
                raise VolumeError("The compressed voxels are damaged.", "Send the file again.") from error
            if left > 0:
                yield piece[:left]
            left -= len(piece)
            if left < -_USUAL_SURPLUS:
                return
            pending = stream.unused_data if stream.eof else stream.unconsumed_tail
    if left <= 0 and not stream.eof:
        raise VolumeError("The NIfTI file is cut off: its last bytes are missing.", "Send it again.")


def _cut_off(found: int, expected: int) -> VolumeError:
    return VolumeError(
        f"The NIfTI file is cut off: {max(found, 0):,} of {expected:,} bytes of voxels are there.",
        "Send it again; if it happens again, export the volume anew.",
    )
