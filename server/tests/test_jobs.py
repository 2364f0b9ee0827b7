"""Jobs under stress: cancelled, killed, starved, stopped in the middle. None is lost, and the next one works."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from contextlib import closing

import httpx
import numpy as np
import psutil
import pytest

from MahtAILib.client import nrrd
from server_process import (
    ServerProcess,
    StartServer,
    finished,
    job_state,
    put_volume,
    server_events,
    start_job,
    wait_until,
)
from studies import FAST, SLOW, affine
from test_api_access import problem
from test_api_inferences import upload_study

posix_only = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses a service of the Linux kernel")


def running(client: httpx.Client, job: str) -> None:
    """Wait until the engine is in the middle of the network's work."""
    wait_until(lambda: job_state(client, job)["stage"] == "predicting", 60, "the job to run")


def slow_job(client: httpx.Client, seed: int) -> str:
    """A job that runs for some seconds, and runs already."""
    job = str(start_job(client, "tiny", upload_study(client, seed), options=SLOW)["id"])
    running(client, job)
    return job


def works(client: httpx.Client, seed: int) -> None:
    """The next job after a mishap."""
    job = start_job(client, "tiny", upload_study(client, seed), options=FAST)["id"]
    end = finished(client, job)
    assert end["state"] == "succeeded", end


def engine_pid(server: ServerProcess) -> int:
    """The present engine's process."""
    with server.client() as client:
        wait_until(lambda: client.get("/readyz").json()["engine"]["state"] != "starting", 60, "the engine")
    return server.engine_pids()[-1]


def test_a_running_job_is_cancelled_within_two_seconds_and_the_next_one_runs(client: httpx.Client) -> None:
    job = slow_job(client, 101)
    started = time.monotonic()
    assert client.delete(f"/v1/inferences/{job}").json()["state"] == "cancelled"
    following = start_job(client, "tiny", upload_study(client, 102), options=FAST)["id"]
    wait_until(lambda: job_state(client, following)["state"] != "queued", 60, "the next job to begin")
    assert time.monotonic() - started < 2.0
    assert finished(client, following)["state"] == "succeeded"
    assert job_state(client, job)["state"] == "cancelled"


@posix_only
def test_an_engine_that_does_not_obey_is_replaced_within_two_seconds(
    client: httpx.Client, server: ServerProcess
) -> None:
    job = slow_job(client, 103)
    engine = psutil.Process(engine_pid(server))
    engine.suspend()
    started = time.monotonic()
    client.delete(f"/v1/inferences/{job}")
    wait_until(lambda: not engine.is_running(), 10, "the engine to be ended")
    assert time.monotonic() - started < 2.0
    works(client, 104)


def test_a_waiting_job_is_cancelled_without_disturbing_the_others(client: httpx.Client) -> None:
    first = slow_job(client, 105)
    second = start_job(client, "tiny", upload_study(client, 106), options=FAST)["id"]
    third = start_job(client, "tiny", upload_study(client, 107), options=FAST)["id"]
    assert client.delete(f"/v1/inferences/{second}").json()["state"] == "cancelled"
    assert job_state(client, third)["place"] == 1
    assert finished(client, first)["state"] == "succeeded"
    assert finished(client, third)["state"] == "succeeded"
    assert [name for name, _ in server_events(client, second)] == ["done"]


def test_cancelling_a_finished_job_changes_nothing(client: httpx.Client) -> None:
    job = start_job(client, "tiny", upload_study(client, 108), options=FAST)["id"]
    end = finished(client, job)
    assert client.delete(f"/v1/inferences/{job}").json() == end
    problem(client.delete("/v1/inferences/nobody"), 404, "unknown-inference")


def test_a_cancelled_job_can_be_asked_for_again(client: httpx.Client) -> None:
    study = upload_study(client, 109)
    job = start_job(client, "tiny", study, options=SLOW)["id"]
    client.delete(f"/v1/inferences/{job}")
    again = start_job(client, "tiny", study, options=SLOW)["id"]
    assert again != job
    assert finished(client, again)["state"] == "succeeded"


@posix_only
def test_a_job_whose_engine_is_killed_fails_with_a_reason_and_the_next_one_works(
    client: httpx.Client, server: ServerProcess
) -> None:
    job = slow_job(client, 110)
    os.kill(engine_pid(server), signal.SIGKILL)
    end = finished(client, job, 10)
    assert (end["state"], end["kind"]) == ("failed", "engine-stopped")
    assert "memory" in end["reason"] and end["hint"]
    works(client, 111)


@posix_only
def test_an_engine_that_is_killed_while_idle_is_replaced(client: httpx.Client, server: ServerProcess) -> None:
    os.kill(engine_pid(server), signal.SIGKILL)
    works(client, 112)


@linux_only
def test_a_study_that_needs_too_much_memory_fails_with_a_reason_and_the_next_one_works(
    client: httpx.Client, server: ServerProcess
) -> None:
    import resource

    works(client, 113)
    engine = engine_pid(server)
    limit = psutil.Process(engine).memory_info().vms + (200 << 20)
    resource.prlimit(engine, resource.RLIMIT_AS, (limit, limit))
    large = np.random.default_rng(0).integers(1, 900, (192, 192, 160))
    study = {
        channel: put_volume(client, nrrd.encode((large + number).astype(np.int16), affine(1.0)))
        for number, channel in enumerate(("t1c", "t1", "t2", "flair"))
    }
    job = start_job(client, "tiny", study, options=FAST)["id"]
    end = finished(client, job)
    assert (end["state"], end["kind"]) == ("failed", "out-of-memory"), end
    assert end["hint"]
    works(client, 114)
    assert engine_pid(server) != engine, "the memory was not given back"


@posix_only
def test_an_engine_that_hangs_is_given_up(start_server: StartServer) -> None:
    server = start_server(environment={"engine_stall_s": "3"})
    with server.client() as client:
        job = slow_job(client, 115)
        psutil.Process(engine_pid(server)).suspend()
        end = finished(client, job, 20)
        assert (end["state"], end["kind"]) == ("failed", "engine-stalled")
        works(client, 116)


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_jobs_go_on_after_a_restart(start_server: StartServer, way: str) -> None:
    server = start_server()
    with server.client() as client:
        jobs = [slow_job(client, 117)]
        jobs += [start_job(client, "tiny", upload_study(client, seed), options=FAST)["id"] for seed in (118, 119)]
    if way == "stopped":
        server.stop()
    else:
        server.kill()
    server.start()
    with server.client() as client:
        ends = [finished(client, job) for job in jobs]
        assert [end["state"] for end in ends] == ["succeeded"] * 3, ends
        for job in jobs:
            assert client.get(f"/v1/inferences/{job}/result/segmentation").status_code == 200


def test_a_client_that_watches_does_not_keep_the_server_from_stopping(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        events = server_events(client, slow_job(client, 129))
        assert next(events)[0] == "progress"
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 10


def test_a_cancelled_job_stays_cancelled_after_a_restart(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        job = slow_job(client, 120)
        client.delete(f"/v1/inferences/{job}")
    server.kill()
    server.start()
    with server.client() as client:
        works(client, 121)
        assert job_state(client, job)["state"] == "cancelled"


def test_a_job_that_was_interrupted_too_often_is_reported_failed(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        job = slow_job(client, 122)
    server.kill()
    with closing(sqlite3.connect(server.data / "mahtai.sqlite")) as tables:
        tables.execute("UPDATE inferences SET starts = 3 WHERE id = ?", (job,))
        tables.commit()
    server.start()
    with server.client() as client:
        end = finished(client, job)
        assert (end["state"], end["kind"]) == ("failed", "interrupted")
        works(client, 123)


def test_a_job_without_a_workflow_is_found_and_done(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        job = slow_job(client, 124)
    server.kill()
    for name in ("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"):
        (server.data / name).unlink(missing_ok=True)
    server.start()
    with server.client() as client:
        assert finished(client, job)["state"] == "succeeded"


def test_a_full_line_asks_to_come_back_later(start_server: StartServer) -> None:
    server = start_server(environment={"max_waiting_jobs": "1"})
    with server.client() as client:
        job = slow_job(client, 125)
        study = upload_study(client, 126)
        answer = client.post("/v1/inferences", json={"model": "tiny", "inputs": study, "options": FAST})
        problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) > 0
        assert finished(client, job)["state"] == "succeeded"
        works(client, 126)


@linux_only
def test_no_engine_outlives_its_server(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        slow_job(client, 127)
    engine = psutil.Process(engine_pid(server))
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 2, "the engine to end")


def test_the_work_folder_is_empty_when_nothing_runs(client: httpx.Client, server: ServerProcess) -> None:
    works(client, 128)
    wait_until(lambda: not list((server.data / "work").glob("*")), 5, "the work folder to be emptied")


@linux_only
def test_pytorch_is_not_loaded_by_the_server_itself(server: ServerProcess) -> None:
    assert server.process is not None
    maps = psutil.Process(server.process.pid).memory_maps()
    assert not [entry.path for entry in maps if "torch" in entry.path]
