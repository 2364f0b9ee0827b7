"""The next case for somebody: chosen by a strategy among those that are free, and claimed in one step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from mahtai.cases.case import Case
from mahtai.cases.case_rows import is_held, view, views
from mahtai.cases.leases import Lease, Leases
from mahtai.cases.person import Person
from mahtai.cases.visibility import for_person
from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.tables import CaseRow, LabelVersionRow

OPEN_STATES = ("new", "draft", "rejected")

CONSIDERED = 2000
"""So many cases, the most urgent and oldest ones, are put in order at a time."""

Ranked = tuple[str, "float | None", str]
"""Id of a case, what the strategy thinks of it, and why it comes now, for the reader."""

Rank = Callable[[str, Sequence[Case], "str | None", Person], Sequence[Ranked]]
"""Strategy, candidates, model, for whom → the candidates, the best first."""


@dataclass(frozen=True)
class Offer:
    """A case for somebody to work on; ``lease`` if it was claimed for them."""

    case: Case
    lease: Lease | None
    strategy: str
    why: str
    score: float | None


class NextCase:
    """Offers cases."""

    def __init__(self, database: Database, leases: Leases, rank: Rank) -> None:
        self._database = database
        self._leases = leases
        self._rank = rank

    def offer(
        self,
        person: Person,
        strategy: str,
        task: str | None = None,
        model: str | None = None,
        claim: bool = True,
        exclude: Collection[str] = (),
    ) -> Offer | None:
        """The best free case, or None if none is left.

        What is urgent goes first, then what the person began or had sent back; among equals the strategy decides.

        Args:
            model: whose scores the strategy takes.
            claim: give the person a lease on it; without, it is only looked at.
            exclude: ids of cases that are not wanted.

        Raises:
            MahtaiError: the strategy cannot be used.
        """
        with self._database.read() as session:
            rows = self._free(session, person, task, exclude)
            begun = _begun_by(session, person, [row.id for row in rows])
            candidates = views(session, rows)
        by_id = {case.id: case for case in candidates}
        ranked = list(self._rank(strategy, candidates, model, person))
        ranked.sort(key=lambda one: (-by_id[one[0]].priority, one[0] not in begun))  # stable: the rank decides the rest
        if not claim:
            return None if not ranked else Offer(by_id[ranked[0][0]], None, strategy, ranked[0][2], ranked[0][1])
        for case_id, score, why in ranked:
            taken = self._take(case_id, person)
            if taken is not None:
                return Offer(*taken, strategy, why, score)
        return None

    def _take(self, case_id: str, person: Person) -> tuple[Case, Lease] | None:
        """Claim a case unless somebody was sooner."""
        with self._database.write() as session:
            wanted = select(CaseRow).where(CaseRow.id == case_id).with_for_update(skip_locked=True)
            row = session.scalar(wanted)
            if row is None or row.removed or row.state not in OPEN_STATES or is_held(row, moment(session)):
                return None
            lease = self._leases.give(session, row, person)
            return view(session, row), lease

    def _free(self, session: Session, person: Person, task: str | None, exclude: Collection[str]) -> Sequence[CaseRow]:
        query = select(CaseRow).where(
            CaseRow.removed.is_(False),
            CaseRow.state.in_(OPEN_STATES),
            or_(CaseRow.held_until.is_(None), CaseRow.held_until <= moment(session)),
            or_(CaseRow.assignee.is_(None), CaseRow.assignee == person.name),
            for_person(person),
        )
        if task is not None:
            query = query.where(CaseRow.task == task)
        if exclude:
            query = query.where(CaseRow.id.not_in(list(exclude)))
        return session.scalars(query.order_by(CaseRow.priority.desc(), CaseRow.number).limit(CONSIDERED)).all()


def _begun_by(session: Session, person: Person, ids: Sequence[str]) -> set[str]:
    """Those of the cases that the person has worked on."""
    theirs = select(LabelVersionRow.case_id).where(LabelVersionRow.author == person.name)
    return set(session.scalars(theirs)) & set(ids)
