"""What the record gets of a request: who did what, to what, from where, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
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


@dataclass
class _Refused:
    """A refusal that is on record since ``at`` (of ``time.monotonic``), and how many more came since."""

    at: float
    event: AuditEvent
    more: int = 0


class Recording:
    """Puts requests on record.

    Args:
        trail: None where no record is kept.
        strict: whether a call that cannot be recorded is not answered either.
    """

    def __init__(self, trail: AuditTrail | None, strict: bool) -> None:
        self._trail = trail
        self._strict = strict
        self._refused: OrderedDict[tuple[str | None, ...], _Refused] = OrderedDict()

    async def note(self, scope: Scope, found: Found | None, principal: Principal | None, status: int) -> None:
        """Record a request that is about to be answered, if it is one to be recorded.

        Raises:
            RecordFailed: it could not be.
        """
        if self._trail is None:
            return
        event = self._event(scope, found, principal, status)
        events = [*self._counted(time.monotonic() - ONE_A_SECOND), *([] if event is None else [event])]
        if not events:
            return
        try:
            await asyncio.gather(*(asyncio.wrap_future(self._trail.record(each)) for each in events))
        except MahtaiError as error:
            if self._strict:
                raise RecordFailed(
                    "What is done here has to be put on record, and that is not possible at the moment.",
                    "Try again in a few seconds. If it stays like this, tell the person who runs the server.",
                ) from error

    def flush(self) -> None:
        """Put on record what was only counted until now."""
        for event in self._counted(time.monotonic()):
            if self._trail is not None:
                self._trail.record(event)

    def _event(self, scope: Scope, found: Found | None, principal: Principal | None, status: int) -> AuditEvent | None:
        call = None if found is None else found.call
        kind = None if call is None else call.record
        detail = {"status": str(status)} if found is None else {"call": found.name, "status": str(status)}
        address = scope["client"][0] if scope.get("client") else ""
        if status in REFUSED and (kind != "sign-in" or status == HTTPStatus.TOO_MANY_REQUESTS):
            kind = "security"
        if kind is None:
            return None
        person = None if principal is None else principal.person
        event = AuditEvent(
            kind=kind,
            action="E" if kind in _EXECUTED else _ACTIONS.get(scope["method"], "E"),
            outcome="success" if status < 400 else "refused" if status in REFUSED else "failed",
            who=scope.get("mahtai.claimed") if person is None else person.name,
            role=None if person is None else person.role,
            address=address,
            object=scope.get("mahtai.object") or ("" if found is None else object_of(found.parameters)),
            detail=detail,
        )
        return None if kind == "security" and self._was_just_now(event) else event

    def _was_just_now(self, event: AuditEvent) -> bool:
        """Whether the same is on record already since less than a second; then it is only counted."""
        # whoever has no account may make up as many objects as they like
        key = (
            event.address,
            event.who,
            event.detail["status"],
            *((event.detail.get("call"), event.object) if event.who else ()),
        )
        known = self._refused.get(key)
        if known is not None:
            known.more += 1
            return True
        self._refused[key] = _Refused(time.monotonic(), event)
        return False

    def _counted(self, before: float) -> list[AuditEvent]:
        """Of those that were on record before that moment: how many more of the same there were."""
        found = []
        while self._refused:
            first = next(iter(self._refused))
            refused = self._refused[first]
            if refused.at > before and len(self._refused) <= MOST_STRANGERS:
                break
            del self._refused[first]
            if refused.more:
                detail = {**refused.event.detail, "more of the same": str(refused.more)}
                found.append(replace(refused.event, detail=detail))
        return found


def object_of(parameters: dict[str, str]) -> str:
    """The most particular thing that a path names."""
    for name, kind in _OBJECTS:
        if name in parameters:
            return f"{kind}/{parameters[name]}"[:200]
    return ""
