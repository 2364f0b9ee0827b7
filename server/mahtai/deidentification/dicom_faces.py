"""Defacing of DICOM: a plane for each frame of reference, and slices whose pixels in front of it are emptied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from mahtai.deidentification.defacing import FaceNotFound, FacePlane, plane_of
from mahtai.deidentification.identifiers import without_marks
from mahtai.deidentification.refusal import Refused
from mahtai.errors import MahtaiError
from mahtai.volumes.dicom_files import read_datasets
from mahtai.volumes.dicom_series import read_series

_MOST_VOXELS = 2**28
_FEWEST_SLICES = 10
_FACES = ("MR", "CT", "PT")
_DESCRIBED = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")
_WANTED = ("Modality", *_DESCRIBED, "FrameOfReferenceUID", "SeriesInstanceUID", "Rows", "NumberOfFrames")


def may_show_a_face(dataset: Dataset) -> bool:
    """Whether an object is a scan of something else than of what has no face, or does not say of what."""
    part = "".join(letter for letter in str(dataset.get("BodyPartExamined") or "").upper() if letter.isalnum())
    return dataset.get("Modality") in _FACES and part not in _words("parts_without_face.txt") and "Rows" in dataset


def says_head(dataset: Dataset) -> bool:
    """Whether an object says that it shows a head: the network finds a brain of some kind in other things, too."""
    said = without_marks(" ".join(str(dataset.get(keyword) or "") for keyword in _DESCRIBED)).upper()
    return any(word in said for word in _words("head_words.txt"))


@cache
def _words(name: str) -> frozenset[str]:
    text = files("mahtai.deidentification").joinpath(name).read_text("utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def planes_of(paths: Iterable[Path], heads: bool = False) -> dict[str, FacePlane]:
    """Frame of reference UID → the plane in front of which the face lies, from an MR series with a brain.

    Args:
        heads: take MR series for heads that do not say so.
    """
    series: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in paths:
        try:
            header = pydicom.dcmread(path, specific_tags=list(_WANTED), stop_before_pixels=True)
        except Exception:  # noqa: BLE001 -- no DICOM; whoever reads it next says so
            continue
        is_head = header.get("Modality") == "MR" and may_show_a_face(header) and (heads or says_head(header))
        if is_head and header.get("FrameOfReferenceUID"):
            series[str(header.FrameOfReferenceUID), str(header.get("SeriesInstanceUID", ""))].append(path)
    planes: dict[str, FacePlane] = {}
    for (frame, _), members in sorted(series.items(), key=lambda item: -len(item[1])):
        if frame not in planes and len(members) >= _FEWEST_SLICES:
            try:
                volume = read_series([read_datasets(path.read_bytes())[0] for path in members], _MOST_VOXELS).read()
                planes[frame] = plane_of(volume)
            except (MahtaiError, FaceNotFound, OSError, ValueError):
                continue
    return planes


def deface(dataset: Dataset, planes: dict[str, FacePlane]) -> None:
    """Empty the pixels of the face in one classic image, in place; compressed ones are unpacked.

    Raises:
        Refused: it is not known where the face is, or the pixels cannot be changed.
    """
    plane = planes.get(str(dataset.get("FrameOfReferenceUID", "")))
    if plane is None:
        raise Refused(
            "it may show a face, and no brain was recognised that tells where (--deface)"
            if says_head(dataset)
            else "it may show a face and does not say that it is of a head (--heads, if all scans are)"
        )
    if int(dataset.get("NumberOfFrames") or 1) > 1 or "ImagePositionPatient" not in dataset:
        raise Refused("it may show a face, and it has several frames or no position (--deface)")
    try:
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress(generate_instance_uid=False)
        pixels = dataset.pixel_array.copy()
        pixels[_in_face(dataset, pixels.shape, plane)] = 0
        stored = pixels.astype(pixels.dtype.newbyteorder("<" if dataset.original_encoding[1] else ">"))
        dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    except Exception as error:  # noqa: BLE001 -- decoders raise whatever a damaged image leads to
        raise Refused("it may show a face, and its pixels cannot be unpacked (--deface)") from error


def _in_face(dataset: Dataset, shape: tuple[int, ...], plane: FacePlane) -> np.ndarray:
    """Which pixels [row, column] have their centre in the face (PS3.3 C.7.6.2.1.1)."""
    across, down = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, dataset.PixelSpacing)
    rows, columns = np.indices(shape[:2])
    lps = (
        np.array(dataset.ImagePositionPatient, float)
        + columns[..., None] * across * between_columns
        + rows[..., None] * down * between_rows
    )
    return plane.holds(lps * (-1, -1, 1))
