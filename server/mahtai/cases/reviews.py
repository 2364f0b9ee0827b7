"""Reviews: a second reader approves a submitted label, sends it back with a comment, or corrects it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from mahtai.cases.case import Case, KeyReused
from mahtai.cases.case_rows import find_case, note, shown_state, view
from mahtai.cases.label_version import Verdict
from mahtai.cases.labels import hand_in, require_version
from mahtai.cases.leases import end_lease
from mahtai.cases.person import Person
from mahtai.db.clock import moment
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseEventRow, CaseRow, LabelVersionRow, ReviewRow
from mahtai.errors import MahtaiError

ReviewVerdict = Literal["approve", "reject"]


class ReviewError(MahtaiError):
    """A review that cannot be taken."""

    kind = "review"
    title = "The review cannot be taken"
    status = 422


class NotSubmitted(ReviewError):
    """The version does not wait for a review."""

    kind = "not-submitted"
    status = 409


class OwnWork(ReviewError):
    """A reader cannot approve what they made alone."""

    kind = "own-work"
    status = 409


@dataclass(frozen=True)
class NewReview:
    """What a reviewer says.

    Attributes:
        ai_verdict: of the AI's proposal.
        client_key: the same key again gives the review that there is.
    """

    version: str
    verdict: ReviewVerdict
    comment: str = ""
    ai_verdict: Verdict | None = None
    client_key: str | None = None


@dataclass(frozen=True)
class Review:
    """A review; it never changes."""

    number: int
    case: str
    version: str
    verdict: ReviewVerdict
    reviewer: str
    role: str
    comment: str
    ai_verdict: Verdict | None
    created_at: datetime


class Reviews:
    """Submissions and reviews of all cases.

    Args:
        second_reader: whether somebody else than the author has to approve.
    """

    def __init__(self, database: Database, second_reader: bool) -> None:
        self._database = database
        self._second_reader = second_reader

    def submit(self, case_id: str, version: str, person: Person) -> Case:
        """Hand a version in for review, and give the case back.

        Raises:
            UnknownCase, UnknownVersion: it is not there.
        """
        with self._database.write() as session:
            case = find_case(session, case_id, lock=True)
            row = require_version(session, case_id, version)
            if (case.state, case.submitted) != ("submitted", row.id):
                hand_in(session, case, person, row.id)
                session.flush()
            return view(session, case)

    def review(self, case_id: str, wanted: NewReview, person: Person) -> tuple[Review, Case, bool]:
        """Take a review.

        Returns:
            the review, the case as it is now, and whether the review is new.

        Raises:
            UnknownCase, UnknownVersion: it is not there.
            NotSubmitted: another version, or none, waits for a review.
            OwnWork: the reviewer is the only one who has seen it.
            ReviewError: rejected without a word.
            KeyReused: the key stands for another review.
        """
        return insist(lambda: self._review(case_id, wanted, person))

    def list(self, case_id: str) -> list[Review]:
        """The reviews of a case, the oldest first.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            of_case = select(ReviewRow).where(ReviewRow.case_id == case_id).order_by(ReviewRow.number)
            return [_view(row) for row in session.scalars(of_case)]

    def _review(self, case_id: str, wanted: NewReview, person: Person) -> tuple[Review, Case, bool]:
        with self._database.write() as session:
            case = find_case(session, case_id, lock=True)
            version = require_version(session, case_id, wanted.version)
            known = _known(session, case_id, wanted)
            if known is not None:
                return known, view(session, case), False
            self._check(session, case, version, wanted, person)
            row = ReviewRow(
                case_id=case_id,
                version=version.id,
                client_key=wanted.client_key,
                reviewer=person.name,
                role=person.role,
                verdict=wanted.verdict,
                ai_verdict=wanted.ai_verdict,
                comment=wanted.comment,
            )
            session.add(row)
            before = shown_state(case, moment(session))
            if wanted.verdict == "approve":
                case.state, case.approved = "approved", version.id
            else:
                case.state = "rejected"
            if case.holder == person.name:
                end_lease(case)
            note(session, case, person, case.state, before, version.id, wanted.comment)
            session.flush()
            return _view(row), view(session, case), True

    def _check(
        self, session: Session, case: CaseRow, version: LabelVersionRow, wanted: NewReview, person: Person
    ) -> None:
        if case.state != "submitted" or case.submitted != version.id:
            raise NotSubmitted(
                f"This version of {case.name} does not wait for a review (the case is {case.state}).",
                "Look at the case again: somebody may have reviewed it, or handed in another version.",
            )
        if wanted.verdict == "reject" and not wanted.comment.strip():
            raise ReviewError(
                "A label is sent back with a word on what is wrong. Nothing was changed.", "Write a comment."
            )
        if self._second_reader and wanted.verdict == "approve" and _saw_it_alone(session, case, version, person):
            raise OwnWork(
                "A second reader approves a label, not the one who made it. Nothing was changed.",
                "Ask somebody else. Where one person works alone, the server is started with MAHTAI_SECOND_READER=off.",
            )


def _saw_it_alone(session: Session, case: CaseRow, version: LabelVersionRow, person: Person) -> bool:
    """Whether a version is this person's own, and no correction of what somebody else had handed in."""
    if version.author != person.name:
        return False
    handed_in = select(CaseEventRow.number).where(
        CaseEventRow.case_id == case.id,
        CaseEventRow.what == "submitted",
        CaseEventRow.version == version.parent_id,
        CaseEventRow.who != person.name,
    )
    return session.scalar(handed_in.limit(1)) is None


def _known(session: Session, case_id: str, wanted: NewReview) -> Review | None:
    if wanted.client_key is None:
        return None
    of_key = select(ReviewRow).where(ReviewRow.case_id == case_id, ReviewRow.client_key == wanted.client_key)
    row = session.scalar(of_key)
    if row is None:
        return None
    if (row.version, row.verdict) != (wanted.version, wanted.verdict):
        raise KeyReused("This client key stands for another review already.", "Use a new key for a new review.")
    return _view(row)


def _view(row: ReviewRow) -> Review:
    return Review(
        number=row.number,
        case=row.case_id,
        version=row.version,
        verdict=cast(Any, row.verdict),
        reviewer=row.reviewer,
        role=row.role,
        comment=row.comment,
        ai_verdict=cast("Verdict | None", row.ai_verdict),
        created_at=row.created_at,
    )
