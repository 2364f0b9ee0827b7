"""What a server on this computer is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class ServerStage(Enum):
    """What the server is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class ServerState:
    """A server at one moment.

    Attributes:
        stage: ``ENDED`` means that it was running and has gone without being told to.
        url: its address, if it is running.
        token: what it wants with every request.
        version: of the server.
        is_ours: whether this object started it, and so can stop it.
        why: one sentence for the reader.
    """

    stage: ServerStage
    url: str = ""
    token: str = field(default="", repr=False)  # not for logs
    version: str = ""
    is_ours: bool = False
    why: str = ""


STOPPED = ServerState(ServerStage.STOPPED, why="No server is running on this computer.")
