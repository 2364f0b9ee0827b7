"""Two servers and a worker that share PostgreSQL and a data folder: every job is done once, whoever dies.

The tests of a module share the processes, in order; each leaves all of them running.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from fleet_kit import FleetKit, signal_server
from mahtai.jobs.fleet import SILENT_S
from postgresql import PostgreSQL
from server_process import (
    finished,
    job_state,
    put_volume,
    server_events,
    sha256,
    start_job,
    wait_until,
)
from studies import FAST, SLOW, synthetic_study
from test_api_access import problem
from test_api_inferences import upload_study

Record = Callable[[str, object], None]

LONG_SHAPE = (80, 80, 80)
"""Of a study on which a job with ``SLOW`` runs for several seconds."""


@pytest.fixture(scope="module")
def fleet(postgresql: PostgreSQL, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetKit]:
    """Servers ``a`` and ``b`` and worker ``w``."""
    kit = FleetKit(tmp_path_factory.mktemp("fleet"), postgresql.new_database(), (models,))
    try:
        kit.server("a")
        kit.server("b")
        kit.worker("w")
        kit.warm("a", "b")
        yield kit
    finally:
        kit.end()


@pytest.fixture
def clients(fleet: FleetKit) -> Iterator[dict[str, httpx.Client]]:
    """A client of each server."""
    with fleet.members["a"].client() as a, fleet.members["b"].client() as b:
        yield {"a": a, "b": b}


def long_job(client: httpx.Client, seed: int, shape: tuple[int, int, int] = LONG_SHAPE) -> str:
    """A job that runs for some seconds."""
    inputs = {channel: put_volume(client, data) for channel, data in synthetic_study(seed, shape).items()}
    return str(start_job(client, "tiny", inputs, options=SLOW)["id"])


def predicting(client: httpx.Client, job: str) -> None:
    """Wait until the network is at work, wherever that is."""
    wait_until(lambda: job_state(client, job)["stage"] == "predicting", 60, "the job to run")


def in_the_middle(fleet: FleetKit, jobs: list[str], names: str) -> dict[str, str] | None:
    """By server, the job that it is not through with; None unless all of these are at one."""
    found = fleet.ask(
        "SELECT owner, id FROM inferences WHERE stage = 'predicting' AND fraction < 0.8 AND state = %s", "running"
    )
    at_work = {owner: job for owner, job in found if job in jobs}
    return at_work if set(names) <= set(at_work) else None


def whole(client: httpx.Client, job: str) -> None:
    """The job has succeeded, and its files are what it says."""
    end = finished(client, job)
    assert end["state"] == "succeeded", end
    result = client.get(f"/v1/inferences/{job}/result").json()
    for name in ("segmentation", "confidence"):
        assert sha256(client.get(f"/v1/inferences/{job}/result/{name}").content) == result[name]["sha256"]


def other(name: str) -> str:
    """The server that it is not."""
    return "b" if name == "a" else "a"


def test_thirty_jobs_over_two_servers_are_each_done_once(
    fleet: FleetKit, clients: dict[str, httpx.Client], record_property: Record
) -> None:
    started = time.monotonic()
    jobs = []
    for number in range(30):
        client = clients["ab"[number % 2]]
        # every third one is asked for twice, at both servers
        inputs = upload_study(client, 1000 + number)
        jobs.append(start_job(client, "tiny", inputs, options=FAST)["id"])
        if number % 3 == 0:
            assert start_job(clients["ba"[number % 2]], "tiny", inputs, options=FAST)["id"] == jobs[-1]
    for number, job in enumerate(jobs):
        whole(clients["ba"[number % 2]], job)
    states = [fleet.state(job) for job in jobs]
    assert {(state, starts) for _, state, starts in states} == {("succeeded", 1)}
    assert fleet.ask("SELECT count(*) FROM inferences")[0][0] == 30
    done_by = Counter(owner for owner, _, _ in states)
    record_property("jobs by server", dict(done_by))
    record_property("seconds for 30 jobs", round(time.monotonic() - started, 1))
    print(dict(done_by), f"{time.monotonic() - started:.1f} s")


def test_jobs_that_wait_for_a_busy_server_are_done_by_the_idle_ones(
    fleet: FleetKit, clients: dict[str, httpx.Client]
) -> None:
    fleet.warm("w")
    jobs = [long_job(clients["a"], 2000 + number) for number in range(6)]
    for job in jobs:
        whole(clients["a"], job)
    assert {fleet.owner(job) for job in jobs} == {"a", "b", "w"}


def test_progress_events_and_the_coarse_result_come_from_wherever_the_job_runs(
    fleet: FleetKit, clients: dict[str, httpx.Client]
) -> None:
    job = long_job(clients["a"], 2100, (96, 96, 96))  # long enough for a coarse result
    assert fleet.owner(job) == "a"
    events, coarse = [], b""
    for name, data in server_events(clients["b"], job):
        events.append((name, data))
        if data["preview"] and not coarse:
            coarse = clients["a"].get(f"/v1/inferences/{job}/preview").content
            assert clients["b"].get(f"/v1/inferences/{job}/preview").content == coarse
    assert coarse.startswith(b"NRRD")
    assert events[-1][0] == "done" and events[-1][1]["state"] == "succeeded"
    fractions = [data["fraction"] for name, data in events if data["stage"] == "predicting"]
    assert fractions == sorted(fractions) and len(set(fractions)) > 1


def test_a_job_is_cancelled_from_another_server(fleet: FleetKit, clients: dict[str, httpx.Client]) -> None:
    job = long_job(clients["a"], 2200)
    predicting(clients["b"], job)
    owner = fleet.owner(job)
    asked = time.monotonic()
    assert clients[other(owner)].delete(f"/v1/inferences/{job}").json()["state"] == "cancelled"
    assert job_state(clients["a"], job)["state"] == job_state(clients["b"], job)["state"] == "cancelled"
    if owner in clients:
        client = clients[owner]
        wait_until(lambda: client.get("/readyz").json()["engine"]["state"] == "ready", 5, "the engine to be free")
    print(f"cancelled elsewhere within {time.monotonic() - asked:.2f} s")
    following = start_job(clients["a"], "tiny", upload_study(clients["a"], 2201), options=FAST)["id"]
    whole(clients["b"], following)
    assert fleet.state(job)[1] == "cancelled"


def test_while_the_database_is_away_jobs_go_on_and_requests_say_so(
    postgresql: PostgreSQL, fleet: FleetKit, clients: dict[str, httpx.Client]
) -> None:
    client = clients["a"]
    running = long_job(client, 2400)
    predicting(client, running)
    owner = fleet.owner(running)
    postgresql.stop()
    try:
        told = problem(client.get(f"/v1/inferences/{running}"), 503, "database")
        assert told["hint"]
        problem(client.post("/v1/inferences", json={"model": "tiny", "inputs": {}}), 422, "channel")
        assert client.get("/readyz").json()["database"] == "no answer"
        time.sleep(5.0)  # the engine has ended its work by now
    finally:
        postgresql.start()
    wait_until(lambda: client.get("/readyz").json()["database"] == "ok", 30, "the database")
    whole(clients["b"], running)
    assert fleet.state(running) == (owner, "succeeded", 1)
    following = start_job(clients["b"], "tiny", upload_study(clients["b"], 2401), options=FAST)["id"]
    whole(client, following)


def test_a_killed_and_a_stopped_process_lose_their_jobs_and_the_stopped_one_cannot_publish(
    fleet: FleetKit, clients: dict[str, httpx.Client], record_property: Record
) -> None:
    client = clients["b"]
    jobs: list[str] = []

    def all_at_work() -> dict[str, str] | None:
        if fleet.ask("SELECT count(*) FROM inferences WHERE state IN ('queued', 'running')")[0][0] < 4:
            jobs.append(long_job(client, 2500 + len(jobs)))
        return in_the_middle(fleet, jobs, "abw")

    at_work = wait_until(all_at_work, 120, "all to be at work")
    left = {name: at_work[name] for name in "aw"}
    signal_server(fleet.members["w"], signal.SIGSTOP)
    fleet.members["a"].kill()
    lost = time.monotonic()
    try:
        taken_s = {}
        for name, job in left.items():
            wait_until(lambda name=name, job=job: fleet.owner(job) != name, 30, "the take-over")  # type: ignore[misc]
            taken_s[name] = round(time.monotonic() - lost, 1)
        for job in jobs:
            whole(client, job)
    finally:
        signal_server(fleet.members["w"], signal.SIGCONT)
    print(f"taken over after {taken_s} s, all done after {time.monotonic() - lost:.1f} s")
    record_property("seconds to the take-over", taken_s)
    assert min(taken_s.values()) > SILENT_S / 2, "nobody is taken for dead at once"
    published = {job: job_state(client, job) for job in jobs}
    # it learns of its loss when it looks at the table, or when it has its result written down: whichever comes first
    learnt = (f"the result of inference {left['w']} is not wanted", f"inference {left['w']} was ended elsewhere")
    wait_until(lambda: any(words in fleet.members["w"].log for words in learnt), 30, "the stopped one to know")
    assert {job: job_state(client, job) for job in jobs} == published
    assert {fleet.state(job) for job in left.values()} == {("b", "succeeded", 2)}
    recorded = {row[0] for row in fleet.ask("SELECT sha256 FROM volumes")}
    stored = {path.name for path in (fleet.root / "shared" / "blobs").glob("??/??/*")}
    assert stored == recorded, "every row has its file, and what was not published is gone"
    fleet.server("a")


def test_a_process_that_ends_in_good_order_leaves_its_jobs_to_the_others_at_once(
    fleet: FleetKit, clients: dict[str, httpx.Client]
) -> None:
    job = long_job(clients["b"], 2700)
    predicting(clients["a"], job)
    assert fleet.owner(job) == "b"
    fleet.members["b"].stop()
    wait_until(lambda: fleet.owner(job) != "b", SILENT_S / 2, "another one to take the job")
    whole(clients["a"], job)
    assert fleet.state(job)[2] == 1, "a start that was put back does not count"
    fleet.server("b")
