"""Cases: the studies that people work on, made, found, changed, and taken off the list."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from mahtai.cases.case import Case, CaseChanged, CaseError, CaseHeld, Filter, KeyReused, NewCase
from mahtai.cases.case_rows import chosen, find_case, is_held, keyed, note, view, views
from mahtai.cases.intake import Intake
from mahtai.cases.patients import Patients, Traces, find_or_draw, join_kin
from mahtai.cases.person import NOBODY_NAMED, Person
from mahtai.cases.visibility import for_person, team_of
from mahtai.db.clock import moment
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseEventRow, CaseRow, CaseSourceRow, CaseVolumeRow
from mahtai.jobs.inference import VolumeMissing

REFERENCE_ORDER = ("t1c", "t1", "flair", "t2")
"""Which slot's grid the labels of a case lie on: the first of these, else the first slot by name."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a case; ``before`` and ``after`` are its states."""

    number: int
    at: datetime
    who: str
    role: str
    what: str
    before: str
    after: str
    version: str | None
    comment: str


Events = list[Event]
"""Of a case; a class that has a method ``list`` needs another word for it."""


@dataclass(frozen=True)
class Change:
    """What is to be different about a case; None leaves it, an empty assignee or team takes it back.

    Attributes:
        revision: that was read; another one now means that somebody else was sooner.
    """

    name: str | None = None
    assignee: str | None = None
    priority: int | None = None
    team: str | None = None
    revision: int | None = None


class Cases:
    """The cases of this server."""

    def __init__(self, database: Database, intake: Intake, patients: Patients) -> None:
        self._database = database
        self._intake = intake
        self._patients = patients

    def create(self, wanted: NewCase, person: Person = NOBODY_NAMED) -> tuple[Case, bool]:
        """Make a case; the same ``client_key`` again gives the case that there is.

        Returns:
            the case, and whether it is new.

        Raises:
            CaseError: no volumes, one in two slots, or a segmentation among them.
            VolumeMissing: a volume was not uploaded.
            KeyReused: the key stands for another case.
        """
        self._check_volumes(wanted.volumes)
        with self._database.read() as session:
            known = _known(session, wanted, person)
            if known is not None:
                return known, False
        traces = self._patients.traces(wanted.volumes, wanted.patient)
        return insist(lambda: self._create(wanted, traces, person))

    def get(self, case_id: str) -> Case:
        """One case.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            return view(session, find_case(session, case_id))

    def list(self, wanted: Filter, person: Person) -> list[Case]:
        """A page of the cases that are for this person, the newest first."""
        with self._database.read() as session:
            theirs = chosen(wanted, moment(session)).where(for_person(person))
            return views(session, session.scalars(theirs).all())

    def source(self, case_id: str) -> Mapping[str, Any]:
        """Where a case comes from, as it was told; empty if it was not.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            row = session.get(CaseSourceRow, case_id)
            return {} if row is None else row.source

    def events(self, case_id: str) -> Events:
        """What happened to a case, the oldest first.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            of_case = select(CaseEventRow).where(CaseEventRow.case_id == case_id).order_by(CaseEventRow.number)
            return [
                Event(row.number, row.at, row.who, row.role, row.what, row.before, row.after, row.version, row.comment)
                for row in session.scalars(of_case)
            ]

    def change(self, case_id: str, change: Change, person: Person) -> Case:
        """Rename, assign or put sooner or later.

        Raises:
            UnknownCase: there is none of that id.
            CaseChanged: somebody else was sooner; nothing was changed.
        """
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            if change.revision is not None and change.revision != row.revision:
                raise CaseChanged(
                    f"Somebody changed {row.name} meanwhile. Nothing was changed now.", "Look at it again, then repeat."
                )
            if change.name is not None:
                row.name = change.name
            if change.priority is not None:
                row.priority = change.priority
            if change.assignee is not None:
                row.assignee = change.assignee or None
            if change.team is not None:
                row.team = team_of(change.team, person)
                join_kin(session, row)
            note(session, row, person, "changed", row.state)
            session.flush()
            return view(session, row)

    def remove(self, case_id: str, person: Person, anyway: bool = False) -> None:
        """Take a case off the list. Nothing is erased, and what somebody still saves of it is kept.

        Args:
            anyway: also while somebody else works on it.

        Raises:
            UnknownCase: there is none of that id.
            CaseHeld: somebody else works on it.
        """
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            if row.removed:
                return
            if not anyway and is_held(row, moment(session)) and row.holder != person.name:
                assert row.holder is not None and row.held_until is not None
                raise CaseHeld(
                    f"{row.holder} works on {row.name} until {row.held_until:%H:%M} UTC. It was not removed.",
                    "Ask them first, or remove it anyway: what they save is kept.",
                    row.holder,
                    row.held_until,
                )
            row.removed = True
            note(session, row, person, "removed", row.state)

    def restore(self, case_id: str, person: Person) -> Case:
        """Put a case back on the list.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            if row.removed:
                row.removed = False
                note(session, row, person, "restored", row.state)
                session.flush()
            return view(session, row)

    def settle(self) -> int:
        """Find the patients of cases that were made before patients were known; how many there were."""
        with self._database.read() as session:
            waiting = views(session, session.scalars(select(CaseRow).where(CaseRow.patient.is_(None))).all())
        for case in waiting:
            traces = self._patients.traces(case.volumes, None)
            insist(lambda case=case, traces=traces: self._give_patient(case.id, traces))  # type: ignore[misc]
        return len(waiting)

    def _give_patient(self, case_id: str, traces: Traces) -> None:
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            if row.patient is None:
                row.patient = find_or_draw(session, traces).number
                join_kin(session, row, traces.keys)

    def _create(self, wanted: NewCase, traces: Traces, person: Person) -> tuple[Case, bool]:
        with self._database.write() as session:
            known = _known(session, wanted, person)
            if known is not None:
                return known, False
            row = CaseRow(
                id=str(uuid.uuid4()),
                name=wanted.name,
                task=wanted.task,
                reference=reference_slot(wanted.volumes),
                client_key=next((key for key, row in keyed(session, wanted.client_key) if row is None), None),
                patient=find_or_draw(session, traces).number,
                priority=wanted.priority,
                assignee=wanted.assignee or None,
                team=team_of(wanted.team, person),
                state="new",
                revision=0,
            )
            session.add(row)
            session.flush()
            join_kin(session, row, traces.keys)
            session.add_all(
                CaseVolumeRow(case_id=row.id, slot=slot, sha256=sha256) for slot, sha256 in wanted.volumes.items()
            )
            if wanted.source:
                session.add(CaseSourceRow(case_id=row.id, source=dict(wanted.source)))
            note(session, row, person, "made", "new")
            session.flush()
            return view(session, row), True

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


def _known(session: Session, wanted: NewCase, person: Person) -> Case | None:
    """The case that was made with the same key, and is for this person or of the team that theirs would be of.

    Raises:
        KeyReused: it is another one.
    """
    made = [row.id for _, row in keyed(session, wanted.client_key) if row is not None]
    theirs = or_(for_person(person), CaseRow.team == team_of(wanted.team, person))
    row = session.scalar(select(CaseRow).where(CaseRow.id.in_(made), theirs).order_by(CaseRow.number).limit(1))
    if row is None:
        return None
    case = view(session, row)
    # the display name may have been changed since
    if (case.task, dict(case.volumes)) != (wanted.task, dict(wanted.volumes)):
        raise KeyReused("This client key stands for another case already.", "Use a new key for a new case.")
    return case
