"""The server is killed with -9 at random moments while jobs run and labels are saved. Nothing accepted is lost.

``MAHTAI_KILL_ROUNDS`` (3 by default) says how often, ``MAHTAI_KILL_SEED`` which moments.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from server_process import ServerProcess, finished, put_volume, sha256, start_job, wait_until
from studies import FAST, SLOW, TASK, label_file, synthetic_study
from test_cases_labels import FIRST

ROUNDS = int(os.environ.get("MAHTAI_KILL_ROUNDS", "3"))
SEED = int(os.environ.get("MAHTAI_KILL_SEED", "0"))
LARGEST_BACKLOG = 3
LONGEST_LIFE_S = 4.0


@dataclass
class Accepted:
    """What the server has said yes to, and what was on the way when it died."""

    study: dict[str, str]
    case: str
    jobs: list[str] = field(default_factory=list)
    volumes: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    unanswered: dict[str, bytes] = field(default_factory=dict)


class Life:
    """One life of the server with three clients at work, from its start to its sudden end."""

    def __init__(self, server: ServerProcess, accepted: Accepted, chance: random.Random) -> None:
        self.server = server
        self.accepted = accepted
        self.chance = chance
        self.over = threading.Event()
        self.faults: list[BaseException] = []

    def run(self, seconds: float) -> None:
        """Let the clients work for so long, then kill."""
        seeds = [self.chance.randrange(2**32) for _ in range(3)]
        works = (self.ask_for_jobs, self.save_labels, self.upload_volumes)
        threads = [
            threading.Thread(target=self.work, args=(work, seed)) for work, seed in zip(works, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.server.kill()
        self.over.set()
        for thread in threads:
            thread.join(timeout=60)
        assert not self.faults, self.faults

    def work(self, work: Callable[[httpx.Client, random.Random], None], seed: int) -> None:
        """One client: again and again until the server is gone."""
        chance = random.Random(seed)
        try:
            with self.server.client() as client:
                while not self.over.is_set():
                    work(client, chance)
        except httpx.TransportError:
            pass  # the server was killed
        except BaseException as fault:
            self.faults.append(fault)
            raise

    def ask_for_jobs(self, client: httpx.Client, chance: random.Random) -> None:
        """Start a job, unless some are waiting already; look at one."""
        unfinished = [
            job
            for job in self.accepted.jobs[-LARGEST_BACKLOG:]
            if client.get(f"/v1/inferences/{job}").json()["state"] in ("queued", "running")
        ]
        if len(unfinished) < LARGEST_BACKLOG:
            options = chance.choice((FAST, SLOW))
            job = start_job(client, "tiny", self.accepted.study, options=options, rerun=True)["id"]
            self.accepted.jobs.append(job)
        self.over.wait(chance.uniform(0, 0.3))

    def save_labels(self, client: httpx.Client, chance: random.Random) -> None:
        """Save a version; remember it as on the way before, and as accepted after the answer."""
        first = chance.randrange(2, 20)
        data = label_file([(first, first + chance.randrange(1, 20))])
        key = str(UUID(int=chance.getrandbits(128), version=4))
        self.accepted.unanswered[key] = data
        version = save_label(client, self.accepted.case, data, key)
        self.accepted.labels[version["id"]] = (version, data)
        del self.accepted.unanswered[key]

    def upload_volumes(self, client: httpx.Client, chance: random.Random) -> None:
        """Send a new volume."""
        data = synthetic_study(chance.randrange(2**31))["t1"]
        self.accepted.volumes[put_volume(client, data)] = data


def save_label(client: httpx.Client, case: str, data: bytes, key: str) -> dict[str, Any]:
    """Upload and save, as a client does that may have to do it again."""
    wanted = {"segmentation": put_volume(client, data), "author": "reader", "role": "annotator", "client_key": key}
    answer = client.post(f"/v1/cases/{case}/labels", json=wanted, headers=FIRST)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


@contextmanager
def counted(name: str, record: Callable[[str, object], None]) -> Iterator[None]:
    """Note how long something took."""
    started = time.monotonic()
    yield
    record(name, round(time.monotonic() - started, 2))


@pytest.mark.timeout(120 + 90 * ROUNDS)
def test_nothing_that_was_accepted_is_lost(
    start_server: Callable[..., ServerProcess], record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)
    server = start_server()
    with server.client() as client:
        study = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
        wanted = {"name": "Case 1", "task": TASK, "volumes": study}
        accepted = Accepted(study, client.post("/v1/cases", json=wanted).json()["id"])
    slowest_start = server.seconds_to_listen
    for _ in range(ROUNDS):
        if chance.random() < 0.75:  # the other moments lie in the engine's start
            wait_for_engine(server)
        Life(server, accepted, chance).run(chance.uniform(0.0, LONGEST_LIFE_S))
        server.start()
        slowest_start = max(slowest_start, server.seconds_to_listen)
    with server.client() as client, counted("seconds to finish what was left", record_property):
        states = [check_job(client, job) for job in accepted.jobs]
        check_labels(client, accepted)
        for data in accepted.volumes.values():
            assert client.get(f"/v1/volumes/{sha256(data)}").content == data
    check_tables(server)
    check_engines(server)
    for name, value in {
        "rounds": ROUNDS,
        "jobs by their end": dict(Counter(states)),
        "label versions": len(accepted.labels),
        "volumes": len(accepted.volumes),
        "slowest start": round(slowest_start, 2),
    }.items():
        record_property(name, value)
        print(f"{name}: {value}")


def wait_for_engine(server: ServerProcess) -> None:
    """Until the engine could run a job."""
    with server.client() as client:
        wait_until(lambda: client.get("/readyz").json()["engine"]["state"] in ("ready", "busy"), 120, "the engine")


def check_job(client: httpx.Client, job: str) -> str:
    """An accepted job is finished and whole, or failed and says why; returns which, with the kind of failure."""
    end = finished(client, job, 300)
    if end["state"] == "failed":
        assert end["reason"] and end["hint"] and end["kind"], end
        return f"failed, {end['kind']}"
    assert end["state"] == "succeeded", end
    result = client.get(f"/v1/inferences/{job}/result").json()
    for name in ("segmentation", "confidence"):
        assert sha256(client.get(f"/v1/inferences/{job}/result/{name}").content) == result[name]["sha256"]
    return "succeeded"


def check_labels(client: httpx.Client, accepted: Accepted) -> None:
    """Every accepted version is there as it was said to be; one on the way is there whole or not at all."""
    path = f"/v1/cases/{accepted.case}/labels"
    listed = {version["id"]: version for version in client.get(path).json()["labels"]}
    for version, data in accepted.labels.values():
        assert listed[version["id"]] == version
        assert client.get(f"{path}/{version['id']}/content").content == data
    assert sorted(version["number"] for version in listed.values()) == list(range(1, len(listed) + 1))
    for key, data in accepted.unanswered.items():
        version = save_label(client, accepted.case, data, key)
        assert client.get(f"{path}/{version['id']}/content").content == data
    after = client.get(path).json()["labels"]
    assert len(after) == len(accepted.labels) + len(accepted.unanswered)
    for version in after:
        assert sha256(client.get(f"{path}/{version['id']}/content").content) == version["segmentation"]


def check_tables(server: ServerProcess) -> None:
    """SQLite finds nothing wrong with its files."""
    for name in ("mahtai.sqlite", "jobs.sqlite"):
        with closing(sqlite3.connect(server.data / name)) as tables:
            assert tables.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert tables.execute("PRAGMA foreign_key_check").fetchall() == []


def check_engines(server: ServerProcess) -> None:
    """Of all engines that were started, only the last one is alive."""
    alive = [pid for pid in server.engine_pids()[:-1] if psutil.pid_exists(pid) and is_engine(pid)]
    assert alive == []


def is_engine(pid: int) -> bool:
    """Whether the process number still stands for an engine."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "mahtai.jobs.engine_process" in process.cmdline()
    except psutil.Error:
        return False
