"""Defacing of a NIfTI file: other voxels and the geometry stay bit for bit, texts of the header go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from mahtai.deidentification.defacing import FaceNotFound, plane_of
from mahtai.deidentification.folder import FolderError
from mahtai.in_process import written_whole
from mahtai.volumes.formats import read_volume


def deface_file(source: Path, target: Path) -> float:
    """Write a copy without the face; returns which share of the voxels lay in it.

    Raises:
        FaceNotFound: no brain was recognised, or it is no single volume. FolderError: ``target`` is there already.
    """
    if target.exists():
        raise FolderError(f"{target} is there already; nothing was changed.", "Choose another name.")
    if not target.name.endswith((".nii", ".nii.gz")):
        raise FolderError(f"{target.name} does not end in .nii or .nii.gz.", "The ending says how it is written.")
    volume = read_volume(source)
    image: Any = nibabel.load(source)
    if not image.header["qform_code"] and not image.header["sform_code"]:
        raise FaceNotFound("The file does not say how the head lies in it.", "Convert the series anew.")
    plane = plane_of(volume)
    stored = np.asanyarray(image.dataobj.get_unscaled()).copy()
    if stored.shape[:3] != volume.array.shape or stored.size != volume.array.size:
        raise FaceNotFound("The file holds several volumes.", "Split it first.")
    face = plane.of_grid(volume.array.shape, volume.geometry.ijk_to_ras)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    stored[face.reshape(stored.shape)] = _nearest_to_zero(stored.dtype, slope, intercept)
    header = image.header.copy()
    header.extensions.clear()
    for field in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        if field in header:
            header[field] = b""
    header.set_slope_inter(slope, intercept)
    made = type(image)(stored, None, header)
    made.header.set_slope_inter(slope, intercept)
    with written_whole(target) as part:
        part.write_bytes(_bytes(made, target.name.endswith(".gz")))
    return float(face.mean())


def _nearest_to_zero(kind: np.dtype[Any], slope: float, intercept: float) -> float:
    """The stored value that means nothing, or comes nearest to that."""
    empty = -intercept / slope if intercept else 0
    if not np.issubdtype(kind, np.integer):
        return empty
    return int(np.clip(round(empty), np.iinfo(kind).min, np.iinfo(kind).max))


def _bytes(image: nibabel.Nifti1Image, packed: bool) -> bytes:
    import gzip

    content = image.to_bytes()
    return gzip.compress(content, 6, mtime=0) if packed else content
