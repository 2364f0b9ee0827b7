"""One entry of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
