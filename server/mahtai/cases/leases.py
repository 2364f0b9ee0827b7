"""Who works on a case: a lease that the holder's panel renews, and that ends by itself when it does not.

A lease keeps two people from beginning the same case. It never keeps anybody from saving: what comes from
somebody whose lease has ended becomes a version beside the others.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from mahtai.cases.case import Case, CaseHeld
from mahtai.cases.case_rows import find_case, is_held, note, require_on_list, shown_state, view
from mahtai.cases.person import Person
from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.tables import CaseRow


@dataclass(frozen=True)
class Lease:
    """The right to work on a case for some minutes.

    Attributes:
        id: whoever has it renews with it.
        renew_after_s: when to renew, so that two lost renewals do no harm.
    """

    id: str
    case: str
    holder: str
    held_until: datetime
    renew_after_s: float


class Leases:
    """Claims on cases.

    Args:
        length_s: of a lease.
    """

    def __init__(self, database: Database, length_s: float) -> None:
        self._database = database
        self.length_s = length_s

    def claim(self, case_id: str, person: Person, lease: str | None = None) -> Lease:
        """Take a case, or renew the lease on it.

        Without a lease, somebody who holds the case already takes it over from themselves: their program may have
        crashed, or they sit at another computer now.

        Args:
            lease: id of the lease that the person has.

        Raises:
            UnknownCase, CaseRemoved: there is no such case on the list.
            CaseHeld: somebody else works on it, or the person took it over at another place.
        """
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            require_on_list(row)
            now = moment(session)
            self._mind_the_clock(row, now)
            is_renewal = lease is not None and row.lease == lease and row.holder == person.name
            takes_over = lease is None and row.holder == person.name
            if is_renewal or takes_over or not is_held(row, now):
                return self.give(session, row, person, lease if is_renewal else None)
            refusal = _held(row, person)
        raise refusal  # after the commit of what the clock had changed

    def give(self, session: Session, row: CaseRow, person: Person, renewed: str | None = None) -> Lease:
        """Let a person have a case that nobody else holds, in a transaction that has locked its row."""
        now = moment(session)
        if renewed is None:
            before = shown_state(row, now)
            row.lease, row.holder, row.held_since = str(uuid.uuid4()), person.name, now
            row.held_until = now + timedelta(seconds=self.length_s)
            note(session, row, person, "claimed", before)
        row.held_until = now + timedelta(seconds=self.length_s)
        session.flush()
        assert row.lease is not None
        return Lease(row.lease, row.id, person.name, row.held_until, self.length_s / 3)

    def release(self, case_id: str, person: Person, lease: str) -> Case:
        """Give a case back; nothing happens if that lease has ended already.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.write() as session:
            row = find_case(session, case_id, lock=True)
            if row.lease == lease:
                before = shown_state(row, moment(session))
                end_lease(row)
                note(session, row, person, "released", before)
                session.flush()
            return view(session, row)

    def _mind_the_clock(self, row: CaseRow, now: datetime) -> None:
        """No lease runs longer than its length from now: one that does was given before the clock went back."""
        longest = now + timedelta(seconds=self.length_s)
        if row.held_until is not None and row.held_until > longest:
            row.held_until = longest


def end_lease(row: CaseRow) -> None:
    """Nobody works on the case any more."""
    row.lease = row.holder = row.held_since = row.held_until = None


def _held(row: CaseRow, person: Person) -> CaseHeld:
    assert row.holder is not None and row.held_until is not None
    if row.holder == person.name:
        reason = f"You went on with {row.name} at another place, or somebody of your name did."
        hint = "Open it again to work on it here. What you save here is kept all the same."
    else:
        reason = f"{row.holder} works on {row.name} until {row.held_until:%H:%M} UTC, unless they go on."
        hint = "Choose another case, or ask them to give it back. Nothing was changed."
    return CaseHeld(
        reason,
        hint,
        row.holder,
        row.held_until,
    )
