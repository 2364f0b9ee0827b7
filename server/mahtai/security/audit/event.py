"""One entry of the record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST = 200
"""Letters of a word of the record at most."""

NO_ID = "no-id"
"""Stands in the record for what a client sent instead of an id."""

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class AuditEvent:
    """Who did what, to what, from where, and how it ended. Ids only: never a name or number of a patient.

    Attributes:
        action: ``C`` create, ``R`` read, ``U`` update, ``D`` delete, ``E`` execute, as DICOM and FHIR say.
        outcome: ``success``, ``refused`` or ``failed``.
        who: name of the account; None for nobody.
        address: where the request came from; empty for a command on the server.
        object: such as ``case/UUID``; empty where there is none.
        detail: short words, such as the call and its status.
    """

    kind: str
    action: str
    outcome: str
    who: str | None
    role: str | None
    address: str
    object: str
    detail: Mapping[str, str] = field(default_factory=dict)


def cleaned(event: AuditEvent) -> AuditEvent:
    """The same with every word such that all databases and formats can hold it: no control characters, not too long."""
    return AuditEvent(
        kind=_word(event.kind, 32),
        action=_word(event.action, 1),
        outcome=_word(event.outcome, 16),
        who=None if event.who is None else _word(event.who),
        role=None if event.role is None else _word(event.role),
        address=_word(event.address),
        object=_word(_identified(event)),
        detail={_word(name): _word(str(value)) for name, value in event.detail.items()},
    )


def _identified(event: AuditEvent) -> str:
    """The object. In a call that came to nothing its id is whatever the client wrote, which may be a patient's name."""
    kind, _, identifier = event.object.partition("/")
    if event.outcome == "success" or not identifier or _ID.fullmatch(identifier):
        return event.object
    return f"{kind}/{NO_ID}"


def _word(text: str, longest: int = LONGEST) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)[:longest]
