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
    plane = plane_of(volume)
    image: Any = nibabel.load(source)
    stored = np.asanyarray(image.dataobj.get_unscaled()).copy()
    if stored.shape[:3] != volume.array.shape or stored.size != volume.array.size:
        raise FaceNotFound("The file holds several volumes.", "Split it first.")
    face = plane.of_grid(volume.array.shape, volume.geometry.ijk_to_ras)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    stored[face.reshape(stored.shape)] = round(-intercept / slope) if intercept else 0
    header = image.header.copy()
    header.extensions.clear()
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        if field in header:
            header[field] = b""
    header.set_slope_inter(slope, intercept)
    made = type(image)(stored, None, header)
    made.header.set_slope_inter(slope, intercept)
    with written_whole(target) as part:
        part.write_bytes(_bytes(made, target.name.endswith(".gz")))
    return float(face.mean())


def _bytes(image: nibabel.Nifti1Image, packed: bool) -> bytes:
    import gzip

    content = image.to_bytes()
    return gzip.compress(content, 6, mtime=0) if packed else content
