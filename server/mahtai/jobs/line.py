"""The line before the engine: one job at a time, readers before unattended work, each in the order of acceptance."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


class LineClosed(BaseException):
    """The server stops. Not an ``Exception``, so that the durable workflow stays open and goes on at the next start."""


@dataclass(order=True)
class Turn:
    """A place in the line: the lowest rank first, then the lowest number."""

    rank: int
    number: int


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

    def wait(self, rank: int, number: int, withdrawn: Callable[[], bool]) -> bool:
        """Wait for one's turn; True means that the engine is the caller's own until ``leave``.

        Args:
            rank: the lower, the sooner.
            number: decides among those of a rank; grows with the time of acceptance.

        Returns:
            False when the job was withdrawn meanwhile (after ``wake``).

        Raises:
            LineClosed: the server stops.
        """
        turn = Turn(rank, number)
        with self._condition:
            self._waiting.append(turn)
            try:
                while not self._closed and not withdrawn() and (self._busy or min(self._waiting) is not turn):
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

    def hasten(self, number: int, rank: int) -> None:
        """Give those of this number that wait a better rank."""
        with self._condition:
            better = [turn for turn in self._waiting if turn.number == number and rank < turn.rank]
            for turn in better:
                turn.rank = rank
            self._condition.notify_all()
        if better:
            self._moved()

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
    def is_busy(self) -> bool:
        """Whether the engine is taken."""
        with self._condition:
            return self._busy

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits."""
        with self._condition:
            return bool(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether the server stops."""
        with self._condition:
            return self._closed
