"""The events of one job, for a follower that must not block on them."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError
from MahtAILib.client.events import server_sent_events
from MahtAILib.client.patience import Patience

_SILENCE_S = 25.0
"""Without a byte for so long the connection is dead: the server sends a sign of life every 10 s."""


class JobEvents:
    """Listens in a thread of its own, because reading blocks; listens anew when the stream breaks off."""

    def __init__(self, connection: Connection, path: str, stopped: threading.Event, patience: Patience) -> None:
        """Nothing is asked of the server before the first :meth:`next`.

        Args:
            connection: to the server.
            path: of the events, from the root of the server.
            stopped: ends the listening when set, like :meth:`close`.
            patience: how long to wait for what.
        """
        self._connection = connection
        self._path = path
        self._stopped = stopped
        self._closed = threading.Event()
        self._patience = patience
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._listening = False
        self._listen_at = 0.0

    def close(self) -> None:
        """No one reads any more; the listening thread ends at the next sign of life from the server."""
        self._closed.set()

    def next(self) -> dict[str, Any] | None:
        """What the next event says, or None when it is time to ask the server instead."""
        if not self._listening and time.monotonic() >= self._listen_at:
            self._listening = True
            threading.Thread(target=self._listen, daemon=True, name="MahtAI events").start()
        try:
            event = self._inbox.get(timeout=self._wait_s())
        except queue.Empty:
            return None
        if event is None:
            self._listening = False
            self._listen_at = time.monotonic() + self._patience.relisten_s
        return event

    def _wait_s(self) -> float:
        return self._patience.silence_s if self._listening else self._patience.poll_s

    def _listen(self) -> None:
        try:
            with self._connection.events(self._path, _SILENCE_S) as response:
                kind = response.headers.get("Content-Type", "")
                if not kind.startswith("text/event-stream"):
                    return
                for event in server_sent_events(_as_it_comes(response)):
                    if self._closed.is_set() or self._stopped.is_set():
                        return
                    if event is None:
                        continue
                    document = json.loads(event.data)
                    if event.name not in ("progress", "done") or not isinstance(document, dict):
                        return
                    self._inbox.put(document)
        except (ClientError, ValueError):
            return  # whoever follows is told by the None below, and asks
        finally:
            self._inbox.put(None)


def _as_it_comes(response: requests.Response) -> Iterator[bytes]:
    """The body in chunks as the server cut it; byte by byte where a proxy took the cuts away.

    Any larger read would wait for more events than there are.
    """
    is_chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return response.iter_content(None if is_chunked else 1)
