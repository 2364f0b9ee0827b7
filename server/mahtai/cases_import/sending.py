"""One study after the other to the server: read, hash, send what it lacks, make the case if there is none."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mahtai.cases_import.findings import Skip, Source, Study
from mahtai.cases_import.report import Entry
from mahtai.cases_import.walk import unreadable
from mahtai.errors import MahtaiError
from mahtai.volumes.formats import check_voxels
from mahtai.volumes.volume import Volume
from MahtAILib.client.cases import Case, NewLabel, add_label, anonymous_case, create_case, list_cases
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import RequestRefusedError
from MahtAILib.client.nrrd import NrrdError
from MahtAILib.client.volumes import Blob, pack, upload

AUTHOR, ROLE = "import", "service"

_READERS = 4
"""Files that are unpacked at the same time: the sequences of a study."""


class NothingLeft(MahtaiError):
    """No volume of a study can be used."""

    kind = "nothing-left"
    title = "Nothing of the study can be used"
    status = 422


@dataclass(frozen=True)
class Terms:
    """How cases are made.

    Attributes:
        by_folder: name them after their folder, which must then be no patient data.
        labels: whether segmentations beside a study become its first label version.
    """

    by_folder: bool = False
    priority: int = 0
    assignee: str | None = None
    labels: bool = False


def send(connection: Connection, study: Study, terms: Terms, skip: Skip) -> Entry:
    """Bring one study to the server; again, if it was there, it changes nothing.

    Raises:
        NothingLeft: none of its volumes can be used.
        RequestRefusedError: the server does not take it.
        ClientError: the server did not answer.
    """
    blobs, read = _read(study, skip)
    volumes = {slot: blob.sha256 for slot, blob in blobs.items()}
    entry = Entry(study.place, "there", study.task, {slot: study.slots[slot].name for slot in blobs}, [*study.notes])
    entry.notes += [f"No {slot}: {study.slots[slot].name} cannot be used." for slot in study.slots if slot not in blobs]
    case = _known(connection, study.task, volumes)
    if case is None:
        upload(connection, list(blobs.values()))
        wanted = replace(
            anonymous_case(study.task, volumes),
            patient=study.patient or None,
            priority=terms.priority,
            assignee=terms.assignee,
            source={**study.about, **_pixel_size(read)},
        )
        case = create_case(connection, replace(wanted, name=study.folder) if terms.by_folder else wanted)
        entry.outcome = "made"
    entry.case, entry.name, entry.number = case.id, case.name, case.document.get("number")
    entry.patient, entry.split = str(case.document.get("patient") or ""), str(case.document.get("split") or "")
    if case.document.get("removed"):
        entry.outcome = "there"
        entry.notes.append("It was taken off the list on the server; it stays off.")
    _add_label(connection, study, case, entry, terms, skip)
    return entry


def _read(study: Study, skip: Skip) -> tuple[dict[str, Blob], dict[str, Volume]]:
    """The files to send by slot; what cannot be used is told, and the same volume is taken once."""

    def read(source: Source) -> tuple[Blob, Volume] | str:
        try:
            volume = source.load()
            check_voxels(volume)
            return pack(volume.array, volume.geometry.ijk_to_ras), volume
        except MahtaiError as error:
            return error.reason.rstrip(".")
        except OSError as error:
            return unreadable(error)
        except (NrrdError, MemoryError) as error:
            return str(error) or "more than fits into memory"

    with ThreadPoolExecutor(_READERS) as readers:
        results = dict(zip(study.slots, readers.map(read, study.slots.values()), strict=True))
    blobs: dict[str, Blob] = {}
    volumes: dict[str, Volume] = {}
    for slot, found in results.items():
        if isinstance(found, str):
            skip(study.slots[slot].name, found)
        elif twin := next((other for other, blob in blobs.items() if blob.sha256 == found[0].sha256), ""):
            skip(study.slots[slot].name, f"the same voxels as {study.slots[twin].name}")
        else:
            blobs[slot], volumes[slot] = found
    if not blobs:
        raise NothingLeft("none of its volumes can be used")
    return blobs, volumes


def _known(connection: Connection, task: str, volumes: Mapping[str, str]) -> Case | None:
    """A case of these very volumes, whoever made it."""
    same = [case for case in list_cases(connection, next(iter(volumes.values()))) if dict(case.volumes) == volumes]
    return next((case for case in same if case.task == task), None)


def _pixel_size(volumes: Mapping[str, Volume]) -> dict[str, object]:
    """What a radiograph's file says of its scale, which the bare pixels do not."""
    stated = {slot: volume.pixel_size for slot, volume in volumes.items() if volume.pixel_size is not None}
    said = {slot: {"mm": size.mm and list(size.mm), "source": size.source} for slot, size in stated.items()}
    return {"pixel_size": said} if said else {}


def _add_label(connection: Connection, study: Study, case: Case, entry: Entry, terms: Terms, skip: Skip) -> None:
    """The first segmentation that fits, as the first version of a case that has none."""
    if not study.labels:
        return
    if not terms.labels:
        entry.label = f"A segmentation lies beside it ({len(study.labels)}); --labels takes it along."
        return
    if case.document.get("label_count"):
        entry.label = "The case has label versions; the segmentation beside it was left out."
        return
    for number, source in enumerate(study.labels):
        try:
            content = source.read(study.task)
            key = str(uuid.uuid5(uuid.UUID(case.id), Blob(content).sha256))
            made = add_label(connection, case.id, content, NewLabel(AUTHOR, ROLE), key)
        except OSError as error:
            skip(source.name, unreadable(error))
        except (MahtaiError, RequestRefusedError) as error:
            skip(source.name, f"a segmentation that cannot be used: {error.reason.rstrip('.')}")
        else:
            entry.label = f"{source.name} is label version {made.number}."
            for other in study.labels[number + 1 :]:
                skip(other.name, "another segmentation of the same study was taken")
            return
