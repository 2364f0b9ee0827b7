"""Training as a job of a real server: beside inference, cancelled, killed, gone on with after a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from learning_kit import Clinic, clinic
from mahtai.data_folder import DataFolder, DataFolderInUse
from mahtai.training.training_folder import TrainingFolder, is_running
from server_process import ServerProcess, finished, start_job, wait_until
from studies import FAST
from test_api_access import problem

LONG = 30.0
"""Minutes that no test waits for."""


@pytest.fixture
def hospital(tmp_path: Path) -> Clinic:
    """A data folder with cases to learn from."""
    where = clinic(tmp_path)
    for seed in (1, 2):
        where.case(seed, "train")
    where.case(10, "test")
    return where


@pytest.fixture
def server(tmp_path: Path, hospital: Clinic) -> Iterator[ServerProcess]:
    """A server of that folder."""
    process = ServerProcess(tmp_path, hospital.settings.models_path).start()
    yield process
    if process.process is not None and process.process.poll() is None:
        process.kill()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of it."""
    with server.client() as connected:
        yield connected


def begin(client: httpx.Client, minutes: float = LONG) -> str:
    """A training that learns already."""
    answer = client.post("/v1/trainings", json={"model": "tiny", "minutes": minutes})
    assert answer.status_code == 202, answer.text
    training = str(answer.json()["id"])
    assert answer.headers["location"] == f"/v1/trainings/{training}"
    reach(client, training, "training")
    return training


def look(client: httpx.Client, training: str) -> dict[str, Any]:
    """How it stands."""
    answer = client.get(f"/v1/trainings/{training}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def reach(client: httpx.Client, training: str, stage: str) -> None:
    """Wait until a training has come so far."""

    def there() -> bool:
        now = look(client, training)
        assert now["state"] == "running", now
        return bool(now["stage"] == stage)

    wait_until(there, 120, f"the stage {stage}")


def ended(client: httpx.Client, training: str, seconds: float = 120) -> dict[str, Any]:
    """The training at its end."""

    def over() -> dict[str, Any] | None:
        now = look(client, training)
        return now if now["state"] != "running" else None

    return wait_until(over, seconds, "the training to end")


def process_of(training: str) -> psutil.Process:
    """The process that trains."""
    found = [
        process
        for process in psutil.process_iter(["cmdline"])
        if training in (process.info["cmdline"] or []) and "--attended" in process.info["cmdline"]
    ]
    return min(found, key=lambda process: process.create_time())


def infer(client: httpx.Client) -> dict[str, Any]:
    """A finished inference of a case."""
    volumes = client.get("/v1/cases").json()["cases"][0]["volumes"]
    return finished(client, start_job(client, "tiny", volumes, options=FAST, rerun=True)["id"])


def test_a_training_makes_a_version_while_readers_go_on(client: httpx.Client) -> None:
    before = infer(client)
    training = begin(client, minutes=0.05)
    problem(client.post("/v1/trainings", json={"model": "tiny", "minutes": 1}), 409, "training-runs")
    during = infer(client)
    assert during["state"] == "succeeded" and during["model_sha256"] == before["model_sha256"]
    done = ended(client, training)
    assert (done["state"], done["version"], done["promoted"]) == ("succeeded", "tiny@1", False), done
    assert "at least 5 test cases" in done["reason"]
    shown = client.get("/v1/models/tiny/versions").json()
    assert [version["version"] for version in shown["versions"]] == ["tiny@0", "tiny@1"]
    assert shown["active"] == "tiny@0" and shown["versions"][1]["lineage"]["training"] == training
    assert len(shown["versions"][1]["comparison"]["tests"]) == 1
    assert client.get("/v1/trainings").json()["trainings"] == [done]
    assert client.get("/v1/models/tiny@1").json()["version"] == "0.0.1+cases.1"


def test_killing_a_training_hurts_nothing_and_it_can_be_gone_on_with(client: httpx.Client, hospital: Clinic) -> None:
    training = begin(client)
    process = process_of(training)
    if os.name == "posix":
        assert process.nice() == 10
    process.kill()
    assert ended(client, training)["state"] == "interrupted"
    assert infer(client)["state"] == "succeeded"
    assert client.get("/v1/models/tiny/versions").json()["active"] == "tiny@0"
    assert client.post(f"/v1/trainings/{training}/resumption").status_code == 202
    reach(client, training, "training")
    cancelled = client.delete(f"/v1/trainings/{training}").json()
    assert cancelled["state"] == "cancelled", cancelled
    assert not is_running(hospital.settings.trainings_dir)
    assert client.delete(f"/v1/trainings/{training}").json()["state"] == "cancelled"
    assert infer(client)["state"] == "succeeded"


def test_a_training_ends_with_its_server_and_goes_on_after_a_restart(
    server: ServerProcess, hospital: Clinic, tmp_path: Path
) -> None:
    with server.client() as client:
        training = begin(client)
    folder = TrainingFolder(hospital.settings.trainings_dir, training)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)  # the server alone; its training has to notice
    server.process.wait()
    wait_until(lambda: not folder.is_held, 30, "the training to end with its server")
    server.start()
    with server.client() as client:
        assert look(client, training)["state"] == "interrupted"
        answer = client.post(f"/v1/trainings/{training}/resumption")
        assert answer.status_code == 202 and answer.json()["state"] == "running"
        reach(client, training, "training")
    server.stop()
    assert folder.state == "interrupted"


def test_what_cannot_be_trained_is_refused(client: httpx.Client) -> None:
    problem(client.post("/v1/trainings", json={"model": "nobody", "minutes": 1}), 404, "unknown-model")
    for wrong in ({"minutes": 0}, {"minutes": -1}, {"minutes": 1e9}, {"data": "/etc"}, {"minutes": "1"}):
        problem(client.post("/v1/trainings", json={"model": "tiny", **wrong}), 422, "invalid-request")
    for training in ("nobody", "0" * 36, "..%2f..", "%00", "a" * 500):
        assert client.get(f"/v1/trainings/{training}").status_code == 404
        assert client.delete(f"/v1/trainings/{training}").status_code == 404
        assert client.post(f"/v1/trainings/{training}/resumption").status_code == 404
    assert client.get("/v1/trainings").json() == {"trainings": []}


def test_with_nothing_approved_the_training_says_what_to_do(tmp_path: Path) -> None:
    where = clinic(tmp_path)
    server = ServerProcess(tmp_path, where.settings.models_path).start()
    try:
        with server.client() as client:
            answer = client.post("/v1/trainings", json={"model": "tiny", "minutes": 1})
            done = ended(client, answer.json()["id"])
            assert done["state"] == "failed" and "may be learnt from" in done["reason"]
            assert "second reader" in done["hint"]
    finally:
        server.kill()


@pytest.mark.skipif(os.name != "posix", reason="fork")
def test_a_forked_process_holds_no_folder_when_its_parent_has_let_go(tmp_path: Path) -> None:
    with DataFolder(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
        with pytest.raises(DataFolderInUse), DataFolder(tmp_path):
            pass
    try:
        wait_until(lambda: can_be_held(tmp_path), 10, "the folder")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def can_be_held(folder: Path) -> bool:
    """Whether nobody has it."""
    try:
        with DataFolder(folder):
            return True
    except DataFolderInUse:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a service of the Linux kernel")
@pytest.mark.parametrize("sooner", [False, True], ids=["ends later", "has ended"])
def test_a_worker_ends_with_its_parent_however_soon_that_ends(tmp_path: Path, sooner: bool) -> None:
    program = (
        "import os, sys, time; from mahtai.parent import end_with_parent\n"
        "parent = os.getpid()\n"
        "if os.fork():\n"
        f"    time.sleep({0 if sooner else 1}); os._exit(0)\n"
        f"time.sleep({1 if sooner else 0}); open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "end_with_parent(parent); time.sleep(60)\n"
    )
    file = tmp_path / "pid"
    roots = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, env={**os.environ, "PYTHONPATH": roots})
    worker = int(wait_until(lambda: file.exists() and file.read_text(), 10, "the worker") or 0)
    wait_until(lambda: not psutil.pid_exists(worker), 10, "the worker to end")
