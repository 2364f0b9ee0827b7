"""The start: of the command, of the server, and the first inference after it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from speed.cases import Case
from speed.scene import Scene
from speed.whole_way import Server, click, running
from speed.wire import Wire

STARTS = {"import mahtai": ["-c", "import mahtai"], "mahtai --help": ["-m", "mahtai.cli", "--help"]}
REPEATS = 5
SETTLE_LIMIT_S = 300.0


def starts() -> dict[str, Any]:
    """Seconds of ``import mahtai`` and ``mahtai --help`` (median), and whether PyTorch is loaded by them."""
    found: dict[str, Any] = {"python alone": {"seconds": round(median(_seconds(["-c", ""])), 3)}}
    for name, arguments in STARTS.items():
        found[name] = {"seconds": round(median(_seconds(arguments)), 3), "loads_torch": _loads_torch(arguments)}
    return found


def _seconds(arguments: list[str]) -> list[float]:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return taken


def _loads_torch(arguments: list[str]) -> bool:
    command = [sys.executable, "-X", "importtime", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return any(line.rpartition("|")[2].strip() == "torch" for line in said.splitlines())


def first_inferences(
    folder: Path, log: Path, scene: Scene, wire: Wire, case: Case, options: Mapping[str, str]
) -> dict[str, Any]:
    """Start a server that knows nothing of this machine, run once; and again, now that it knows.

    The data of that server stay in ``folder``, so that the next one there knows as well.
    """
    found: dict[str, Any] = {}
    for name, settles in (("first start on this machine", True), ("start again", False)):
        with running(folder, log) as server:
            scene.load(case)
            scene.touch()
            first, _ = click(server, scene, wire, case.name, name, options)
            found[name] = {
                "first_answer_s": round(server.first_answer_s, 3),
                "first_inference_s": first.wall_s,
                "stages_s": first.stages_s,
                "runtime": first.runtime,
            }
            if settles:
                found[name].update(_settled(server))
    return found


def _settled(server: Server) -> dict[str, Any]:
    waited = server.settle(SETTLE_LIMIT_S)
    return {"measured_itself_s": None if waited is None else round(waited, 1), "tuning": server.tuning()}
