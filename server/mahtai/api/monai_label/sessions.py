"""Sessions: an image that a client works with without making it a case.

Nothing is remembered of a session: its id is the sequence, if the name told it, and the hash of the content.
"""

from __future__ import annotations

import re
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request

from mahtai.api.acting import Acting
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.monai_label.form import keep, received
from mahtai.api.services import Called, Services
from mahtai.cases.monai_label.inputs import Scan
from mahtai.cases.person import Person
from mahtai.errors import MahtaiError

router = APIRouter(prefix=f"{MONAI_LABEL}/session")

_ID = re.compile(r"([a-z0-9-]{1,32})\.([0-9a-f]{64})")


class UnknownSession(MahtaiError):
    """There is no session of that id."""

    kind = "unknown-session"
    title = "There is no such session"
    status = 404


@router.put("/")
async def create(request: Request, services: Called, acting: Acting) -> dict[str, Any]:
    """Keep the image of a session."""
    async with received(request, services, ("files",)) as form:
        scan = Scan.named(form.names.get("files", ""), await keep(form.file("files"), services, acting))
    return _described(scan)


@router.get("/{session_id}")
def get(session_id: str, services: Called, acting: Acting) -> dict[str, Any]:
    """Whether the server still has the image."""
    return _described(session_scan(services, acting, session_id))


@router.delete("/{session_id}")
async def remove(session_id: str, services: Called, acting: Acting) -> dict[str, Any]:
    """The client needs it no more; there is nothing to be done."""
    return _described(await to_thread.run_sync(session_scan, services, acting, session_id))


def session_scan(services: Services, person: Person, session_id: str) -> Scan:
    """The image of a session.

    Raises:
        UnknownSession: there is none.
    """
    found = _ID.fullmatch(session_id)
    seen = found is not None and bool(services.visibility.seen(person, [found[2]]))
    if found is None or not seen or services.intake.find(found[2]) is None:
        raise UnknownSession("There is no session of this id on this server.", "Begin a new one.")
    return Scan(session_id, found[1], found[2])


def _described(scan: Scan) -> dict[str, Any]:
    session_id = f"{scan.slot}.{scan.sha256}"
    return {"session_id": session_id, "session_info": {"name": session_id, "meta": {}}}
