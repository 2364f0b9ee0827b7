"""What kind of file something is: by its first bytes; a name that says otherwise makes it suspicious."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mahtai.volumes import nifti
from mahtai.volumes.dicom_files import looks_like_dicom
from mahtai.volumes.image_files import image_format
from mahtai.volumes.volume import VolumeError

Kind = Literal["NIfTI", "NRRD", "DICOM", "picture", "archive", "nothing"]

HEAD_BYTES = 4096
_LONGEST_HEADER = 1 << 20
"""Bytes of a NRRD header that are read."""

_OTHER_HALF = ".img"
_BY_ENDING: dict[str, Kind] = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".dcm": "DICOM",
    ".ima": "DICOM",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".tif": "picture",
    ".tiff": "picture",
    ".bmp": "picture",
}
_NOT_READ = {
    ".mha": "MetaImage, which is not read here; save it as NIfTI or NRRD",
    ".mhd": "MetaImage, which is not read here; save it as NIfTI or NRRD",
    ".mgz": "FreeSurfer's format, which is not read here; save it as NIfTI or NRRD",
    ".mgh": "FreeSurfer's format, which is not read here; save it as NIfTI or NRRD",
    ".mnc": "MINC, which is not read here; save it as NIfTI or NRRD",
    _OTHER_HALF: "half of a pair of files; save the volume as one .nii.gz file",
}
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""Transfer syntax of DICOM files that are compressed as a whole: reading the header would unpack all of it."""

_PACKED = "an archive, which is not opened; unpack it and import the folder"
_CLAIM = {"NIfTI": "a NIfTI file", "NRRD": "a NRRD file", "DICOM": "a DICOM file", "picture": "a picture"}


def look_at(path: Path) -> tuple[Kind, bytes, str]:
    """Kind, the beginning of a file, and why it is left out (else empty).

    Raises:
        OSError: it cannot be read.
    """
    if path.name.startswith("."):
        return "nothing", b"", "a hidden file"
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        kind = _kind(head)
        if kind == "NRRD" and b"\n\n" not in head and b"\r\n\r\n" not in head:
            head += stream.read(_LONGEST_HEADER)
    return kind, head, _why_not(path, kind, head)


def _kind(head: bytes) -> Kind:
    if head[:4] == b"NRRD":
        return "NRRD"
    if head[:2] == nifti.GZIP_MAGIC:
        try:
            unpacked = nifti.unpack_head(head)
        except VolumeError:
            return "nothing"
        return "NIfTI" if nifti.looks_like_nifti(unpacked) else "archive"
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return "archive"
    if nifti.looks_like_nifti(head):
        return "NIfTI"
    if looks_like_dicom(head):
        return "DICOM"
    return "picture" if image_format(head) else "nothing"


def _why_not(path: Path, kind: Kind, head: bytes) -> str:
    name = path.name.lower()
    ending = ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()
    claimed = _BY_ENDING.get(ending)
    if not head:
        return "empty (0 bytes)"
    if claimed and claimed != kind:
        return f"its name says that it is {_CLAIM[claimed]}, but its content is {_CLAIM.get(kind, 'not')}"
    if kind == "archive":
        return _PACKED
    if kind == "DICOM" and _DEFLATED in head:
        return "a deflated DICOM file, which is not unpacked; export it in another transfer syntax"
    if ending in _NOT_READ:
        return _NOT_READ[ending]
    return "no scan" if kind == "nothing" else ""
