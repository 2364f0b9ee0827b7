"""DICOM files by patient, study and series: what their headers say, read without the pixels."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from mahtai.cases_import.findings import Skip
from mahtai.cases_import.names import patient_of_dicom, patient_of_folder, shown
from mahtai.cases_import.walk import unreadable
from mahtai.volumes.dicom_image import RADIOGRAPHS
from mahtai.volumes.dicom_pixels import PIXEL_ATTRIBUTES, damage_named
from mahtai.volumes.volume import VolumeError

GRID_ATTRIBUTES = (
    "SeriesInstanceUID",
    "EchoTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PIXEL_ATTRIBUTES,
)
"""What says where an image lies, and with which others."""


_IDENTITY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PerFrameFunctionalGroupsSequence",
    "BodyPartExamined",
    "Rows",
)
_HEAD = {
    "",
    "HEAD",
    "SKULL",
    "HEADNECK",
    "FACE",
    "FACIALBONES",
    "JAW",
    "JAWREGION",
    "MAXILLA",
    "MANDIBLE",
    "CEPH",
    "TEETH",
}
"""Parts of the body (DICOM PS3.16 L-1, without blanks) of which a cephalogram may be said to be."""


@dataclass(frozen=True)
class DicomStudy:
    """The files of one examination of one patient.

    Attributes:
        name: the folder of its files, for the reader; with a number where there are several in one.
        series: series UID → its files; each image once.
        radiographs: projection images, which are no series.
    """

    uid: str
    patient: str
    folder: Path
    name: str
    series: Mapping[str, tuple[Path, ...]]
    radiographs: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Image:
    """What is kept of a file while the folder is read; thousands are."""

    path: Path
    series: str
    is_radiograph: bool


def index(paths: Iterable[Path], root: Path, skip: Skip) -> list[DicomStudy]:
    """Group DICOM files, in the order in which their studies first came."""
    studies: dict[tuple[str, str], list[_Image]] = defaultdict(list)
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            dataset = header(path, _IDENTITY)
            why = _why_not(dataset)
            identity = str(dataset.get("SOPInstanceUID", ""))
            patient = patient_of_dicom(str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or ""))
            study = str(dataset.get("StudyInstanceUID") or "") or str(path.parent)
            series = str(dataset.get("SeriesInstanceUID", "")) or str(path.parent)
        except VolumeError as error:
            skip(shown(path, root), error.reason)
            continue
        except OSError as error:
            skip(shown(path, root), unreadable(error))
            continue
        if identity and identity in seen and not why:
            why = f"the same image as {shown(seen[identity], root)}"
        if why:
            skip(shown(path, root), why)
            continue
        if identity:
            seen[identity] = path
        studies[patient, study].append(_Image(path, sys.intern(series), _is_radiograph(dataset)))
    return _numbered([_study(uid, patient, images, root) for (patient, uid), images in studies.items()])


def header(path: Path, attributes: Iterable[str] = GRID_ATTRIBUTES) -> Dataset:
    """Those attributes of a DICOM file, without its pixels.

    Raises:
        VolumeError: damaged. OSError: it cannot be read.
    """
    with path.open("rb") as stream, damage_named("The DICOM file is damaged or cut off."):
        dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=True, specific_tags=list(attributes))
        for _ in dataset.iterall():  # pydicom converts an attribute when it is asked for it; damage is to show here
            pass
        return dataset


def _numbered(studies: list[DicomStudy]) -> list[DicomStudy]:
    """Examinations of one folder with names that tell them apart."""
    folders, numbers = Counter(study.folder for study in studies), Counter[Path]()
    named = []
    for study in studies:
        numbers[study.folder] += 1
        name = f"{study.name} (examination {numbers[study.folder]})"
        named.append(replace(study, name=name) if folders[study.folder] > 1 else study)
    return named


def _study(uid: str, patient: str, images: list[_Image], root: Path) -> DicomStudy:
    folder = Path(os.path.commonpath([image.path.parent for image in images]))
    series: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        if not image.is_radiograph:
            series[image.series].append(image.path)
    return DicomStudy(
        uid,
        patient or patient_of_folder(folder, root),
        folder,
        shown(folder, root),
        {name: tuple(paths) for name, paths in series.items()},
        tuple(image.path for image in images if image.is_radiograph),
    )


def _is_radiograph(dataset: Dataset) -> bool:
    return dataset.get("SOPClassUID") in RADIOGRAPHS and "PerFrameFunctionalGroupsSequence" not in dataset


def _why_not(dataset: Dataset) -> str:
    if "Rows" not in dataset:
        kind = UID(str(dataset.get("SOPClassUID", ""))).name
        return f"DICOM without an image ({kind or 'of unknown kind'})"
    if _is_radiograph(dataset):
        part = "".join(str(dataset.get("BodyPartExamined") or "").upper().split())
        if part not in _HEAD:
            return f"a radiograph of another part of the body ({part.lower()})"
    return ""
