"""How many connections are open, in all and of one address; who came in first and asks nothing goes first."""

from __future__ import annotations

from typing import Protocol

MOST = 1000
FEW = 4
"""Connections that an address still gets when the server is nearly full, so that others get in beside a flood."""

_NEARLY = 0.9


class Caller(Protocol):
    """An open connection."""

    def is_idle(self) -> bool:
        """Whether no request of it is under way."""

    def cut(self) -> None:
        """Close it at once."""


class Doors:
    """Counts connections; used on the event loop only.

    Args:
        per_address: open at once of one address.
        most: open at once in all.
    """

    def __init__(self, per_address: int, most: int = MOST) -> None:
        self._per_address = per_address
        self._most = most
        self._open: dict[str, dict[Caller, None]] = {}
        self._count = 0

    def enter(self, address: str, caller: Caller) -> bool:
        """Whether it may stay. Where there are too many, the oldest one of its address that asks nothing has to go."""
        known = self._open.get(address, {})
        if len(known) >= self._per_address or (self._count >= self._most * _NEARLY and len(known) >= FEW):
            if not self._make_room(address):
                return False
        elif self._count >= self._most:
            crowded = max(self._open, key=lambda other: len(self._open[other]))
            if not self._make_room(crowded):
                return False
        self._open.setdefault(address, {})[caller] = None
        self._count += 1
        return True

    def leave(self, address: str, caller: Caller) -> None:
        """It has ended; harmless for one that was not let in."""
        known = self._open.get(address, {})
        if caller in known:
            del known[caller]
            self._count -= 1
            if not known:
                del self._open[address]

    def _make_room(self, address: str) -> bool:
        idle = next((caller for caller in self._open.get(address, {}) if caller.is_idle()), None)
        if idle is None:
            return False
        self.leave(address, idle)
        idle.cut()
        return True
