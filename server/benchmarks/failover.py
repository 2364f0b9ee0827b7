"""How long a job is nobody's after the process that ran it was killed: two servers and a worker on PostgreSQL.

    PYTHONPATH=server:MahtAI:server/tests python server/benchmarks/failover.py --rounds 20

Every round keeps all three at work with long jobs, kills -9 one of them at random in the middle of its job, waits until
another one has taken the job and finished it, and starts the killed one again. PostgreSQL and the network are the
tests' (``server/tests/postgresql.py``, ``tiny_bundle.py``). Prints a table; nothing accepted may be lost or done twice.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from fleet_kit import FleetKit
from postgresql import PostgreSQL, find_programs
from server_process import finished, put_volume, start_job, wait_until
from studies import SLOW, synthetic_study
from tiny_bundle import write_tiny_bundle

NAMES = ("a", "b", "w")
SHAPE = (96, 96, 96)
LIMIT_S = 120.0


@dataclass(frozen=True)
class Round:
    """Seconds from the kill until another one had the job, and until its result was there."""

    victim: str
    taken_s: float
    finished_s: float


def main() -> None:
    """Run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    programs = find_programs()
    if programs is None:
        raise SystemExit("There is no PostgreSQL. Install server/requirements-test.txt or the package postgresql.")
    cluster = PostgreSQL(programs).start()
    with tempfile.TemporaryDirectory(prefix="mahtai-failover-") as folder:
        kit = FleetKit(
            Path(folder), cluster.new_database(), (write_tiny_bundle(Path(folder) / "models" / "tiny").parent,)
        )
        try:
            rounds, jobs = run(kit, arguments.rounds, random.Random(arguments.seed))
            figures = {"rounds": [asdict(item) for item in rounds], "jobs": count(kit, jobs)}
        finally:
            kit.end()
            cluster.remove()
    show(rounds, figures["jobs"])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def run(kit: FleetKit, count: int, chance: random.Random) -> tuple[list[Round], list[str]]:
    """All rounds, and all jobs that were accepted."""
    kit.server("a")
    kit.server("b")
    kit.worker("w")
    kit.warm(*NAMES)
    rounds, jobs = [], []
    for number in range(count):
        victim = chance.choice(NAMES)
        with kit.members["b" if victim == "a" else "a"].client() as client:
            inputs = {slot: put_volume(client, data) for slot, data in synthetic_study(number, SHAPE).items()}
            batch = [start_job(client, "tiny", inputs, options=SLOW, rerun=True)["id"] for _ in range(5)]
            jobs += batch
            rounds.append(one(kit, client, victim))
            for job in batch:
                finished(client, job, LIMIT_S)
        print(
            f"{number + 1:3} {rounds[-1].victim:3} {rounds[-1].taken_s:6.1f} s {rounds[-1].finished_s:6.1f} s",
            flush=True,
        )
        revive(kit, victim)
    return rounds, jobs


def revive(kit: FleetKit, victim: str) -> None:
    """Start the victim again, and wait for its engine."""
    before = len(kit.members[victim].engine_pids())
    (kit.worker if victim == "w" else kit.server)(victim)
    wait_until(lambda: len(kit.members[victim].engine_pids()) > before, LIMIT_S, "its engine")


def one(kit: FleetKit, client: httpx.Client, victim: str) -> Round:
    """Kill the victim in the middle of a job, and see what becomes of it."""

    def its_job() -> str | None:
        middle = "state = 'running' AND stage = 'predicting' AND fraction < 0.6"
        found = kit.ask(f"SELECT id FROM inferences WHERE owner = %s AND {middle}", victim)
        return str(found[0][0]) if found else None

    job = wait_until(its_job, LIMIT_S, f"{victim} to work")
    kit.members[victim].kill()
    killed = time.monotonic()
    wait_until(lambda: kit.owner(job) != victim, LIMIT_S, "the take-over")
    taken_s = time.monotonic() - killed
    finished(client, job, LIMIT_S)
    return Round(victim, round(taken_s, 2), round(time.monotonic() - killed, 2))


def count(kit: FleetKit, jobs: list[str]) -> dict[str, int]:
    """What became of the jobs that were accepted."""
    ends = dict(kit.ask("SELECT id, state FROM inferences"))
    return {
        "accepted": len(jobs),
        "succeeded": sum(ends.get(job) == "succeeded" for job in jobs),
        "lost": sum(job not in ends for job in jobs),
        "not accepted but there": len(ends) - len(set(jobs) & set(ends)),
        "begun more than once": kit.ask("SELECT count(*) FROM inferences WHERE starts > 1")[0][0],
    }


def show(rounds: list[Round], jobs: dict[str, int]) -> None:
    """The table."""
    print("\nafter the kill            fastest   median  slowest")
    for words, values in (
        ("another one has the job", [item.taken_s for item in rounds]),
        ("its result is there", [item.finished_s for item in rounds]),
    ):
        print(f"{words:24} {min(values):7.1f} s {statistics.median(values):6.1f} s {max(values):6.1f} s")
    print("  ".join(f"{words}: {number}" for words, number in jobs.items()))


if __name__ == "__main__":
    main()
