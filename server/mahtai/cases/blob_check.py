"""What a file is and whether it can be worked with: those that people send, and those that the engine wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mahtai.cases.blob import BlobRecord
from mahtai.volumes.landmark_file import SUFFIX, LandmarkFile, decode_landmarks, looks_like_json

_HEAD_BYTES = 64


def check_file(content: bytes, sha256: str) -> BlobRecord:
    """Look at a file that somebody sent: header, length and voxels, or points.

    Raises:
        VolumeError, GeometryError, LandmarkFileError: it is none that can be worked with.
    """
    size = len(content)
    if looks_like_json(content[:_HEAD_BYTES]):
        info = _landmark_info(decode_landmarks(content))
        return BlobRecord(sha256, size, "landmarks", "mrk.json", info)
    # the DICOM library takes long to load, and the start of the server shall not wait for it
    from mahtai.volumes.formats import check_voxels, describe, read_volume
    from mahtai.volumes.segmentation_file import decode_segmentation

    described = describe(content)
    if described.kind == "segmentation":
        decode_segmentation(content)
    else:
        check_voxels(read_volume(content))
    return BlobRecord(sha256, size, described.kind, described.format, described.as_json())


def describe_result(path: Path, content: bytes, sha256: str) -> BlobRecord:
    """A part of a result, which the engine wrote and nobody needs to doubt; ``path`` tells by its name what it is."""
    size = len(content)
    if path.name.endswith(SUFFIX):
        return BlobRecord(sha256, size, "landmarks", "mrk.json", _landmark_info(decode_landmarks(content)))
    if path.suffix == ".json":
        return BlobRecord(sha256, size, path.stem, "json", {"kind": path.stem, "format": "json", "warnings": []})
    from mahtai.volumes.formats import describe  # late, for the sake of a quick start

    described = describe(content)
    return BlobRecord(sha256, size, described.kind, described.format, described.as_json())


def _landmark_info(file: LandmarkFile) -> dict[str, Any]:
    return {
        "kind": "landmarks",
        "format": "mrk.json",
        "landmark_set": file.landmark_set,
        "points": len(file.positions),
        "mm_per_unit": file.mm_per_unit,
        "warnings": [],
    }
