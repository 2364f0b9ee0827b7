"""A process that writes the record from many threads and says what was confirmed: one number a line, until killed."""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

from audit_kit import event
from mahtai.db.engine import Database
from mahtai.security.audit.trail import AuditTrail

THREADS = 50


def main(url: str, root: str, name: str, first: int, count: int) -> None:
    """Write entries from ``first`` on, ``count`` of them, or for ever if that is 0."""
    database = Database(url)
    trail = AuditTrail(database, Path(root) / "config", Path(root) / "data" / "secrets", name)
    trail.start()
    numbers = itertools.count(first) if count == 0 else iter(range(first, first + count))
    lock = threading.Lock()

    def write() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            trail.record_now(event(number))
            with lock:
                print(number, flush=True)

    threads = [threading.Thread(target=write) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
