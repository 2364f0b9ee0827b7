"""How long a job is waited for, and what a server's absence means to whoever waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from MahtAILib.client.background import Task
from MahtAILib.client.errors import (
    BusyError,
    ClientError,
    ConnectionLostError,
    RefusedError,
    TimedOutError,
    UnknownHostError,
    UnreachableError,
)

T = TypeVar("T")

_LONGEST_PAUSE_S = 5.0
_ABSENT = (BusyError, ConnectionLostError, RefusedError, TimedOutError, UnknownHostError, UnreachableError)


@dataclass(frozen=True)
class Patience:
    """How a job is followed.

    Attributes:
        poll_s: between two questions where the server sends no events.
        silence_s: without an event before the server is asked; covers proxies that hold events back.
        relisten_s: after events broke off, before they are asked for again.
        gone_s: how long the server may be gone (being restarted) before the follower gives up.
    """

    poll_s: float = 0.5
    silence_s: float = 2.0
    relisten_s: float = 2.0
    gone_s: float = 120.0

    def persist(self, task: Task, attempt: Callable[[], T]) -> T:
        """The result of ``attempt``, made again for as long as only the server's absence prevents it.

        Reports the stage ``reconnecting`` in the meantime. The attempt must be safe to repeat.

        Raises:
            CancelledError: the task was stopped.
            ClientError: the last failure, when the server stayed away for ``gone_s``; any other at once.
        """
        give_up_at = time.monotonic() + self.gone_s
        pause_s = self.poll_s
        while True:
            try:
                return attempt()
            except ClientError as error:
                task.check()
                if not isinstance(error, _ABSENT) or time.monotonic() >= give_up_at:
                    raise
            task.report("reconnecting")
            task.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


DEFAULT_PATIENCE = Patience()
