"""Everything in a folder that can become a case, found by headers and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mahtai.cases_import.dicom_index import index
from mahtai.cases_import.dicom_studies import study_of_series
from mahtai.cases_import.findings import Skip, Study
from mahtai.cases_import.kinds import look_at
from mahtai.cases_import.names import shown
from mahtai.cases_import.radiographs import study_of_picture, study_of_radiograph
from mahtai.cases_import.volume_files import VolumeFile, studies_of_files, volume_file
from mahtai.cases_import.walk import unreadable, walk

Wanted = Literal["auto", "brain-tumour", "cephalometry"]

OnFile = Callable[[], object]
"""Called for each file that was looked at."""

_NOT_WANTED = "not for the task that was chosen"


def find_studies(root: Path, wanted: Wanted, skip: Skip, on_file: OnFile = lambda: None) -> list[Study]:
    """The studies below a folder; their voxels are not read yet.

    Args:
        wanted: task; with ``auto`` volumes are brain studies, and 2-D images cephalograms unless they lie with volumes.
    """
    volumes: list[VolumeFile] = []
    pictures: list[Path] = []
    dicom: list[Path] = []
    for path in walk(root, skip):
        on_file()
        try:
            kind, head, why = look_at(path)
            if why:
                skip(shown(path, root), why)
            elif kind == "DICOM":
                dicom.append(path)
            elif kind == "picture":
                pictures.append(path)
            else:
                volumes.append(volume_file(path, kind, head))
        except OSError as error:
            skip(shown(path, root), unreadable(error))
    studies = _brain_studies(volumes, root, wanted, skip)
    examinations = index(dicom, root, skip)
    for examination in examinations:
        if wanted != "cephalometry" and (study := study_of_series(examination, root, skip)):
            studies.append(study)
        elif wanted == "cephalometry" and examination.series:
            skip(f"{examination.name}: {len(examination.series)} series", _NOT_WANTED)
    volume_folders = {file.folder for file in volumes} | {
        paths[0].parent for examination in examinations for paths in examination.series.values()
    }
    neighbours = Counter(path.parent for path in pictures)
    for path in pictures:
        if wanted == "brain-tumour":
            skip(shown(path, root), _NOT_WANTED)
        elif wanted == "auto" and _lies_with(path, volume_folders, root):
            skip(shown(path, root), "a picture beside volumes; --task cephalometry takes it")
        else:
            studies.append(study_of_picture(path, root, neighbours[path.parent]))
    for examination in examinations:
        for path in examination.radiographs:
            if wanted == "brain-tumour":
                skip(shown(path, root), _NOT_WANTED)
            else:
                studies.append(study_of_radiograph(path, root, examination.patient, examination.uid))
    return studies


def _brain_studies(volumes: list[VolumeFile], root: Path, wanted: Wanted, skip: Skip) -> list[Study]:
    if wanted != "cephalometry":
        return studies_of_files(volumes, root, skip)
    for file in volumes:
        skip(shown(file.path, root), _NOT_WANTED)
    return []


def _lies_with(path: Path, folders: set[Path], root: Path) -> bool:
    """Whether there are volumes in the picture's folder or in one round it, the imported one aside."""
    above = [folder for folder in path.parents if folder.is_relative_to(root) and folder != root]
    return any(folder in folders for folder in [path.parent, *above])
