"""The line before the engine: one job at a time, readers before unattended work, each in the order of acceptance."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable


class LineClosed(BaseException):
    """The server stops. Not an ``Exception``, so that the durable workflow stays open and goes on at the next start."""


Turn = tuple[int, int]
"""Rank, the lower the sooner, and a number that grows with the time of acceptance."""


class Line:
    """Lets the job with the smallest turn through when the engine is free.

    Args:
        moved: called, outside the lock, whenever places have changed.
    """

    def __init__(self, moved: Callable[[], None]) -> None:
        self._condition = threading.Condition()
        self._waiting: list[Turn] = []
        self._busy = False
        self._closed = False
        self._moved = moved

    def wait(self, turn: Turn, withdrawn: Callable[[], bool]) -> bool:
        """Wait for a turn; True means that the engine is the caller's own until ``leave``.

        Returns:
            False when the job was withdrawn meanwhile (after ``wake``).

        Raises:
            LineClosed: the server stops.
        """
        with self._condition:
            bisect.insort(self._waiting, turn)
            try:
                while not self._closed and not withdrawn() and (self._busy or self._waiting[0] != turn):
                    self._condition.wait()
                if self._closed:
                    raise LineClosed
                if withdrawn():
                    return False
                self._busy = True
                return True
            finally:
                self._waiting.remove(turn)
                self._condition.notify_all()

    def leave(self) -> None:
        """The engine is free again."""
        with self._condition:
            self._busy = False
            self._condition.notify_all()
        self._moved()

    def wake(self) -> None:
        """Let all who wait look whether they were withdrawn."""
        with self._condition:
            self._condition.notify_all()
        self._moved()

    def close(self) -> None:
        """Send everybody home."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether the server stops."""
        with self._condition:
            return self._closed
