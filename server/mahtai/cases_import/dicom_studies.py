"""A DICOM examination → the four sequences: which series are whole, and which of them are meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mahtai.cases_import.as_slicer import as_slicer_loads, itk_series_grid
from mahtai.cases_import.dicom_index import DicomStudy, header
from mahtai.cases_import.findings import BRAIN_TUMOUR, Skip, Source, Study
from mahtai.cases_import.names import readable, shown
from mahtai.cases_import.volume_loading import MOST_VOXELS
from mahtai.cases_import.walk import unreadable
from mahtai.errors import MahtaiError
from mahtai.volumes.dicom_files import read_datasets
from mahtai.volumes.dicom_pixels import damage_named
from mahtai.volumes.dicom_series import read_series
from mahtai.volumes.geometry import Geometry, check_geometry
from mahtai.volumes.volume import Volume, VolumeError
from MahtAILib.sequences.assignment import SHORT_NAMES, Candidate, assign
from MahtAILib.sequences.tags import TAGS, tag

_MOST_SERIES = 500

_FEWEST = 3
"""Images that make a volume; with fewer beside a whole stack of the same series they are extra slices."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of one series that can lie on one grid: of one size, direction, spacing and echo.

    Attributes:
        uid: of the series.
        paths: of its files.
        geometry: None where they are no volume.
        unusable: why not; else empty.
    """

    uid: str
    paths: tuple[Path, ...]
    tags: dict[str, str]
    geometry: Geometry | None
    unusable: str

    @property
    def name(self) -> str:
        """For the reader."""
        described = tag(self.tags, "SeriesDescription") or "without a description"
        return readable(f"series {tag(self.tags, 'SeriesNumber')} {described}".replace("  ", " "))


def study_of_series(found: DicomStudy, root: Path, skip: Skip) -> Study | None:
    """The study of an examination, or None where none of its series is one of the four sequences."""
    place = found.name
    stacks = [stack for uid, paths in found.series.items() for stack in _stacks(uid, paths, root, skip)]
    if len(stacks) > _MOST_SERIES:
        skip(f"{place}: {len(stacks)} series", "more series than any examination has")
        return None
    candidates = [
        Candidate(str(key), tag(stack.tags, "SeriesDescription"), stack.tags, stack.geometry, stack.unusable)
        for key, stack in enumerate(stacks)
    ]
    assignment = assign(candidates)
    chosen = {slot: stacks[int(key)] for slot, key in assignment.keys.items()}
    for key, stack in enumerate(stacks):
        if stack not in chosen.values():
            skip(
                f"{place}: {stack.name} ({len(stack.paths)} images)",
                assignment.unusable.get(str(key)) or "no sequence was recognised, or another series was taken for it",
            )
    if not chosen:
        return None
    return Study(
        place,
        BRAIN_TUMOUR,
        {slot: Source(f"{place}: {stack.name}", partial(load_stack, stack.paths)) for slot, stack in chosen.items()},
        found.patient,
        readable(found.folder.name if found.folder != root else root.resolve().name),
        {
            "folder": shown(found.folder, root),
            "study_instance_uid": readable(found.uid),
            "series_instance_uids": {slot: readable(stack.uid) for slot, stack in chosen.items()},
        },
        tuple(f"No {SHORT_NAMES[slot]}: {why}" for slot, why in assignment.empty.items()),
    )


def load_stack(paths: Sequence[Path]) -> Volume:
    """Read the images of a stack as one volume, as Slicer loads it.

    Raises:
        MahtaiError: damaged, or no whole volume. OSError: a file cannot be read.
    """
    datasets = {path: read_datasets(path.read_bytes())[0] for path in paths}
    series = read_series(list(datasets.values()), MOST_VOXELS)
    check_geometry(series.geometry)
    grid = None
    if len(datasets) > 1:
        normal = series.geometry.ijk_to_ras[:3, 2] * (-1, -1, 1)
        ordered = sorted(datasets, key=lambda path: float(np.dot(datasets[path].ImagePositionPatient, normal)))
        grid = itk_series_grid(ordered[0], ordered[-1], series.geometry.shape)
    return as_slicer_loads(series.read(), grid)


def _stacks(uid: str, paths: Sequence[Path], root: Path, skip: Skip) -> list[Stack]:
    members: dict[tuple[Any, ...], list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in paths:
        try:
            dataset = header(path)
            with damage_named("The DICOM file does not say how its image lies."):
                members[_likeness(dataset, path)].append((path, dataset))
        except VolumeError as error:
            skip(shown(path, root), error.reason)
        except OSError as error:
            skip(shown(path, root), unreadable(error))
    largest = max(map(len, members.values()), default=0)
    stacks = []
    for group in members.values():
        if len(group) < _FEWEST <= largest:
            for path, _ in group:
                skip(shown(path, root), "an extra image, which does not fit the others of its series")
        else:
            stacks.append(_stack(uid, group))
    return stacks


def _stack(uid: str, group: Sequence[tuple[Path, Dataset]]) -> Stack:
    datasets = [dataset for _, dataset in group]
    tags: dict[str, str] = {}
    geometry, unusable = None, ""
    try:
        first = header(group[0][0], TAGS)  # one image stands for the series
        tags = {keyword: tag({keyword: _plain(first.get(keyword))}, keyword) for keyword in TAGS}
        if len(datasets) == 1 and "PerFrameFunctionalGroupsSequence" not in datasets[0]:
            raise VolumeError("it is a single image, not a series", "")
        series = read_series(datasets, MOST_VOXELS)
        check_geometry(series.geometry)
        geometry = series.geometry
    except MahtaiError as error:
        unusable = error.reason.rstrip(".")
    except OSError as error:
        unusable = unreadable(error)
    return Stack(uid, tuple(path for path, _ in group), tags, geometry, unusable)


def _likeness(dataset: Dataset, path: Path) -> tuple[Any, ...]:
    """The same for images that can be slices of one volume."""
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return (str(path),)
    spacing = tuple(round(float(value), 3) for value in dataset.get("PixelSpacing") or ())
    # the offset keeps usual values, such as 0 and 0.5, away from where rounding tells neighbours apart
    direction = tuple(round(float(value) + 0.0037, 2) for value in dataset.get("ImageOrientationPatient") or ())
    return dataset.get("Rows"), dataset.get("Columns"), spacing, direction, str(dataset.get("EchoTime") or "")


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else list(value) if _is_several(value) else str(value)


def _is_several(value: Any) -> bool:
    return hasattr(value, "__iter__")
