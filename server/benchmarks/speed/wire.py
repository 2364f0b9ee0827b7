"""Bytes that this process sends and receives by HTTP: bodies and headers, as they pass the socket."""

from __future__ import annotations

import http.client
import socket
import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Traffic:
    """Bytes."""

    sent: int
    received: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.sent - before.sent, self.received - before.received)


class Wire:
    """Counts from its making on, whatever library speaks HTTP here, as long as it stands on ``http.client``."""

    def __init__(self) -> None:
        self._sent = self._received = 0
        self._lock = threading.Lock()
        send, read_into = http.client.HTTPConnection.send, socket.SocketIO.readinto

        def counted_send(connection: Any, data: Any) -> None:
            with self._lock:
                self._sent += memoryview(data).nbytes
            send(connection, data)

        def counted_read(stream: Any, buffer: Any) -> int | None:
            count = read_into(stream, buffer)
            with self._lock:
                self._received += count or 0
            return count

        http.client.HTTPConnection.send = counted_send  # type: ignore[method-assign, assignment]
        socket.SocketIO.readinto = counted_read  # type: ignore[method-assign, assignment]

    @property
    def traffic(self) -> Traffic:
        """Until now."""
        with self._lock:
            return Traffic(self._sent, self._received)
