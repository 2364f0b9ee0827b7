"""How many requests one account or address may send: a token bucket each (RFC 2697 in spirit)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000
BURST_S = 2.0
"""So many seconds' worth of requests may come at once, as they do when a study is opened."""


class Rates:
    """Counts requests. Safe to use from several threads.

    Args:
        per_s: requests that each key may send a second, in the long run.
        clock: seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._size = max(per_s * BURST_S, 1.0)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float | None:
        """Count one request; None if it may pass, else the seconds after which the next one may."""
        now = self._clock()
        with self._lock:
            left, at = self._buckets.pop(key, (self._size, now))
            left = min(self._size, left + max(now - at, 0.0) * self._per_s)
            passes = left >= 1.0
            self._buckets[key] = (left - 1.0 if passes else left, now)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)  # whoever was silent for the longest time has a full one anyway
        return None if passes else (1.0 - left) / self._per_s
