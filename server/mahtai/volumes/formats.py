"""Any file that a client sends → a volume, or a clear reason why not.

The format is told by the first bytes, never by a name. Headers are checked before anything is
allocated for what they claim.
"""

from __future__ import annotations

import re
from pathlib import Path

from mahtai.volumes import dicom_series, nifti
from mahtai.volumes.dicom_files import looks_like_dicom, read_datasets
from mahtai.volumes.dicom_image import describe_radiograph, is_radiograph, read_radiograph
from mahtai.volumes.geometry import Geometry, check_geometry
from mahtai.volumes.image_files import describe_image, image_format, read_image
from mahtai.volumes.volume import MAX_VOXELS, Volume, VolumeError, VolumeInfo, check_claim, check_voxels
from MahtAILib.client import nrrd

__all__ = ["MAX_VOXELS", "Volume", "VolumeError", "VolumeInfo", "check_voxels", "describe", "read_volume"]

_KNOWN = (
    "Send NRRD (.nrrd), NIfTI (.nii, .nii.gz) or a zip of one DICOM series; "
    "for a cephalogram PNG, JPEG, TIFF, BMP or one DICOM image."
)
_SEGMENT_FIELD = re.compile(r"Segment\d+_ID|Segmentation_\w+")


def read_volume(data: bytes | Path, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read a scan.

    Args:
        data: the file's content, or its path.
        max_voxels: a header that claims more is refused.

    Raises:
        VolumeError: an unknown format, damaged, cut off, too large, 4-D, a segmentation instead of a scan.
        GeometryError: singular, sheared, not finite, absurd spacing.
    """
    content = _content(data)
    kind = _format(content)
    if kind == "nrrd":
        volume = _read_nrrd(content, max_voxels)
    elif kind == "nifti":
        volume = nifti.read_nifti(content, max_voxels)
    elif kind == "dicom":
        volume = _read_dicom(content, max_voxels)
    else:
        volume = read_image(content)
    check_geometry(volume.geometry)
    return volume


def describe(data: bytes | Path, max_voxels: int = MAX_VOXELS) -> VolumeInfo:
    """What the header says, and whether the file is long enough for it; voxels are not decoded.

    Raises:
        VolumeError, GeometryError: as ``read_volume``, except for what only the voxels show.
    """
    content = _content(data)
    kind = _format(content)
    if kind == "nrrd":
        info = _describe_nrrd(content, max_voxels)
    elif kind == "nifti":
        packed = content[:2] == nifti.GZIP_MAGIC
        head = nifti.unpack_head(content) if packed else content[: nifti.HEADER_BYTES]
        header = nifti.read_nifti_header(head, max_voxels)
        nifti.check_length(header, content)
        scaled = (header.slope, header.inter) != (1.0, 0.0)
        dtype = nifti.scaled_type(header) if scaled else header.dtype
        info = VolumeInfo("volume", kind, header.geometry, dtype.name, header.warnings)
    elif kind == "dicom":
        info = _describe_dicom(content, max_voxels)
    else:
        info = describe_image(content)
    check_geometry(info.geometry)
    return info


def _content(data: bytes | Path) -> bytes:
    content = data.read_bytes() if isinstance(data, Path) else data
    if not content:
        raise VolumeError("The file is empty (0 bytes).", "Send it again.")
    return content


def _format(content: bytes) -> str:
    if content[:4] == b"NRRD":
        return "nrrd"
    head = nifti.unpack_head(content[: 1 << 16]) if content[:2] == nifti.GZIP_MAGIC else content[: nifti.HEADER_BYTES]
    if nifti.looks_like_nifti(head):
        return "nifti"
    if content[:4] == b"PK\x03\x04" or looks_like_dicom(content):
        return "dicom"
    image = image_format(content)
    if image is not None:
        return image
    raise VolumeError("The file is of no kind that is read here.", _KNOWN)


def _read_dicom(content: bytes, max_voxels: int) -> Volume:
    datasets = read_datasets(content)
    if is_radiograph(datasets):
        return read_radiograph(datasets[0])
    series = dicom_series.read_series(datasets, max_voxels)
    check_geometry(series.geometry)
    return series.read()


def _describe_dicom(content: bytes, max_voxels: int) -> VolumeInfo:
    datasets = read_datasets(content)
    if is_radiograph(datasets):
        return describe_radiograph(datasets[0])
    series = dicom_series.read_series(datasets, max_voxels)
    return VolumeInfo("volume", "dicom", series.geometry, series.dtype)


def _nrrd_hint(error: nrrd.NrrdError) -> str:
    if "cut off" in str(error):
        return "Send the volume again; if it happens again, save it anew."
    return "Save the volume again as .nrrd (Slicer: File, Save Data) and send that."


def _read_nrrd(content: bytes, max_voxels: int) -> Volume:
    try:
        header = nrrd.read_header(content)
        if is_segmentation(header.fields):
            raise VolumeError("This is a segmentation, not a scan.", "Choose the scan itself for this sequence.")
        _refuse_layers(header)
        check_claim(header.shape, max_voxels)
        volume = nrrd.decode(content, max_voxels)
    except nrrd.NrrdError as error:
        raise VolumeError(str(error), _nrrd_hint(error)) from error
    return Volume(volume.array, Geometry(volume.array.shape, volume.ijk_to_ras), "nrrd")


def _describe_nrrd(content: bytes, max_voxels: int) -> VolumeInfo:
    try:
        header = nrrd.read_header(content)
    except nrrd.NrrdError as error:
        raise VolumeError(str(error), _nrrd_hint(error)) from error
    segmentation = is_segmentation(header.fields)
    if not segmentation:
        _refuse_layers(header)
    check_claim(header.sizes, max_voxels)
    stored = len(content) - header.data_offset
    if header.encoding == "raw":
        enough = stored == header.data_bytes
    else:
        # a gzip file ends with its unpacked size modulo 2³²
        enough = stored >= 18 and int.from_bytes(content[-4:], "little") == header.data_bytes % 2**32
    if not enough:
        raise VolumeError(
            f"The NRRD file is cut off, or its header does not fit: it claims {header.data_bytes:,} bytes of voxels, "
            f"and {stored:,} bytes {'follow' if header.encoding == 'raw' else 'of compressed data follow'}.",
            "Send the volume again; if it happens again, save it anew.",
        )
    return VolumeInfo(
        "segmentation" if segmentation else "volume",
        "nrrd",
        Geometry(header.shape, header.ijk_to_ras),
        header.dtype.newbyteorder("=").name,
    )


def is_segmentation(fields: dict[str, str]) -> bool:
    """Whether the custom fields of a NRRD header describe segments."""
    return any(_SEGMENT_FIELD.fullmatch(key) for key in fields)


def _refuse_layers(header: nrrd.NrrdHeader) -> None:
    if header.components in (3, 4) and header.shape[2] == 1:
        raise VolumeError(
            "The image is in colour; a radiograph has one grey level a pixel.",
            "Convert it to a scalar volume (Slicer: Vector to Scalar Volume) and send that.",
        )
    if header.components is not None:
        raise VolumeError(
            f"The NRRD file has {len(header.sizes)} dimensions ({' × '.join(str(n) for n in header.sizes)}); "
            "one 3-D volume is expected.",
            "Split the series (Slicer: Sequences or Multi-volume modules) and send one volume of it.",
        )
