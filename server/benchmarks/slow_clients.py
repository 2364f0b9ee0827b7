"""Latency of others while hostile clients hold connections: heads that trickle, and connections that say nothing.

Starts a server of its own:  python server/benchmarks/slow_clients.py
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from server_process import ServerProcess  # noqa: E402

HOSTILE = (0, 200, 500)
ROUNDS = 3
REQUESTS = 100
ATTACKER = "127.0.0.2"  # an address of its own, as on a network (Linux)


class Attack:
    """So many connections of which each sends a byte a second, or nothing; one that is cut comes again."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.cut = 0

    def __enter__(self) -> Attack:
        self._thread.start()
        time.sleep(2)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as stack:
            open_now = [self._connect(stack) for _ in range(self._count)]
            while not self._stop.wait(1):
                for number, connection in enumerate(open_now):
                    if number % 2:
                        continue  # half of them say nothing
                    try:
                        connection.send(b"X")
                    except OSError:
                        self.cut += 1
                        with suppress(OSError):
                            open_now[number] = self._connect(stack)

    def _connect(self, stack: ExitStack) -> socket.socket:
        return stack.enter_context(socket.create_connection(("127.0.0.1", self._port), 10, (ATTACKER, 0)))


def measure(server: ServerProcess) -> list[float]:
    """Milliseconds of requests, each over a connection of its own."""
    times = []
    for _ in range(REQUESTS):
        with httpx.Client(trust_env=False, timeout=30, headers={"Authorization": f"Bearer {server.token}"}) as client:
            started = time.perf_counter()
            client.get(f"{server.url}/v1/models").raise_for_status()
            times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    """Print median and 95th percentile for each number of hostile connections, taken in random order."""
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder)).start()
        try:
            measure(server)  # warm
            taken: dict[int, list[float]] = {count: [] for count in HOSTILE}
            cut = dict.fromkeys(HOSTILE, 0)
            for _ in range(ROUNDS):
                for count in random.sample(HOSTILE, len(HOSTILE)):
                    with Attack(server.port, count) as attack:
                        taken[count] += measure(server)
                    cut[count] += attack.cut
        finally:
            server.kill()
    for count, times in taken.items():
        figures = {
            "hostile": count,
            "requests": len(times),
            "median_ms": round(statistics.median(times), 2),
            "p95_ms": round(statistics.quantiles(times, n=20)[18], 2),
            "worst_ms": round(max(times), 2),
            "cut": cut[count],
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
