"""Signs of life: for the panel, for monitors, for whoever starts the server."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from mahtai import __version__
from mahtai.api.forms import Answer
from mahtai.api.services import Called
from mahtai.data_folder import free_bytes
from mahtai.errors import MahtaiError

API_VERSION = 1

router = APIRouter(tags=["health"])


class HealthOut(Answer):
    """A sign of life, and which API is spoken."""

    service: Literal["mahtai"] = "mahtai"
    version: str
    api: int
    status: Literal["ok"] = "ok"
    sign_in: list[Literal["token", "password", "hospital"]] = Field(description="Ways to show who one is.")


class EngineOut(Answer):
    """The engine's state; ``reason`` tells why it is ``broken``."""

    state: Literal["starting", "ready", "busy", "broken", "stopped"]
    reason: str = ""
    device: str


class DiskOut(Answer):
    """Room on the disk of the data folder."""

    ok: bool
    free_bytes: int


class ReadinessOut(Answer):
    """Whether the server can take work."""

    ready: bool
    engine: EngineOut
    database: Literal["ok", "no answer"]
    disk: DiskOut


@router.get("/healthz")
async def health(services: Called) -> HealthOut:
    """Whether this is a MahtAI server, which API it speaks, and how one signs in. Needs no token."""
    return HealthOut.model_validate(
        {"version": __version__, "api": API_VERSION, "sign_in": services.people.authentication.ways}
    )


@router.get("/readyz", responses={503: {"model": ReadinessOut, "description": "It cannot take work now."}})
def readiness(services: Called, response: Response) -> ReadinessOut:
    """Whether the server can take work: database, disk, engine. Needs no token. 503 with the same body if not."""
    state, reason = services.jobs.engine_state
    free = free_bytes(services.settings.data_dir)
    disk = DiskOut(ok=free >= services.settings.min_free_bytes, free_bytes=free)
    database = _database(services)
    ready = database == "ok" and disk.ok and state not in ("broken", "stopped")
    if not ready:
        response.status_code = 503
    engine = EngineOut(state=state, reason=reason, device=services.settings.device)
    return ReadinessOut(ready=ready, engine=engine, database=database, disk=disk)


def _database(services: Called) -> Literal["ok", "no answer"]:
    try:
        services.check_database()
    except MahtaiError:
        return "no answer"
    return "ok"
