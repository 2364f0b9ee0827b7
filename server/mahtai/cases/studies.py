"""Cases: a study under a display name, its volumes in their slots."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mahtai.cases.intake import Intake
from mahtai.db.blobs import find_blob
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseRow, CaseVolumeRow, LabelVersionRow
from mahtai.errors import MahtaiError
from mahtai.jobs.inference import VolumeMissing
from mahtai.volumes.geometry import Geometry

REFERENCE_ORDER = ("t1c", "t1", "flair", "t2")
"""Which slot's grid the labels of a case lie on: the first of these, else the first slot by name."""


class UnknownCase(MahtaiError):
    """There is no case of that id."""

    kind = "unknown-case"
    title = "There is no such case"
    status = 404


class CaseError(MahtaiError):
    """A case that cannot be made of what was given."""

    kind = "case"
    title = "The case cannot be made"
    status = 422


class KeyReused(MahtaiError):
    """A client key that stands for something else already."""

    kind = "client-key-reused"
    title = "The client key was used for something else"
    status = 409


@dataclass(frozen=True)
class Case:
    """A case as clients see it.

    Attributes:
        name: for display; no patient data.
        volumes: slot → SHA-256.
        reference: slot whose grid the labels lie on.
        label_count: versions saved so far.
    """

    id: str
    number: int
    name: str
    task: str
    volumes: Mapping[str, str]
    reference: str
    created_at: datetime
    label_count: int


class Cases:
    """The cases of this server."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake

    def create(self, name: str, task: str, volumes: Mapping[str, str], client_key: str | None) -> tuple[Case, bool]:
        """Make a case; the same ``client_key`` again gives the case that there is.

        Args:
            volumes: slot → SHA-256 of an uploaded volume.

        Returns:
            the case, and whether it is new.

        Raises:
            CaseError: no volumes, one in two slots, or a segmentation among them.
            VolumeMissing: a volume was not uploaded.
            KeyReused: the key stands for another case.
        """
        self._check_volumes(volumes)
        return insist(lambda: self._create(name, task, volumes, client_key))

    def get(self, case_id: str) -> Case:
        """One case.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            return _view(session, find_case(session, case_id))

    def list(self, limit: int, before: int | None = None, volume: str | None = None) -> list[Case]:
        """Cases, the newest first.

        Args:
            before: number of the last one seen.
            volume: SHA-256 of a volume that they have in some slot.
        """
        with self._database.read() as session:
            wanted = select(CaseRow).order_by(CaseRow.number.desc()).limit(limit)
            if before is not None:
                wanted = wanted.where(CaseRow.number < before)
            if volume is not None:
                having = select(CaseVolumeRow.case_id).where(CaseVolumeRow.sha256 == volume)
                wanted = wanted.where(CaseRow.id.in_(having))
            return [_view(session, row) for row in session.scalars(wanted)]

    def _create(self, name: str, task: str, volumes: Mapping[str, str], client_key: str | None) -> tuple[Case, bool]:
        with self._database.write() as session:
            if client_key is not None:
                known = session.scalar(select(CaseRow).where(CaseRow.client_key == client_key))
                if known is not None:
                    return self._same(_view(session, known), name, task, volumes), False
            row = CaseRow(
                id=str(uuid.uuid4()), name=name, task=task, reference=reference_slot(volumes), client_key=client_key
            )
            session.add(row)
            session.flush()
            session.add_all(CaseVolumeRow(case_id=row.id, slot=slot, sha256=sha) for slot, sha in volumes.items())
            session.flush()
            return _view(session, row), True

    def _same(self, case: Case, name: str, task: str, volumes: Mapping[str, str]) -> Case:
        if (case.name, case.task, dict(case.volumes)) != (name, task, dict(volumes)):
            raise KeyReused("This client key stands for another case already.", "Use a new key for a new case.")
        return case

    def _check_volumes(self, volumes: Mapping[str, str]) -> None:
        if not volumes:
            raise CaseError("A case needs at least one volume.", "Choose the volumes of the study.")
        if len(set(volumes.values())) != len(volumes):
            raise CaseError("The same volume is in two slots.", "Choose another volume for one of them.")
        missing = self._intake.missing(volumes.values())
        if missing:
            lacking = ", ".join(sorted(slot for slot, sha256 in volumes.items() if sha256 in missing))
            raise VolumeMissing(
                f"The server does not have the volume for {lacking}.",
                "Upload it first; nothing was changed.",
                tuple(sorted(missing)),
            )
        for slot, sha256 in volumes.items():
            if self._intake.get(sha256)[0].kind != "volume":
                raise CaseError(f"What was chosen for {slot} is no scan.", "Choose the scan itself.")


def reference_slot(slots: Mapping[str, str]) -> str:
    """The slot whose grid the labels lie on."""
    return next((slot for slot in REFERENCE_ORDER if slot in slots), min(slots))


def find_case(session: Session, case_id: str, lock: bool = False) -> CaseRow:
    """The row of a case; ``lock`` keeps other writers of the case out until the transaction ends.

    Raises:
        UnknownCase: there is none of that id.
    """
    row = None
    if len(case_id) == 36 and case_id.isascii() and case_id.isprintable():
        wanted = select(CaseRow).where(CaseRow.id == case_id)
        row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise UnknownCase("There is no case of this id on this server.", "Open the list of cases again.")
    return row


def reference_geometry(session: Session, case: CaseRow) -> Geometry:
    """The grid that the labels of a case lie on."""
    volume = session.get(CaseVolumeRow, (case.id, case.reference))
    record = None if volume is None else find_blob(session, volume.sha256)
    if record is None:
        raise UnknownCase("The case has no reference volume.", "Make the case again.")
    return Geometry(record.info["shape"], record.info["ijk_to_ras"])


def _view(session: Session, row: CaseRow) -> Case:
    volumes = session.execute(
        select(CaseVolumeRow.slot, CaseVolumeRow.sha256)
        .where(CaseVolumeRow.case_id == row.id)
        .order_by(CaseVolumeRow.slot)
    )
    labels = select(func.count()).select_from(LabelVersionRow).where(LabelVersionRow.case_id == row.id)
    return Case(
        id=row.id,
        number=row.number,
        name=row.name,
        task=row.task,
        volumes={volume.slot: volume.sha256 for volume in volumes},
        reference=row.reference,
        created_at=row.created_at,
        label_count=session.scalar(labels) or 0,
    )
