"""Erases what entries say when their time is over, and puts on record that it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from mahtai.db.engine import Database
from mahtai.db.tables import now
from mahtai.db.trust_tables import AuditRow
from mahtai.errors import MahtaiError
from mahtai.security.audit.chain import instant
from mahtai.security.audit.erasure import RETENTION, RETENTION_KIND, detail_of
from mahtai.security.audit.event import AuditEvent
from mahtai.security.audit.trail import AuditTrail

DEFAULTS = Path(__file__).with_name("retention.json")

_AT_ONCE = 500
_FORM = 'It looks like {"default": 2192, "days": {"sign-in": 731}}; null is for ever.'


class RetentionUnclear(MahtaiError):
    """The file of times cannot be understood."""

    kind = "audit-retention"
    title = "The times of retention cannot be read"
    status = 500


@dataclass(frozen=True)
class Times:
    """Days by kind; None is for ever."""

    days: Mapping[str, int | None]
    default: int | None

    def until(self, kind: str, at: datetime) -> str | None:
        """The time before which entries of the kind are over."""
        days = self.days.get(kind, self.default)
        return None if days is None else instant(at - timedelta(days=days))


def read_times(path: Path | None = None) -> Times:
    """From a file like ``retention.json``; by default from that one.

    Raises:
        RetentionUnclear: it is not of this form.
    """
    path = path or DEFAULTS
    try:
        content = json.loads(path.read_text("utf-8"))
        times = Times(dict(content["days"]), content["default"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RetentionUnclear(f"The file {path} cannot be read. Nothing was erased.", _FORM) from error
    for days in (*times.days.values(), times.default):
        if days is not None and (not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 100_000):
            raise RetentionUnclear(f"{path} says {days!r} where days are wanted. Nothing was erased.", _FORM)
    return times


def expired(database: Database, times: Times, at: datetime | None = None) -> dict[str, tuple[str, int]]:
    """Kind → (until, how many entries of it are over and not erased yet); only kinds that have some."""
    at = at or now()
    with database.read() as session:
        found = {}
        for kind in session.scalars(select(AuditRow.kind).distinct()).all():
            until = times.until(kind, at)
            count = 0 if until is None else session.scalar(_over(select(func.count()), kind, until))
            if until is not None and count:
                found[kind] = (until, count)
        return found


def prune(trail: AuditTrail, times: Times, who: str | None, at: datetime | None = None) -> dict[str, tuple[str, int]]:
    """Erase what is over; the entry that says so comes first, so that no moment is without it.

    Returns:
        what ``expired`` told.

    Raises:
        MahtaiError: the database fails; what was erased by then is explained, the rest is erased by the next time.
    """
    found = expired(trail.database, times, at)
    if not found:
        return found
    detail = detail_of({kind: until for kind, (until, _) in found.items()})
    trail.record_now(AuditEvent(RETENTION_KIND, "D", "success", who, "operator", "", "", detail))
    for kind, (until, _) in found.items():
        more = True
        while more:
            with trail.database.write() as session:
                more = _erase(session, kind, until)
    return found


def _erase(session: Session, kind: str, until: str) -> bool:
    numbers = session.scalars(_over(select(AuditRow.number), kind, until).limit(_AT_ONCE)).all()
    if numbers:
        session.execute(update(AuditRow).where(AuditRow.number.in_(numbers)).values(body=None, who=None))
    return len(numbers) == _AT_ONCE


def _over(statement: Select, kind: str, until: str) -> Select:
    """Narrow it to what is over; entries about retention stay, because they explain what is gone."""
    is_over = statement.where(AuditRow.kind == kind, AuditRow.at < until, AuditRow.body.is_not(None))
    if kind != RETENTION_KIND:
        return is_over
    return is_over.where(AuditRow.body.not_like(f'%"what":"{RETENTION}"%'))
