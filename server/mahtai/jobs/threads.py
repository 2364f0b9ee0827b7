"""A thread a job, for servers that share their tables: who has to work on what is known from the jobs' owners."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mahtai.jobs.inference import Claim
from mahtai.jobs.line import LineClosed

STOP_LIMIT_S = 5.0

_log = logging.getLogger(__name__)


class Threads:
    """Calls ``perform(job)`` for every begun claim, in a thread of its own.

    In the place of ``DurableWork``: its workflows would be a second record of who does what, which any server may
    pick up, beside the owners and claims of the jobs; and it waits without end for a database that is away, which
    a server that still answers must not.
    """

    def __init__(self, perform: Callable[[str], None]) -> None:
        self._perform = perform
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._failed: set[Claim] = set()

    def start(self) -> None:
        """Nothing has to be opened."""

    def begin(self, claim: Claim) -> None:
        """Start to work on a job."""
        thread = threading.Thread(target=self._work, args=(claim,), name=f"job-{claim.name}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def is_open(self, claim: Claim) -> bool | None:
        """False if the work on the job ended with an unexpected error; None if it may be begun."""
        with self._lock:
            return False if claim in self._failed else None

    def stop(self) -> None:
        """Wait a moment for those who put their jobs back."""
        deadline = time.monotonic() + STOP_LIMIT_S
        with self._lock:
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _work(self, claim: Claim) -> None:
        try:
            self._perform(claim.job)
        except LineClosed:
            pass  # it waits in the table for the next one
        except Exception:
            _log.exception("the work on inference %s ended unexpectedly", claim.job)
            with self._lock:
                self._failed.add(claim)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
