"""Rows of cases as values: found, locked, filtered, and put together with what belongs to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from mahtai.cases.case import Case, CaseRemoved, Filter, LastReview, Split, State, UnknownCase
from mahtai.cases.person import Person
from mahtai.db.blobs import find_blob
from mahtai.db.clock import moment
from mahtai.db.tables import CaseEventRow, CaseRow, CaseVolumeRow, LabelVersionRow, PatientRow, ReviewRow
from mahtai.volumes.geometry import Geometry

_LONGEST_KEY = 64
_KEPT = 11
"""Characters of a client's key that stay as they are."""


def find_case(session: Session, case_id: str, lock: bool = False) -> CaseRow:
    """The row of a case; ``lock`` keeps other writers of the case out until the transaction ends.

    Raises:
        UnknownCase: there is none of that id.
    """
    row = None
    if is_id(case_id):
        wanted = select(CaseRow).where(CaseRow.id == case_id)
        row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise UnknownCase("There is no case of this id on this server.", "Open the list of cases again.")
    return row


def require_on_list(row: CaseRow) -> None:
    """Refuse work on a case that was taken off the list.

    Raises:
        CaseRemoved: it was.
    """
    if row.removed:
        raise CaseRemoved(
            f"{row.name} was taken off the list. What was saved of it is still there.",
            "Choose another case, or have it put back on the list.",
        )


def is_id(text: str) -> bool:
    """Whether a text can be an id at all; nothing else reaches a query."""
    return len(text) == 36 and text.isascii() and text.isprintable()


def is_held(row: CaseRow, now: datetime) -> bool:
    """Whether a lease on the case runs."""
    return row.held_until is not None and row.held_until > now


def shown_state(row: CaseRow, now: datetime) -> State:
    """The state as people see it."""
    return "claimed" if row.state == "new" and is_held(row, now) else cast(State, row.state)


def keyed(session: Session, client_key: str | None) -> Iterator[tuple[str, CaseRow | None]]:
    """The cases that were made with a key, each by another team, and how the key is kept with each; last a way to keep
    it that no case has.

    Teams know nothing of each other, and two that have the same scans choose the same key. The first case has it as it
    is, the others have what is derived from it; it begins the same, since it may say where a case comes from.
    """
    row: CaseRow | None
    for number in count() if client_key is not None else ():
        assert client_key is not None
        derived = hashlib.sha256(f"{number} {client_key}".encode()).hexdigest()
        kept = f"{client_key[:_KEPT]}{derived[: _LONGEST_KEY - _KEPT]}" if number else client_key
        row = session.scalar(select(CaseRow).where(CaseRow.client_key == kept))
        yield kept, row
        if row is None:
            return


def note(
    session: Session,
    row: CaseRow,
    person: Person,
    what: str,
    before: str,
    version: str | None = None,
    comment: str = "",
) -> None:
    """Write down what happened to a case, and that it has changed."""
    now = moment(session)
    row.revision += 1
    row.updated_at = now
    session.add(
        CaseEventRow(
            case_id=row.id,
            at=now,
            who=person.name,
            role=person.role,
            what=what,
            before=before,
            after=row.state,
            version=version,
            comment=comment,
        )
    )


def reference_geometry(session: Session, case: CaseRow) -> Geometry:
    """The grid that the labels of a case lie on."""
    volume = session.get(CaseVolumeRow, (case.id, case.reference))
    record = None if volume is None else find_blob(session, volume.sha256)
    if record is None:
        raise UnknownCase("The case has no reference volume.", "Make the case again.")
    return Geometry(record.info["shape"], record.info["ijk_to_ras"])


def chosen(wanted: Filter, now: datetime) -> Select[Any]:
    """The query for a page of cases, the newest first."""
    query = select(CaseRow).where(CaseRow.removed == wanted.removed)
    query = query.order_by(CaseRow.number.desc()).limit(wanted.limit)
    if wanted.before is not None:
        query = query.where(CaseRow.number < wanted.before)
    if wanted.volume is not None:
        query = query.where(CaseRow.id.in_(select(CaseVolumeRow.case_id).where(CaseVolumeRow.sha256 == wanted.volume)))
    for column, value in (
        (CaseRow.task, wanted.task),
        (CaseRow.assignee, wanted.assignee),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.holder is not None:
        query = query.where(CaseRow.holder == wanted.holder, CaseRow.held_until > now)
    if wanted.split is not None:
        query = query.where(CaseRow.patient.in_(select(PatientRow.number).where(PatientRow.split == wanted.split)))
    if wanted.states:
        query = query.where(or_(*(_in_state(state, now) for state in wanted.states)))
    if wanted.search:
        query = query.where(_found_by(wanted.search))
    if wanted.hard:
        query = query.where(CaseRow.id.in_(hard_cases()))
    return query


def hard_cases() -> Select[tuple[str]]:
    """Ids of cases on which a reader disagreed with the AI, or whose label a reviewer rejected."""
    readers = select(LabelVersionRow.case_id).where(LabelVersionRow.verdict == "disagree")
    reviewers = select(ReviewRow.case_id).where(
        or_(ReviewRow.ai_verdict == "disagree", ReviewRow.verdict == "reject"),
    )
    return select(readers.union(reviewers).subquery().c.case_id)


def views(session: Session, rows: Sequence[CaseRow]) -> list[Case]:
    """Cases as clients see them; a handful of queries, however many there are."""
    now = moment(session)
    ids = [row.id for row in rows]
    volumes: dict[str, dict[str, str]] = {one: {} for one in ids}
    for volume in session.scalars(
        select(CaseVolumeRow).where(CaseVolumeRow.case_id.in_(ids)).order_by(CaseVolumeRow.slot)
    ):
        volumes[volume.case_id][volume.slot] = volume.sha256
    counted = select(LabelVersionRow.case_id, func.count()).where(LabelVersionRow.case_id.in_(ids))
    counts = dict(session.execute(counted.group_by(LabelVersionRow.case_id)).all())
    patients = {row.patient for row in rows}
    drawn = select(PatientRow.number, PatientRow.split).where(PatientRow.number.in_(patients))
    parts = dict(session.execute(drawn).all())
    reviews = _last_reviews(session, ids)
    return [_view(row, now, volumes[row.id], counts.get(row.id, 0), parts, reviews.get(row.id)) for row in rows]


def view(session: Session, row: CaseRow) -> Case:
    """One case as clients see it."""
    return views(session, [row])[0]


def _view(
    row: CaseRow,
    now: datetime,
    volumes: dict[str, str],
    label_count: int,
    parts: dict[int, str],
    review: LastReview | None,
) -> Case:
    held = is_held(row, now)
    return Case(
        id=row.id,
        number=row.number,
        name=row.name,
        task=row.task,
        volumes=volumes,
        reference=row.reference,
        patient=None if row.kin is None else f"P{row.kin}",
        split=cast("Split", "none" if row.patient is None else parts[row.patient]),
        state=shown_state(row, now),
        priority=row.priority,
        assignee=row.assignee,
        team=row.team,
        holder=row.holder if held else None,
        held_until=row.held_until if held else None,
        submitted=row.submitted,
        approved=row.approved,
        last_review=review,
        removed=row.removed,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at or row.created_at,
        label_count=label_count,
    )


def _last_reviews(session: Session, ids: Sequence[str]) -> dict[str, LastReview]:
    newest = select(func.max(ReviewRow.number)).where(ReviewRow.case_id.in_(ids)).group_by(ReviewRow.case_id)
    return {
        row.case_id: LastReview(row.verdict, row.reviewer, row.comment, row.version, row.created_at)
        for row in session.scalars(select(ReviewRow).where(ReviewRow.number.in_(newest)))
    }


def _in_state(state: State, now: datetime) -> ColumnElement[bool]:
    held = and_(CaseRow.held_until.is_not(None), CaseRow.held_until > now)
    if state == "claimed":
        return and_(CaseRow.state == "new", held)
    if state == "new":
        return and_(CaseRow.state == "new", or_(CaseRow.held_until.is_(None), CaseRow.held_until <= now))
    return CaseRow.state == state


def _found_by(text: str) -> ColumnElement[bool]:
    words: Any = CaseRow.name.icontains(text, autoescape=True)
    number = text.strip().lstrip("#Pp")
    if number.isascii() and number.isdigit() and len(number) < 10:
        words = or_(words, CaseRow.number == int(number), CaseRow.kin == int(number))
    return cast("ColumnElement[bool]", words)
