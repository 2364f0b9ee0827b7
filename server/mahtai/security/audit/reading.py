"""Reads entries of the record: pages for people, all of them for an export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select

from mahtai.db.engine import Database
from mahtai.db.trust_tables import AuditRow
from mahtai.security.audit.chain import canonical

MOST = 1000

_CHUNK = 1000


@dataclass(frozen=True)
class Entry:
    """One entry; ``erased`` ones have only number, time and kind.

    Attributes:
        at: UTC, ``2026-01-31T08:15:00.123456Z``.
        server: name of the server that wrote it.
    """

    number: int
    at: str
    kind: str
    who: str | None = None
    role: str | None = None
    action: str = ""
    outcome: str = ""
    address: str = ""
    object: str = ""
    server: str = ""
    detail: dict[str, str] = field(default_factory=dict)
    erased: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which entries; None or empty for all.

    Attributes:
        since, until: as ``Entry.at``; the second is not included.
        object: such as ``case/UUID``.
        before: only entries with a smaller number.
    """

    since: str | None = None
    until: str | None = None
    kind: str | None = None
    who: str | None = None
    object: str | None = None
    before: int | None = None


def newest_first(database: Database, wanted: Wanted, limit: int) -> list[Entry]:
    """A page of at most ``limit`` entries; the next one has ``before`` = the last number of this one.

    Raises:
        DatabaseUnavailable: no connection.
    """
    statement = _narrowed(wanted).order_by(AuditRow.number.desc()).limit(min(limit, MOST))
    with database.read() as session:
        return [_entry(row) for row in session.execute(statement)]


def oldest_first(database: Database, wanted: Wanted) -> Iterator[Entry]:
    """All of them, as they were at one moment; memory does not grow with their number.

    Raises:
        DatabaseUnavailable: no connection.
    """
    for row in raw_rows(database, wanted):
        yield _entry(row)


def raw_rows(database: Database, wanted: Wanted) -> Iterator[Any]:
    """Like ``oldest_first``, the rows as they are in the table."""
    statement = _narrowed(wanted).order_by(AuditRow.number).execution_options(yield_per=_CHUNK)
    with database.read() as session:
        yield from session.execute(statement)


def _narrowed(wanted: Wanted) -> Select:
    statement = select(AuditRow.__table__)
    if wanted.since is not None:
        statement = statement.where(AuditRow.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(AuditRow.at < wanted.until)
    if wanted.kind is not None:
        statement = statement.where(AuditRow.kind == wanted.kind)
    if wanted.who is not None:
        statement = statement.where(AuditRow.who == wanted.who)
    if wanted.object is not None:
        statement = statement.where(AuditRow.body.contains(f'"object":{canonical(wanted.object)}', autoescape=True))
    if wanted.before is not None:
        statement = statement.where(AuditRow.number < wanted.before)
    return statement


def _entry(row: Any) -> Entry:
    if row.body is None:
        return Entry(row.number, row.at, row.kind, erased=True)
    try:
        body = dict(json.loads(row.body))
    except (ValueError, TypeError):  # changed by somebody, as verify tells
        return Entry(row.number, row.at, row.kind, row.who, detail={"what": "the content cannot be read"})
    return Entry(
        number=row.number,
        at=row.at,
        kind=row.kind,
        who=row.who,
        role=body.get("role"),
        action=_text(body, "action"),
        outcome=_text(body, "outcome"),
        address=_text(body, "address"),
        object=_text(body, "object"),
        server=_text(body, "server"),
        detail=dict(body.get("detail") or {}),
    )


def _text(body: dict[str, Any], name: str) -> str:
    return str(body.get(name) or "")
