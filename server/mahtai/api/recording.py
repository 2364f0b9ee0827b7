"""What the record gets of a request: who did what, to what, from where, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import Scope

from mahtai.api.calls import Found
from mahtai.errors import MahtaiError
from mahtai.security.audit.event import AuditEvent
from mahtai.security.authentication import Principal

if TYPE_CHECKING:
    from mahtai.security.audit.trail import AuditTrail

REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
ONE_A_SECOND = 1.0
MOST_STRANGERS = 4096

_ACTIONS = {"GET": "R", "HEAD": "R", "PUT": "U", "PATCH": "U", "POST": "C", "DELETE": "D"}
_EXECUTED = ("inference", "sign-in", "sign-out")
_OBJECTS = (
    ("version", "version"),
    ("inference", "inference"),
    ("case", "case"),
    ("sha256", "volume"),
    ("account", "account"),
    ("token", "token"),
    ("training", "training"),
    ("model", "model"),
)


class RecordFailed(MahtaiError):
    """What was done could not be put on record."""

    kind = "audit"
    title = "The server cannot keep its record"
    status = 503


class Recording:
    """Puts requests on record.

    Args:
        trail: None where no record is kept.
        strict: whether a call that cannot be recorded is not answered either.
    """

    def __init__(self, trail: AuditTrail | None, strict: bool) -> None:
        self._trail = trail
        self._strict = strict
        self._strangers: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def note(self, scope: Scope, found: Found | None, principal: Principal | None, status: int) -> None:
        """Record a request that is about to be answered, if it is one to be recorded.

        Raises:
            RecordFailed: it could not be.
        """
        if self._trail is None:
            return
        event = self._event(scope, found, principal, status)
        if event is None:
            return
        try:
            await asyncio.wrap_future(self._trail.record(event))
        except MahtaiError as error:
            if self._strict:
                raise RecordFailed(
                    "What is done here has to be put on record, and that is not possible at the moment.",
                    "Try again in a few seconds. If it stays like this, tell the person who runs the server.",
                ) from error

    def _event(self, scope: Scope, found: Found | None, principal: Principal | None, status: int) -> AuditEvent | None:
        call = None if found is None else found.call
        kind = None if call is None else call.record
        detail = {"status": str(status)} if found is None else {"call": found.name, "status": str(status)}
        address = scope["client"][0] if scope.get("client") else ""
        if status in REFUSED and (kind != "sign-in" or status == HTTPStatus.TOO_MANY_REQUESTS):
            missed = self._missed(f"{address} {principal.person.name if principal else ''} {status}")
            if missed is None:
                return None
            kind = "security"
            detail |= {"as_many_before": str(missed)} if missed else {}
        if kind is None:
            return None
        person = None if principal is None else principal.person
        return AuditEvent(
            kind=kind,
            action="E" if kind in _EXECUTED else _ACTIONS.get(scope["method"], "E"),
            outcome="success" if status < 400 else "refused" if status in REFUSED else "failed",
            who=scope.get("mahtai.claimed") if person is None else person.name,
            role=None if person is None else person.role,
            address=address,
            object=scope.get("mahtai.object") or ("" if found is None else object_of(found.parameters)),
            detail=detail,
        )

    def _missed(self, key: str) -> int | None:
        """How many of the same were left out since the last one on record; None to leave this one out too."""
        now = time.monotonic()
        last, missed = self._strangers.pop(key, (-ONE_A_SECOND, 0))
        wait = now - last < ONE_A_SECOND
        self._strangers[key] = (last, missed + 1) if wait else (now, 0)
        if len(self._strangers) > MOST_STRANGERS:
            self._strangers.popitem(last=False)
        return None if wait else missed


def object_of(parameters: dict[str, str]) -> str:
    """The most particular thing that a path names."""
    for name, kind in _OBJECTS:
        if name in parameters:
            return f"{kind}/{parameters[name]}"[:200]
    return ""
