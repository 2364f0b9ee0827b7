"""The record of who did what, for those who may read it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, Query

from mahtai.api.forms import Answer, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.errors import MahtaiError

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=problems(401, 403))

LARGEST_NUMBER = 2**63 - 1

_Word = Annotated[Text | None, Query(min_length=1, max_length=200)]


class NoRecord(MahtaiError):
    """The server was told to keep no record."""

    kind = "no-record"
    title = "No record is kept"
    status = 404


class EntryOut(Answer):
    """One entry; of one that was erased when its time was over only number, time and kind are left."""

    number: int
    at: str
    kind: str
    who: str | None
    role: str | None
    action: str
    outcome: str
    address: str
    object: str
    server: str
    detail: dict[str, str]
    erased: bool


class EntriesOut(Answer):
    """A page, newest first; ``before`` asks for the next one, null where there is none."""

    entries: list[EntryOut]
    before: int | None


@router.get("", responses=problems(404, 422))
def read_record(
    services: Called,
    since: datetime | None = None,
    until: datetime | None = None,
    kind: _Word = None,
    who: _Word = None,
    object: _Word = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER)] = None,
) -> EntriesOut:
    """Entries that fit all that is asked for. Times without a zone are UTC."""
    from mahtai.security.audit.reading import Wanted

    if services.audit is None:
        raise NoRecord("This server keeps no record.", "The person who runs it can set MAHTAI_AUDIT=on.")
    wanted = Wanted(_instant(since), _instant(until), kind, who, object, before)
    entries = services.audit.page(wanted, limit)
    more = entries[-1].number if len(entries) == limit else None
    return EntriesOut(entries=[EntryOut.model_validate(entry) for entry in entries], before=more)


def _instant(time: datetime | None) -> str | None:
    from mahtai.security.audit.chain import instant

    if time is None:
        return None
    try:
        return instant(time.astimezone(timezone.utc) if time.tzinfo else time)
    except OverflowError:  # the edge of the calendar, in another zone
        return instant(time)
