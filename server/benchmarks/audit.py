"""What the record costs: entries a second alone and by 50 threads, what a request takes more, how fast it is verified.

    python server/benchmarks/audit.py [--url postgresql://…] [--rows 1000000] [-o FILE]

The cost a request is a ratio: the median of an uploaded volume's ``GET`` with MAHTAI_AUDIT=on over the same with off,
taken in turns on two servers.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVER = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SERVER), str(SERVER.parent / "MahtAI"), str(SERVER / "tests")]
sys.path.append(str(SERVER.parent / "MahtAI" / "Testing" / "Python"))

from mahtai.db.engine import Database  # noqa: E402
from mahtai.db.migrate import upgrade  # noqa: E402
from mahtai.security.audit.event import AuditEvent  # noqa: E402
from mahtai.security.audit.trail import AuditTrail  # noqa: E402
from mahtai.security.audit.verify import verify  # noqa: E402

EVENT = AuditEvent(
    "image-read",
    "R",
    "success",
    "reader",
    "radiologist",
    "10.0.0.7",
    "volume/" + "0" * 64,
    {"call": "GET /v1/volumes/{sha256}", "status": "200"},
)


def alone(trail: AuditTrail, count: int) -> dict[str, float]:
    """One entry after the other, each waited for."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        trail.record_now(EVENT)
        taken.append(time.perf_counter() - began)
    return {"per_s": round(count / sum(taken), 1), "median_ms": round(1000 * statistics.median(taken), 3)}


def crowd(trail: AuditTrail, threads: int, count: int) -> float:
    """Entries a second of so many threads, each of which waits for its own."""
    workers = [threading.Thread(target=lambda: [trail.record_now(EVENT) for _ in range(count)]) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(threads * count / (time.perf_counter() - began), 1)


def verification(trail: AuditTrail, check: Callable[[], Any], rows: int) -> dict[str, Any]:
    """Speed and largest memory of a verification of at least so many entries."""
    import resource

    pending = [trail.record(EVENT) for _ in range(min(rows, 10_000))]
    for written in range(0, rows, 10_000):
        for each in pending:
            each.result()
        pending = [trail.record(EVENT) for _ in range(10_000)] if written + 10_000 < rows else []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = check()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "entries": report.entries,
        "found": report.found,
        "per_s": round(report.entries / report.seconds),
        "more_memory_mib": round((after - before) / 1024, 1),
    }


def request_ratio(folder: Path, rounds: int) -> dict[str, float]:
    """Median time of reading a small volume with and without the record."""
    from server_process import ServerProcess, put_volume, sha256
    from studies import synthetic_study

    data = next(iter(synthetic_study().values()))
    servers = {name: ServerProcess(folder / name, environment={"audit": name}).start() for name in ("on", "off")}
    clients = {name: server.client() for name, server in servers.items()}
    taken: dict[str, list[float]] = {name: [] for name in servers}
    try:
        for client in clients.values():
            put_volume(client, data)
        for turn in range(rounds):
            for name in ("on", "off") if turn % 2 else ("off", "on"):
                began = time.perf_counter()
                clients[name].get(f"/v1/volumes/{sha256(data)}").raise_for_status()
                taken[name].append(time.perf_counter() - began)
    finally:
        for name, server in servers.items():
            clients[name].close()
            server.stop()
    on, off = (statistics.median(taken[name]) for name in ("on", "off"))
    return {"on_ms": round(1000 * on, 3), "off_ms": round(1000 * off, 3), "ratio": round(on / off, 3)}


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", help="An empty PostgreSQL database (default: SQLite in a temporary folder).")
    parser.add_argument("--rows", type=int, default=100_000, help="Entries to verify.")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        database = Database(options.url or f"sqlite:///{folder / 'tables.sqlite'}")
        upgrade(database)
        trail = AuditTrail(database, folder / "config", folder / "secrets", "benchmark")
        trail.start()
        result = {
            "machine": platform.platform(),
            "database": "sqlite" if database.is_sqlite else "postgresql",
            "alone": alone(trail, 500),
            "threads_50_per_s": crowd(trail, 50, 100),
            "verify": verification(
                trail, lambda: verify(database, folder / "config", folder / "secrets"), options.rows
            ),
        }
        trail.stop()
        database.close()
        if options.requests:
            result["request"] = request_ratio(folder, options.requests)
    print(json.dumps(result, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
