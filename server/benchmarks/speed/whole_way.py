"""Ours: a server in a process of its own, and runs from the click in the scene to the segmentation in the scene."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mahtai.demo.server_process import ServerDidNotStart
from mahtai.errors import MahtaiError
from mahtai.settings import Settings
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError
from MahtAILib.client.study import StudyResult, segment_study
from speed.scene import Scene
from speed.stages import Marks, by_stage, job_times
from speed.wire import Wire

MODEL = "brats_segresnet"
START_LIMIT_S = 120.0
LOOK_EVERY_S = 0.005
BROKEN = "The figures would mean nothing, so none were written. The benchmark has to be mended."


class Server:
    """``mahtai serve`` with folders of its own.

    Attributes:
        first_answer_s: from the start of the process to the first answer.
        connection: to it.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        """Start it and wait for its first answer; ``MAHTAI_DEVICE`` and ``MAHTAI_THREADS`` are taken from here.

        Args:
            folder: for its data. log: file that its messages are added to.

        Raises:
            ServerDidNotStart: it ended, or does not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        variables = {"MAHTAI_DATA_DIR": str(folder / "data"), "MAHTAI_CONFIG_DIR": str(folder / "config")}
        self._settings = Settings.from_environment({**os.environ, **variables})
        began = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mahtai.cli", "serve", "--port", str(port)],
                env={**os.environ, **variables},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        while not _answers(port):
            if self._process.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                _end(self._process)
                raise ServerDidNotStart("The server that is measured did not start.", f"Its messages are in {log}.")
            time.sleep(LOOK_EVERY_S)
        self.first_answer_s = time.perf_counter() - began
        token = (folder / "config" / "token").read_text("utf-8").strip()
        self.connection = Connection(f"http://127.0.0.1:{port}", token, read_timeout_s=300.0)
        self.requests = Requests(self.connection)
        self.connection.probe()

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def settle(self, limit_s: float) -> float | None:
        """Wait until the engine has measured how it runs fastest here; seconds waited, None if it never ended."""
        began = time.perf_counter()
        while not list(self._settings.runtimes_dir.glob("*.json")):
            if time.perf_counter() - began > limit_s:
                return None
            time.sleep(0.2)
        return time.perf_counter() - began

    def tuning(self) -> list[dict[str, Any]]:
        """What the engine has found."""
        return [json.loads(path.read_text("utf-8")) for path in self._settings.runtimes_dir.glob("*.json")]

    def stop(self) -> None:
        """End it."""
        self.connection.close()
        _end(self._process)


class Requests:
    """When each request of a connection went out: (method, path, seconds since the epoch)."""

    def __init__(self, connection: Connection) -> None:
        self.log: list[tuple[str, str, float]] = []
        for adapter in connection._session.adapters.values():
            adapter.send = self._noting(adapter.send)  # type: ignore[method-assign]

    def _noting(self, send: Any) -> Any:
        def noted(request: Any, *arguments: Any, **more: Any) -> Any:
            self.log.append((request.method, urlsplit(request.url).path, time.time()))
            return send(request, *arguments, **more)

        return noted

    def first(self, method: str = "", ending: str = "") -> float:
        """When the first one went out that fits; infinity if none did."""
        return min((at for way, path, at in self.log if way.startswith(method) and path.endswith(ending)), default=_INF)


class NotMeasured(MahtaiError):
    """The server did something else than what was to be measured."""

    kind = "not-measured"
    title = "A run was not what it should be"


@dataclass(frozen=True)
class Run:
    """One run, measured.

    Attributes:
        kind: one of ``kinds.KINDS``, or what else it was for.
        wall_s: from the click to the segmentation in the scene.
        stages_s: see ``stages.by_stage``.
        sent_bytes, received_bytes: by HTTP, headers too.
        preview_s: from the click until a coarse result was there, if one was made.
        runtime, precision: of the network.
        server_timings_s: as the server gave them. steps_s: steps of the preparation that it timed by themselves.
        clock_jump_s: by how much the clock of the stages went ahead of the one that is never set.
        reused: what the server had in memory, and how long that had taken when it was made.
    """

    case: str
    kind: str
    wall_s: float
    stages_s: dict[str, float]
    sent_bytes: int
    received_bytes: int
    preview_s: float | None
    runtime: str
    precision: str
    server_timings_s: dict[str, float]
    clock_jump_s: float = 0.0
    steps_s: dict[str, float] = field(default_factory=dict)
    reused: dict[str, float] = field(default_factory=dict)

    @property
    def overhead_s(self) -> float:
        """All but the network."""
        return self.wall_s - self.stages_s["forward"]


def click(
    server: Server, scene: Scene, wire: Wire, case: str, kind: str, options: Mapping[str, str], rerun: bool = False
) -> tuple[Run, StudyResult]:
    """Press Run and wait until the segmentation is in the scene.

    Raises:
        NotMeasured: the server gave the result of an earlier run.
    """
    connection, log = server.connection, server.requests
    log.log.clear()
    previews: list[float] = []
    before, clicked, began = wire.traffic, time.time(), time.perf_counter()
    volumes = scene.take()
    taken = time.time()
    result = segment_study(
        connection, volumes, MODEL, options, rerun=rerun, on_preview=lambda data: previews.append(time.time())
    )
    there = time.time()
    scene.place(result)
    placed, ended, traffic = time.time(), time.perf_counter(), wire.traffic - before
    asked, wished, fetched = log.first(), log.first("POST", "/inferences"), log.first("GET", "/result")
    started, finished = job_times(connection.json("GET", f"/v1/inferences/{result.job_id}"))
    if started < clicked:
        raise NotMeasured(f"A run ({kind}) got a result that the server had already.", BROKEN)
    marks = Marks(clicked, taken, asked, wished, started, finished, fetched, there, placed)
    timings = {name: float(value) for name, value in result.summary["timings_s"].items()}
    run = Run(
        case,
        kind,
        round(placed - clicked, 4),
        by_stage(marks, timings),
        traffic.sent,
        traffic.received,
        round(previews[0] - clicked, 4) if previews else None,
        str(result.summary.get("runtime", "")),
        str(result.summary.get("precision", "")),
        timings,
        round((placed - clicked) - (ended - began), 4),
        {step["step"]: float(step["seconds"]) for step in result.summary.get("steps", []) if "seconds" in step},
        dict(result.summary.get("reused", {})),
    )
    return run, result


@contextlib.contextmanager
def running(folder: Path, log: Path) -> Iterator[Server]:
    """A server until the end of the block; see ``Server``."""
    server = Server(folder, log)
    try:
        yield server
    finally:
        server.stop()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with Connection(f"http://127.0.0.1:{port}", "", retries=0) as connection:
            connection.require_mahtai()
            return True
    except ClientError:
        return False


_INF = float("inf")
