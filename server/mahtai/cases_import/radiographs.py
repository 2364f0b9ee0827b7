"""Single 2-D images (PNG, JPEG, TIFF, BMP, DICOM CR or DX) as cephalograms."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mahtai.cases_import.as_slicer import as_slicer_loads
from mahtai.cases_import.findings import CEPHALOMETRY, Source, Study
from mahtai.cases_import.names import patient_of_picture, readable, shown
from mahtai.volumes.formats import read_volume
from mahtai.volumes.image_files import image_format
from mahtai.volumes.planar import check_for_landmarks
from mahtai.volumes.volume import Volume, VolumeError

SLOT = "ceph"

_MOST_OF_ONE_PATIENT = 8
"""Pictures in a folder; more are a collection of many patients'."""

_COLOURFUL = 8.0
"""Mean difference of the colours, of 255, from which on a picture is a photograph; scans of films are tinted."""


def study_of_picture(path: Path, root: Path, neighbours: int) -> Study:
    """An image file as a case of its own.

    Args:
        neighbours: pictures in the same folder.
    """
    return _study(path, root, patient_of_picture(path, root, neighbours > _MOST_OF_ONE_PATIENT), {})


def study_of_radiograph(path: Path, root: Path, patient: str, study_uid: str) -> Study:
    """A DICOM radiograph as a case of its own."""
    return _study(path, root, patient, {"study_instance_uid": readable(study_uid)})


def load_radiograph(path: Path) -> Volume:
    """Read one image as Slicer loads it: W × H × 1.

    Raises:
        MahtaiError: it cannot be used. OSError: it cannot be read.
    """
    content = path.read_bytes()
    volume = read_volume(content)
    check_for_landmarks(volume.geometry)
    if image_format(content) is not None and _colourfulness(path) > _COLOURFUL:
        raise VolumeError("The picture is in colour: a photograph or a screenshot, not a radiograph.", "Leave it out.")
    if volume.array.min() == volume.array.max():
        raise VolumeError("The image is blank: every pixel is the same.", "Choose the radiograph itself.")
    return as_slicer_loads(volume)


def _study(path: Path, root: Path, patient: str, about: dict[str, str]) -> Study:
    name = shown(path, root)
    return Study(
        name,
        CEPHALOMETRY,
        {SLOT: Source(name, partial(load_radiograph, path))},
        patient,
        readable(path.stem),
        {"folder": shown(path.parent, root), "files": {SLOT: readable(path.name)}, **about},
    )


def _colourfulness(path: Path) -> float:
    """Mean absolute difference between red, green and blue, 0 to 255."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            return 0.0
        small = np.asarray(image.convert("RGB").resize((64, 64)), np.float32)
    return float(np.abs(small - small.mean(axis=2, keepdims=True)).mean() * 1.5)
