"""What faults cost: each is injected again and again into a real server in use; nothing accepted may be lost.

    PYTHONPATH=server:MahtAI python server/benchmarks/faults.py --rounds 10

Before every round the server accepts a scan, a label and a job, and in some the fault comes while a job runs. Then the
time is taken from the moment when the cause has gone (the disk has room again, the database is back, the server was
started again) until a scan is stored and a small job has its result; and everything that was ever accepted is asked
for: scans and labels by every byte, jobs by their end. Prints a table, or JSON with --json. Linux only: disks of their
own are mounted with unshare. The lost graphics card is a stand-in (``tests/lost_device``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mahtai.security.at_rest.master_key import new_key_file  # noqa: E402
from MahtAILib.client import nrrd  # noqa: E402
from postgresql import PostgreSQL, find_programs  # noqa: E402
from server_process import FINAL, ServerProcess, finished, job_state, put_volume, start_job, wait_until  # noqa: E402
from studies import FAST, SLOW, affine, label_file, synthetic_study  # noqa: E402
from test_cases import make_case  # noqa: E402
from test_disk_full import SmallDisk, own_file_system, possible  # noqa: E402
from test_faults import blob_of, damage, inside  # noqa: E402
from tiny_bundle import write_tiny_bundle  # noqa: E402

LOST_DEVICE = Path(__file__).resolve().parents[1] / "tests" / "lost_device"


@dataclass
class Ledger:
    """All that a server has accepted."""

    case: str = ""
    study: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, bytes] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    _seed: int = 0

    def accept(self, client: httpx.Client) -> None:
        """One more scan, label and job."""
        if not self.case:
            self.study = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
            self.case = str(make_case(client, self.study)["id"])
        data = self.new_scan()
        self.volumes[put_volume(client, data)] = data
        label = label_file([(self._seed % 20, self._seed % 20 + 5)])
        wanted = {"segmentation": put_volume(client, label), "author": "a", "role": "annotator"}
        saved = client.post(f"/v1/cases/{self.case}/labels", json=wanted, headers={"If-None-Match": "*"})
        assert saved.status_code in (200, 201), saved.text
        self.labels[saved.json()["id"]] = label
        self.jobs.append(start_job(client, "tiny", self.study, options=FAST, rerun=True)["id"])
        finished(client, self.jobs[-1])

    def slow_job(self, client: httpx.Client) -> str:
        """A job that is in the middle of the network's work."""
        self.jobs.append(start_job(client, "tiny", self.study, options=SLOW, rerun=True)["id"])
        wait_until(lambda: job_state(client, self.jobs[-1])["stage"] == "predicting", 60, "the job to run")
        return self.jobs[-1]

    def new_scan(self) -> bytes:
        """One that no server has seen."""
        self._seed += 1
        return synthetic_study(self._seed)["t1"]

    def recovered(self, client: httpx.Client) -> None:
        """Wait until a scan is stored and a job has its result."""

        def works() -> bool:
            try:
                data = self.new_scan()
                self.volumes[put_volume(client, data)] = data
                job = start_job(client, "tiny", self.study, options=FAST, rerun=True)["id"]
            except (AssertionError, httpx.TransportError):
                return False
            self.jobs.append(job)
            return bool(finished(client, job)["state"] == "succeeded")

        wait_until(works, 120, "the server to work again")

    def lost(self, client: httpx.Client) -> int:
        """How much of it is not there, or has no end."""
        missing = sum(client.get(f"/v1/volumes/{name}").content != data for name, data in self.volumes.items())
        path = f"/v1/cases/{self.case}/labels"
        missing += sum(client.get(f"{path}/{label}/content").content != data for label, data in self.labels.items())
        for job in self.jobs:
            state = finished(client, job)["state"]
            parts = state == "succeeded" and client.get(f"/v1/inferences/{job}/result/segmentation").status_code == 200
            missing += not (parts or state in FINAL[1:])
        return missing


Inject = Callable[[ServerProcess, httpx.Client, Ledger], float]
"""Injects the fault and takes its cause away; the moment (``time.monotonic``) when it had gone."""


def engine_killed(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The engine's process gets a SIGKILL in the middle of a job, which fails with a reason."""
    ledger.slow_job(client)
    os.kill(server.engine_pids()[-1], signal.SIGKILL)
    return time.monotonic()


def engine_hangs(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The engine's process stands still in the middle of a job; the time until that is noticed counts."""
    ledger.slow_job(client)
    began = time.monotonic()
    psutil.Process(server.engine_pids()[-1]).suspend()
    return began


def out_of_memory(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The engine may have no more memory than it has; a large study fails with a reason."""
    engine = server.engine_pids()[-1]
    limit = psutil.Process(engine).memory_info().vms + (200 << 20)
    resource.prlimit(engine, resource.RLIMIT_AS, (limit, limit))
    voxels = np.random.default_rng(len(ledger.jobs)).integers(1, 900, (192, 192, 160)).astype(np.int16)
    channels = ("t1c", "t1", "t2", "flair")
    study = {name: put_volume(client, nrrd.encode(voxels + place, affine(1.0))) for place, name in enumerate(channels)}
    ledger.jobs.append(start_job(client, "tiny", study, options=FAST)["id"])
    end = finished(client, ledger.jobs[-1])
    assert end["kind"] == "out-of-memory", end
    return time.monotonic()


def device_lost(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The next pass through the network finds no card; the job is done all the same."""
    began = time.monotonic()
    Path(server.environment["lost_device"]).write_text("1", "utf-8")
    ledger.jobs.append(start_job(client, "tiny", ledger.study, options=FAST, rerun=True)["id"])
    assert finished(client, ledger.jobs[-1])["state"] == "succeeded"
    return began


def server_killed(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The server and its engine get a SIGKILL in the middle of a job, which goes on after the start."""
    ledger.slow_job(client)
    server.kill()
    began = time.monotonic()
    server.start()
    return began


def disk_full(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """Not one byte is left; then there is room again."""
    small = SmallDisk(server)
    small.fill()
    refused = client.put(f"/v1/volumes/{'0' * 64}", content=ledger.new_scan())
    assert refused.status_code == 507, refused.text
    small.free()
    return time.monotonic()


def disk_read_only(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """The blobs cannot be written; then they can."""
    blobs = str(server.data / "blobs")
    inside(server, "mount", "--bind", blobs, blobs)
    inside(server, "mount", "-o", "remount,bind,ro", blobs)
    refused = client.put(f"/v1/volumes/{'0' * 64}", content=ledger.new_scan())
    assert refused.status_code == 507, refused.text
    inside(server, "umount", blobs)
    return time.monotonic()


def blob_damaged(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """One bit of a scan; the cause is gone when doctor has brought it back from a backup."""
    name = random.Random(len(ledger.jobs)).choice(list(ledger.volumes))
    damage(blob_of(server, name))
    answer = client.get(f"/v1/volumes/{name}")
    assert answer.status_code == 500, answer.status_code
    began = time.monotonic()
    mahtai(server, "doctor", "--repair", "--from", str(server.root / "now.mahtai"))
    return began


def database_damaged(server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
    """A third of its pages; the cause is gone when the backup has been restored into a new folder."""
    server.stop()
    file = server.data / "mahtai.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = b"\xa5" * (2 * len(content) // 3 - len(content) // 3)
    file.write_bytes(content)
    began = time.monotonic()
    server.data.rename(server.root / f"damaged-{len(ledger.jobs)}")
    mahtai(server, "restore", str(server.root / "now.mahtai"))
    server.start()
    return began


def mahtai(server: ServerProcess, *words: str) -> None:
    """Run a command on a server's folders."""
    subprocess.run(
        [sys.executable, "-m", "mahtai.cli", *words], env=server.variables(), check=True, capture_output=True
    )


FAULTS: dict[str, tuple[Inject, str]] = {
    "engine killed": (engine_killed, ""),
    "engine hangs (given up after 3 s)": (engine_hangs, ""),
    "out of memory": (out_of_memory, ""),
    "graphics card lost (stand-in)": (device_lost, "device"),
    "server killed": (server_killed, ""),
    "disk full": (disk_full, "disk"),
    "disk read-only": (disk_read_only, "disk"),
    "scan damaged, brought back": (blob_damaged, "key"),
    "database damaged, restored": (database_damaged, "key"),
}


@contextmanager
def server_for(needs: str, root: Path, models: Path) -> Iterator[ServerProcess]:
    """A running server as a fault needs it."""
    environment = {"engine_stall_s": "3", "min_free_bytes": "0"}
    root.mkdir(parents=True)
    more: tuple[Path, ...] = ()
    wrapper: tuple[str, ...] = ()
    if needs == "device":
        (root / "losses").write_text("0", "utf-8")
        environment["lost_device"], more = str(root / "losses"), (LOST_DEVICE,)
    elif needs == "disk":
        wrapper = own_file_system(root / "data")
    elif needs == "key":
        new_key_file(root / "key")
        environment["key_file"] = str(root / "key")
    server = ServerProcess(root, (models,), environment, wrapper=wrapper, more_path=more).start()
    try:
        yield server
    finally:
        server.kill()


def run(inject: Inject, server: ServerProcess, rounds: int, backs_up: bool) -> tuple[list[float], int]:
    """Seconds until the server worked again, and how much was lost."""
    ledger, seconds = Ledger(), []
    with server.client() as client:
        for _ in range(rounds):
            ledger.accept(client)
            if backs_up:
                (server.root / "now.mahtai").unlink(missing_ok=True)
                mahtai(server, "backup", str(server.root / "now.mahtai"))
            began = inject(server, client, ledger)
            ledger.recovered(client)
            seconds.append(time.monotonic() - began)
        return seconds, ledger.lost(client)


def database_away(root: Path, models: Path, rounds: int) -> tuple[list[float], int] | None:
    """PostgreSQL ends in the middle of a job and comes back; None where there is none."""
    programs = find_programs()
    if programs is None:
        return None
    cluster = PostgreSQL(programs).start()
    root.mkdir()
    server = ServerProcess(root, (models,), {"database_url": cluster.new_database()}).start()

    def inject(_server: ServerProcess, client: httpx.Client, ledger: Ledger) -> float:
        ledger.slow_job(client)
        cluster.stop()
        assert client.get(f"/v1/cases/{ledger.case}").status_code == 503
        cluster.start()
        return time.monotonic()

    try:
        return run(inject, server, rounds, False)
    finally:
        server.kill()
        cluster.remove()


def main() -> None:
    """Run all faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", help="name of one fault")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="mahtai-faults-") as folder:
        root = Path(folder)
        models = write_tiny_bundle(root / "models" / "tiny").parent
        for name, (inject, needs) in FAULTS.items():
            if arguments.only not in (None, name) or (needs == "disk" and not possible(root / "try")):
                continue
            with server_for(needs, root / name.replace(" ", "-"), models) as server:
                figures[name] = told(name, run(inject, server, arguments.rounds, needs == "key"))
        if arguments.only in (None, "database away"):
            away = database_away(root / "away", models, arguments.rounds)
            if away is not None:
                figures["database away"] = told("database away", away)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    sys.exit(any(one["lost"] for one in figures.values()))


def told(name: str, result: tuple[list[float], int]) -> dict[str, float]:
    """Print a line of the table, and give it as figures."""
    seconds, lost = result
    median, worst = statistics.median(seconds), max(seconds)
    print(f"{name:36}{len(seconds):5} times  lost {lost}  works again after {median:6.2f} s, at most {worst:6.2f} s")
    return {"times": len(seconds), "lost": lost, "median_s": round(median, 3), "worst_s": round(worst, 3)}


if __name__ == "__main__":
    main()
