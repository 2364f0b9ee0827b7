"""Drafts: work that is not finished, kept every minute, so that a crash costs a minute.

A draft belongs to one editing session of one person. It is replaced by the next one of that session and by
nothing else, and ends when the session saves a version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from mahtai.cases.case_rows import find_case, note, shown_state
from mahtai.cases.label_origin import check_origin, require_file
from mahtai.cases.person import Person
from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.tables import DraftRow, LabelVersionRow
from mahtai.errors import MahtaiError
from mahtai.models.bundle_base import Kind


class DraftOfSomebodyElse(MahtaiError):
    """Only who kept a draft replaces or drops it."""

    kind = "draft-of-somebody-else"
    title = "The draft is somebody else's"
    status = 409


@dataclass(frozen=True)
class NewDraft:
    """Unfinished work.

    Attributes:
        kind, content: as of a label version.
        parent: the version that is edited. inference: the proposal that is corrected.
    """

    kind: Kind
    content: str
    parent: str | None = None
    inference: str | None = None
    seconds_of_work: float | None = None
    tools: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A kept draft.

    Attributes:
        session: of editing; number: counts how often it was kept.
    """

    session: str
    number: int
    kind: Kind
    content: str
    author: str
    parent: str | None
    inference: str | None
    seconds_of_work: float | None
    tools: Mapping[str, float]
    saved_at: datetime


class Drafts:
    """The drafts of all cases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, case_id: str, session_key: str, draft: NewDraft, person: Person) -> Draft:
        """Keep the newest state of an editing session; the file is in the store already.

        Raises:
            UnknownCase, UnknownParent, UnknownProposal, VolumeMissing, LabelError: nothing was changed.
        """
        with self._database.write() as session:
            case = find_case(session, case_id, lock=True)
            require_file(session, draft.kind, draft.content)
            check_origin(session, case_id, draft.parent, draft.inference)
            row = session.get(DraftRow, (case_id, session_key))
            if row is not None and person.account is not None and row.author != person.name:
                raise DraftOfSomebodyElse(
                    "This draft is somebody else's. Nothing was changed.", "Keep yours under another session."
                )
            if row is None:
                row = DraftRow(case_id=case_id, session=session_key, number=0, author=person.name)
                session.add(row)
            row.number += 1
            row.kind, row.content = draft.kind, draft.content
            row.parent_id, row.inference_id = draft.parent, draft.inference
            row.seconds_of_work, row.tools = draft.seconds_of_work, dict(draft.tools)
            row.saved_at = moment(session)
            if case.state == "new":
                before = shown_state(case, row.saved_at)
                case.state = "draft"
                note(session, case, person, "drafted", before)
            session.flush()
            return _view(row)

    def list(self, case_id: str) -> list[Draft]:
        """The newest draft of each editing session, the newest first.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            of_case = select(DraftRow).where(DraftRow.case_id == case_id).order_by(DraftRow.saved_at.desc())
            return [_view(row) for row in session.scalars(of_case)]

    def discard(self, case_id: str, session_key: str, person: Person) -> None:
        """Forget a draft; nothing happens if there is none.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.write() as session:
            case = find_case(session, case_id, lock=True)
            row = session.get(DraftRow, (case_id, session_key))
            if row is not None and person.account is not None and row.author != person.name:
                raise DraftOfSomebodyElse("This draft is somebody else's. It was not dropped.", "Leave it to them.")
            end_draft(session, case_id, session_key)
            if case.state == "draft" and not _has_work(session, case_id):
                case.state = "new"
                note(session, case, person, "draft dropped", "draft")


def end_draft(session: Session, case_id: str, session_key: str | None) -> None:
    """A version was saved in its place, or nobody wants it."""
    if session_key is not None:
        session.execute(delete(DraftRow).where(DraftRow.case_id == case_id, DraftRow.session == session_key))


def _has_work(session: Session, case_id: str) -> bool:
    columns = (DraftRow.case_id, LabelVersionRow.case_id)
    return any(session.scalar(select(exists().where(column == case_id))) for column in columns)


def _view(row: DraftRow) -> Draft:
    return Draft(
        session=row.session,
        number=row.number,
        kind=cast(Kind, row.kind),
        content=row.content,
        author=row.author,
        parent=row.parent_id,
        inference=row.inference_id,
        seconds_of_work=row.seconds_of_work,
        tools=row.tools,
        saved_at=row.saved_at,
    )
