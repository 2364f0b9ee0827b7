"""How the parts of the panel hear of each other's changes."""

from __future__ import annotations

from collections.abc import Callable


class Topic:
    """Something that others want to hear of; they are called in the order in which they subscribed.

    Usage::

        changed = Topic()
        changed.subscribe(section.refresh)
        changed.publish()
    """

    def __init__(self) -> None:
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Call ``subscriber`` from now on."""
        self._subscribers.append(subscriber)

    def publish(self) -> None:
        """Call all subscribers."""
        for subscriber in list(self._subscribers):
            subscriber()
