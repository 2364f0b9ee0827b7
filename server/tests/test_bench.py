"""The benchmark measures what it says, adds up, and takes no old result for a new one. No speed is judged here."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

import mahtai
from mahtai.volumes.formats import read_volume
from MahtAILib.client.connection import Connection
from server_process import ServerProcess
from studies import synthetic_study

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BUNDLE = Path(__file__).resolve().parents[2] / "models" / "brats_segresnet"
sys.path.append(str(BENCHMARKS))

from speed import monai_label, whole_way  # noqa: E402
from speed.agreement import agree, dice, worst  # noqa: E402
from speed.cases import Case  # noqa: E402
from speed.figures import ratios  # noqa: E402
from speed.kinds import KINDS, round_of_ours  # noqa: E402
from speed.peers import PeerRun, plain_monai  # noqa: E402
from speed.scene import NoScene  # noqa: E402
from speed.stages import STAGES, Marks, by_stage, grouped  # noqa: E402
from speed.talk import Child, PeerFailed  # noqa: E402
from speed.whole_way import NotMeasured, Requests, Run, click  # noqa: E402
from speed.wire import Wire  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mahtai.cli", "bench", *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The report of a quick run, and the folder that it was written into."""
    output = tmp_path_factory.mktemp("bench") / "out"
    done = bench("--quick", "--cores", "2", "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (output / "bench.txt").read_text("utf-8") in done.stdout
    return json.loads((output / "bench.json").read_text("utf-8")), output


def test_every_second_of_every_run_is_in_a_stage_or_in_the_remainder(quick: tuple[dict[str, Any], Path]) -> None:
    report, _ = quick
    assert [run["kind"] for run in report["runs"]] == list(KINDS)
    for run in report["runs"]:
        stages = run["stages_s"]
        assert list(stages) == [*STAGES, "remainder"]
        assert sum(stages.values()) == pytest.approx(run["wall_s"], abs=0.005)
        assert (stages["forward"] > 0) == (run["kind"] != "option"), run
        assert stages["export"] > 0
        assert abs(run["clock_jump_s"]) < 0.05
        assert stages["import"] > 0
        assert stages["download"] > 0
    assert set(report["ours"]) == set(KINDS)


def test_only_new_volumes_travel(quick: tuple[dict[str, Any], Path]) -> None:
    report, _ = quick
    sent = {run["kind"]: run["sent_bytes"] for run in report["runs"]}
    assert sent.pop("new") > 4 * 76 * 92 * 72 * 2
    for count in sent.values():
        assert 100 < count < 10_000
    assert all(run["received_bytes"] > 10_000 for run in report["runs"])  # two files, compressed


def test_the_way_that_is_run_agrees_with_single_precision(quick: tuple[dict[str, Any], Path]) -> None:
    report, _ = quick
    found = report["agreement"]["cases"]["phantom"]
    assert min(found["ours_against"]["fp32"].values()) > 0.99
    assert min(found["voxels"].values()) > 100
    assert {"ours", "fp32"} == set(found["against_reference"])
    asked = [run["precision"] for run in report["runs_for_the_dice"]]
    assert asked[1] == "fp32"


def test_the_report_says_on_what_it_was_measured(quick: tuple[dict[str, Any], Path]) -> None:
    report, output = quick
    machine = report["machine"]
    assert machine["cores_used"] == 2
    assert machine["processor"]
    assert machine["versions"]["torch"]
    if hasattr(os, "sched_setaffinity"):
        assert 1 <= len(machine["pinned_to"]) <= 2
    assert report["scene"] == "slicer-core"
    assert (output / "bench.png").read_bytes().startswith(b"\x89PNG")
    text = (output / "bench.txt").read_text("utf-8")
    assert all(word in text for word in (*STAGES, *KINDS, "remainder", machine["processor"]))
    assert [path.name for path in output.glob("mahtai-bench-*")] == []  # what was needed on the way is gone


def test_what_cannot_be_asked_for_is_refused_in_words(tmp_path: Path) -> None:
    refused = bench("--against", "nobody")
    assert refused.returncode == 2
    assert "there is no peer nobody" in refused.stderr
    missing = bench("--cases", "nobody", "--output", str(tmp_path / "out"), MAHTAI_SHARED_DATA=str(tmp_path))
    assert missing.returncode == 1
    assert "There is no case nobody" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_an_installed_server_says_that_the_benchmark_is_with_the_source(tmp_path: Path) -> None:
    package = Path(str(mahtai.__file__)).parent
    shutil.copytree(package, tmp_path / "mahtai", ignore=shutil.ignore_patterns("__pycache__", "shipped_models"))
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    done = bench("--quick", PYTHONPATH=path)
    assert done.returncode == 1
    assert "comes with the source code" in done.stderr
    assert "What to do:" in done.stderr


# --- an old result is no measurement ------------------------------------------------------------


@pytest.fixture
def tiny(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running server as the benchmark sees it, with a small model."""
    monkeypatch.setattr(whole_way, "MODEL", "tiny")
    with Connection(server.url, server.token) as connection:
        yield SimpleNamespace(connection=connection, requests=Requests(connection))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """A counter that is gone after the test."""
    for owner, name in ((http.client.HTTPConnection, "send"), (socket.SocketIO, "readinto")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    return Wire()


def small_scene() -> NoScene:
    volumes = {name: read_volume(data) for name, data in synthetic_study(seed=77).items()}
    scene = NoScene()
    scene.load(
        Case("small", "", {name: (one.array, np.asarray(one.geometry.ijk_to_ras)) for name, one in volumes.items()})
    )
    return scene


OPTIONS = {"register": "off", "brain_mask": "off", "check_sequences": "off"}


def test_a_result_that_the_server_had_already_is_not_taken_for_a_run(tiny: Any, wire: Wire) -> None:
    scene = small_scene()
    scene.touch()
    click(tiny, scene, wire, "small", "first", OPTIONS)
    with pytest.raises(NotMeasured, match="had already"):
        click(tiny, scene, wire, "small", "second", OPTIONS)
    scene.touch()
    again, _ = click(tiny, scene, wire, "small", "third", OPTIONS)
    assert again.sent_bytes > 4 * 48 * 48 * 40 * 2


def test_volumes_that_are_not_new_are_not_measured_as_new(tiny: Any, wire: Wire) -> None:
    scene = small_scene()
    scene.touch = lambda: None  # type: ignore[method-assign]
    click(tiny, scene, wire, "small", "first", OPTIONS, rerun=True)
    with pytest.raises(NotMeasured):
        round_of_ours(tiny, scene, wire, "small", {**OPTIONS, "flips": "off"}, {"islands": "keep"}, 0.0)


# --- parts --------------------------------------------------------------------------------------

MARKS = Marks(
    clicked=100.0,
    taken=100.1,
    asked=100.3,
    wished=100.6,
    started=100.7,
    finished=103.0,
    fetched=103.05,
    there=103.2,
    placed=103.5,
)
TIMINGS = {"load model": 0.1, "prepare": 0.4, "prepare/resample": 0.3, "network": 1.2, "moon": 0.05, "total": 1.75}


def test_the_time_of_a_run_is_shared_out_once() -> None:
    stages = by_stage(MARKS, TIMINGS)
    assert sum(stages.values()) == pytest.approx(3.5, abs=1e-3)
    expected = {"export": 0.1, "hash": 0.2, "upload": 0.3, "queue": 0.1, "load": 0.1, "preprocess": 0.4}
    expected |= {"forward": 1.2, "other": 0.05, "store": 2.3 - 1.75, "download": 0.15, "import": 0.3, "remainder": 0.05}
    for stage, seconds in expected.items():
        assert stages[stage] == pytest.approx(seconds, abs=1e-3), stage


def test_finer_timings_of_the_server_are_grouped_and_none_is_lost() -> None:
    assert grouped({"prepare/resample": 0.3, "prepare/mask": 0.2}) == {"preprocess": pytest.approx(0.5)}
    assert grouped({"something new": 0.3}) == {"other": pytest.approx(0.3)}
    assert grouped({"store": 0.1, "write": 0.2}) == {"store": pytest.approx(0.1), "encode": pytest.approx(0.2)}


def test_dice_by_hand_and_what_speed_did_to_it() -> None:
    ours, slow, expert = (np.array(values, np.uint8) for values in ([1, 2, 3, 0], [1, 2, 3, 3], [1, 2, 2, 3]))
    assert dice(ours, slow) == {"wt": pytest.approx(6 / 7, abs=1e-4), "tc": 0.8, "et": pytest.approx(2 / 3, abs=1e-4)}
    empty = np.zeros(4, np.uint8)
    assert dice(empty, empty) == {"wt": 1.0, "tc": 1.0, "et": 1.0}
    found = agree({"ours": ours, "fp32": slow}, expert)
    assert found["moved_by_speed"]["et"] == pytest.approx(0.0 - 2 / 3, abs=1e-4)
    over_all = worst({"a": found, "b": agree({"ours": slow, "fp32": slow}, None)})
    assert over_all["lowest_dice_of_ours_against"]["fp32"]["tc"] == 0.8
    assert over_all["largest_move_of_dice_by_speed"]["et"] == pytest.approx(2 / 3, abs=1e-4)


def test_a_ratio_is_made_of_the_two_runs_of_one_round() -> None:
    def ours(seconds: float) -> list[Run]:
        return [Run("c", "new", seconds, {"forward": 0.0}, 0, 0, None, "", "", {})]

    def theirs(seconds: float) -> list[PeerRun]:
        return [PeerRun("c", "whole", ("new",), seconds, {}, "")]

    found = ratios([(ours(1), theirs(10)), (ours(2), theirs(30)), (ours(10), theirs(50))])["whole"]["new"]
    assert found == {"median": 10, "lowest": 5, "highest": 15, "values": [10, 15, 5]}


def test_all_bytes_on_the_wire_are_counted(wire: Wire) -> None:
    received = bytearray()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                while not received.endswith(b"x" * 1000):
                    received.extend(peer.recv(65536))
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        before = wire.traffic
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1])
        connection.request("PUT", "/there", b"x" * 1000, {"X-More": "words"})
        assert connection.getresponse().read() == b"hello"
        connection.close()
        thread.join()
    traffic = wire.traffic - before
    assert traffic.sent == len(received)
    assert traffic.received == len(answer)


def test_a_peer_that_fails_or_dies_is_named_with_its_reason(tmp_path: Path) -> None:
    script = (
        "from speed.talk import answer_all\n"
        "import os\n"
        "def answer(question):\n"
        "    print('noise of a library', flush=True)\n"
        "    return {'twice': 2 * question['number']} if question['number'] else os._exit(3)\n"
        "answer_all(answer)\n"
    )
    child = Child([sys.executable, "-c", script], tmp_path / "log", ENVIRONMENT)
    try:
        assert child.ask(number=21) == {"twice": 42}
        with pytest.raises(PeerFailed, match="KeyError"):
            child.ask(other=1)
        with pytest.raises(PeerFailed, match=r"ended \(status 3\).*log"):
            child.ask(number=0)
    finally:
        child.close()
    assert "noise of a library" in (tmp_path / "log").read_text()


def test_monai_runs_our_bundle_again_and_again(tmp_path: Path) -> None:
    pytest.importorskip("ignite")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    generator = np.random.default_rng(0)
    folders = []
    for name, shape in (("a", (24, 32, 24)), ("b", (32, 24, 24))):
        volumes = {one: (generator.integers(1, 500, shape, np.int16), affine) for one in ("t1c", "t1", "t2", "flair")}
        folders.append(Case(name, "", volumes).write(tmp_path / "cases" / name))
    assert nibabel.load(folders[0] / "image.nii.gz").shape == (24, 32, 24, 4)
    (tmp_path / "work").mkdir()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with plain_monai(tmp_path / "work", tmp_path, "cpu", folders[0], (32, 32, 32)) as peer:
        for folder, shape in zip((*folders, folders[0]), ((24, 32, 24), (32, 24, 24), (24, 32, 24)), strict=True):
            [run] = peer.run(folder.name, folder)
            assert nibabel.load(run.labels).shape == shape
            assert sum(run.stages_s.values()) == pytest.approx(run.wall_s)
            assert all(seconds > 0 for seconds in run.stages_s.values())


def test_an_environment_of_monai_label_is_made_once_and_not_by_a_python_that_it_cannot_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monai_label, "NEWEST", (3, 9))
    with pytest.raises(PeerFailed, match=r"runs on Python .*make its environment"):
        monai_label.installed(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    python = tmp_path / "made" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    digest = hashlib.sha256(monai_label.PINS.read_bytes()).hexdigest()
    (tmp_path / "made" / "installed.txt").write_text(f"{monai_label.VERSION} {digest}")
    assert monai_label.installed(tmp_path / "made") == str(python)
