"""NIfTI and NRRD files: which of them are a study, by their names and those of their folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from mahtai.cases_import.findings import BRAIN_TUMOUR, Label, Skip, Source, Study
from mahtai.cases_import.kinds import Kind
from mahtai.cases_import.labels import label_file
from mahtai.cases_import.names import patient_of_folder, readable, shown
from mahtai.cases_import.volume_loading import MOST_VOXELS, load_file
from mahtai.errors import MahtaiError
from mahtai.volumes import nifti
from mahtai.volumes.formats import is_segmentation
from mahtai.volumes.geometry import Geometry, check_geometry
from mahtai.volumes.volume import VolumeError, check_claim, check_is_stack
from MahtAILib.client import nrrd
from MahtAILib.sequences.assignment import SHORT_NAMES, Candidate, assign
from MahtAILib.sequences.words import Reading, read_words, words_of

SEGMENTATION = "a segmentation, not a scan"

_NOT_TAKEN = "another file was taken for its sequence, or its sequence is not certain"

_MASK = "a segmentation or mask"
"""What the vocabulary of sequences calls one."""

_DIGITS, _FOUR_DIGITS = re.compile(r"\d+"), re.compile(r"\d{4}")

_MOST_OF_A_STUDY = 200
"""Volumes in one folder with nothing to tell their studies apart; more cannot be one study."""


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """One NIfTI or NRRD file, by its header.

    Attributes:
        name: what speaks of its sequence: its own name, with that of its folder where only that does.
        folder: in which its study lies.
        unusable: why it is no input; else empty.
    """

    path: Path
    kind: Kind
    name: str
    folder: Path
    geometry: Geometry | None
    unusable: str
    is_label: bool

    @cached_property
    def reading(self) -> Reading:
        """What the name says."""
        return read_words(words_of(self.name))

    @property
    def number(self) -> str:
        """With which a name ends that says no sequence (nnU-Net's 0000 to 0003); else empty."""
        last = "" if self.reading.weightings else (self.reading.words or ("",))[-1]
        return last if _FOUR_DIGITS.fullmatch(last) else ""

    @property
    def beginning(self) -> str:
        """The words of the name before its sequence: of a patient or a study, if anything."""
        reading = self.reading
        return " ".join(reading.words[:-1] if self.number else reading.words[: reading.begins])


def volume_file(path: Path, kind: Kind, head: bytes) -> VolumeFile:
    """What the header and the name say; the voxels are not read.

    Args:
        head: the beginning of the file, as ``kinds.look_at`` gives it.
    """
    geometry, unusable, is_label = None, "", False
    try:
        geometry, is_label = _nifti_header(head) if kind == "NIfTI" else _nrrd_header(head)
        if not is_label:
            check_geometry(geometry)
            check_is_stack(geometry.shape)
    except MahtaiError as error:
        unusable = error.reason.rstrip(".")
    own = read_words(words_of(path.name))
    is_label = is_label or own.unusable == _MASK
    name, folder = path.name, path.parent
    if not own.weightings and not own.unusable and read_words(words_of(folder.name)).weightings:
        name, folder = f"{folder.name} {path.name}", folder.parent
    return VolumeFile(path, kind, name, folder, geometry, unusable, is_label)


def studies_of_files(files: Iterable[VolumeFile], root: Path, skip: Skip) -> list[Study]:
    """The studies among these files, those of a folder together or told apart by how their names begin."""
    folders: dict[Path, list[VolumeFile]] = defaultdict(list)
    for file in files:
        folders[file.folder].append(file)
    studies = []
    for folder, members in folders.items():
        parts = _by_beginning(members)
        for beginning, group in parts.items():
            name = _raw_beginning(group[0], beginning) if len(parts) > 1 else ""
            study = _study(group, folder, root, name, skip)
            if study is not None:
                studies.append(study)
    return studies


def _study(members: Sequence[VolumeFile], folder: Path, root: Path, beginning: str, skip: Skip) -> Study | None:
    labels = [file for file in members if file.is_label]
    scans = {}
    for file in members:
        if not file.is_label and not (file.reading.weightings or file.number or file.reading.unusable):
            skip(shown(file.path, root), file.unusable or "its name says no sequence (t1, t1c, t2, flair)")
        elif not file.is_label:
            scans[str(file.path)] = file
    if len(scans) > _MOST_OF_A_STUDY:
        for file in scans.values():
            skip(shown(file.path, root), "one of so many in its folder that it cannot be told what belongs together")
        scans = {}
    found = assign(Candidate(key, file.name, {}, file.geometry, file.unusable) for key, file in scans.items())
    chosen = {slot: scans[key] for slot, key in found.keys.items()}
    for key, file in scans.items():
        if file not in chosen.values():
            skip(shown(file.path, root), found.unusable.get(key, _NOT_TAKEN))
    if not chosen:
        for file in labels:
            skip(shown(file.path, root), f"{SEGMENTATION}; no study lies beside it")
        return None
    place = shown(folder, root) + (f" ({readable(beginning)})" if beginning else "")
    return Study(
        place,
        BRAIN_TUMOUR,
        {slot: _source(file, root) for slot, file in chosen.items()},
        patient_of_folder(folder, root, beginning),
        readable(" ".join(filter(None, [folder.name if folder != root else root.resolve().name, beginning]))),
        {"folder": shown(folder, root), "files": {slot: readable(file.path.name) for slot, file in chosen.items()}},
        tuple(f"No {SHORT_NAMES[slot]}: {why}" for slot, why in found.empty.items()),
        tuple(Label(shown(file.path, root), partial(label_file, file.path, file.kind)) for file in labels),
    )


def _source(file: VolumeFile, root: Path) -> Source:
    return Source(shown(file.path, root), partial(load_file, file.path, file.kind))


def _by_beginning(members: Sequence[VolumeFile]) -> dict[str, list[VolumeFile]]:
    """Files of one folder by study: names of different sequences that begin alike with a name of a study.

    A beginning tells studies apart if it has a digit, or if there are several of them. What looks like one, digits
    aside, is one too (a study of a single sequence). All the rest goes with the only study, or by itself.
    """
    sequences: dict[str, set[object]] = defaultdict(set)
    for file in members:
        if file.beginning and not file.is_label:
            sequences[file.beginning].add((file.number, *file.reading.weightings, *file.reading.contrast))
    shared = {beginning for beginning, found in sequences.items() if len(found) > 1}
    told = shared if len(shared) > 1 else {beginning for beginning in shared if _DIGITS.search(beginning)}
    patterns = {_DIGITS.sub("#", beginning) for beginning in told}
    groups: dict[str, list[VolumeFile]] = defaultdict(list)
    for file in members:
        groups[file.beginning if _DIGITS.sub("#", file.beginning) in patterns else ""].append(file)
    if len(groups) == 2 and "" in groups:
        (only,) = (beginning for beginning in groups if beginning)
        groups[only] += groups.pop("")
    return groups


def _raw_beginning(file: VolumeFile, beginning: str) -> str:
    """The part of a file's name that was read as this beginning, as it is written."""
    name = file.path.name
    ends = [place for place, character in enumerate(name) if not character.isalnum()]
    return next((name[:end] for end in reversed(ends) if " ".join(words_of(name[:end])) == beginning), Path(name).stem)


def _nifti_header(head: bytes) -> tuple[Geometry, bool]:
    unpacked = nifti.unpack_head(head) if head[:2] == nifti.GZIP_MAGIC else head
    header = nifti.read_nifti_header(unpacked[: nifti.HEADER_BYTES], MOST_VOXELS)
    return header.geometry, False


def _nrrd_header(head: bytes) -> tuple[Geometry, bool]:
    try:
        header = nrrd.read_header(head)
    except nrrd.NrrdError as error:
        raise VolumeError(str(error), "Save it again.") from error
    if is_segmentation(header.fields):
        return Geometry(header.shape, header.ijk_to_ras), True
    if header.components is not None:
        raise VolumeError("it is 4-D: one 3-D volume is expected", "Split it.")
    check_claim(header.shape, MOST_VOXELS)
    return Geometry(header.shape, header.ijk_to_ras), False
