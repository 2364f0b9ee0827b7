"""From the click on Next case to the volumes in the four views, with and without the case fetched ahead.

    PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python QT_QPA_PLATFORM=offscreen \\
        python server/benchmarks/next_case.py -o next_case.json

Slicer's real scene (slicer-core), the panel on the tests' Qt kit, a real server in a process of its own on loopback.
The cases are the public sample of 4 × 240 × 240 × 155 voxels, each with one voxel changed so that it has files of its
own; every second one has a label version. ``shown`` is when the volumes (and the label) are in the scene, in their
slots and in the views; what Slicer draws after that is its own. ``ahead``: the case was fetched while the last one was
read. ``cold``: nothing of it is on this computer. ``kept``: its files are on this computer, from an earlier day.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from event_turns import TurnMeter
from panel_stalls import FULL_SIZE, slicer_and_server
from worklist_kit import BORIS, TASK, Worker, make_case, save_as

from mahtai.demo.phantom import make_phantom
from mahtai.demo.sample import demo_study
from MahtAILib.client import nrrd
from MahtAILib.client.connection import Connection
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.sequences.assignment import SLOTS

WAYS = ("ahead", "cold", "kept")
TIMEOUT_S = 120.0
SETTLE_S = 1.0


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7, help="cases a way")
    parser.add_argument("--synthetic", action="store_true", help="a phantom instead of the public sample")
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, slicer_and_server(Path(folder) / "run", 1) as reader:
        connection = reader.panel.server.connection
        token = (Path(os.environ["MAHTAI_CONFIG_DIR"]) / "token").read_text(encoding="utf-8").strip()
        make_cases(connection.url, token, len(WAYS) * asked.repeat + 1, asked.synthetic)
        figures = measure(Worker(reader, "", "Reader"), asked.repeat)
    print(table(figures))
    if asked.output is not None:
        asked.output.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def make_cases(url: str, token: str, count: int, synthetic: bool) -> None:
    """Cases of full size; the label is a ball."""
    volumes, label = sample(synthetic)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False) as client,
        Connection(url, token) as boris,
    ):
        boris.person = BORIS
        for number in range(count):
            study = {}
            for slot, (array, ijk_to_ras) in volumes.items():
                changed = np.array(array, order="F")
                changed[0, 0, number] = 1
                study[slot] = nrrd.encode(changed, ijk_to_ras)
            case = make_case(client, study, f"Case {number}", task=TASK)
            if number % 2:
                save_as(boris, case["id"], label)


def sample(synthetic: bool) -> tuple[Mapping[str, tuple[np.ndarray, np.ndarray]], Segmentation]:
    """Slot → voxels and IJK-to-RAS; and a label of them."""
    study = demo_study(synthetic, print)
    volumes = study.volumes
    if study.truth is not None:
        phantom = make_phantom(FULL_SIZE)
        volumes = {channel: (array, phantom.ijk_to_ras) for channel, array in phantom.channels.items()}
    array, ijk_to_ras = volumes["t1c"]
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in array.shape), indexing="ij"))
    ball = np.asfortranarray((((grid - 0.2) ** 2).sum(0) < 0.05).astype(np.uint8))
    segments = (Segment("et", "Enhancing tumour", 1),)
    return volumes, Segmentation(segments, ball[None], Geometry(array.shape, ijk_to_ras))


def measure(worker: Worker, repeat: int) -> dict[str, Any]:
    """Each way with ``repeat`` cases, in turn, so that the machine's moods fall on all of them."""
    cases = worker.cases
    look, found = cases.ahead.look, {way: [] for way in WAYS}
    worker.next()
    for _ in range(repeat):
        for way in WAYS:
            prepare(worker, way, look)
            found[way].append(click(worker))
    return {way: summary(rounds) for way, rounds in found.items()}


def prepare(worker: Worker, way: str, look: Any) -> None:
    """Before a click: what is known of the case that comes next."""
    ahead, folder = worker.cases.ahead, worker.cases.files._folder
    present = [worker.cases.case.ref.id]
    look("order", TASK, [*worker.cases.case._skipped, *present])
    worker.wait(TIMEOUT_S)
    assert ahead.ready is not None
    if way != "ahead":
        ahead.forget()
    if way == "cold":
        shutil.rmtree(folder)
    ahead.look = lambda *_arguments: None  # measured apart: it is not waited for


def click(worker: Worker) -> dict[str, Any]:
    """Press Next; seconds until the case is shown, and the longest turn on the way and in the second after it."""
    from PySide6 import QtCore

    panel, shown, before = worker.reader.panel, [], worker.cases.case.ref.id
    worker.cases.case.opened.subscribe(lambda: shown.append(time.perf_counter()))
    with TurnMeter() as meter:
        began = time.perf_counter()
        QtCore.QTimer.singleShot(0, worker.ui.nextCaseButton.click)
        meter.turn_until(lambda: bool(shown), TIMEOUT_S, "the case to be shown")
        meter.rest(SETTLE_S)
        meter.turn_until(lambda: not panel.background.is_busy, TIMEOUT_S, "the panel to be at rest")
    assert worker.cases.case.ref.id != before
    assert all(panel.study.volume(slot) is not None for slot in SLOTS)
    report = meter.report()
    return {
        "shown_s": shown[0] - began,
        "longest_turn_ms": report["wall_ms"]["max"],
        "cpu_max_ms": report["cpu_ms"]["max"],
        "slowest": report["slowest"][:2],
        "has_label": panel.review.node is not None,
    }


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and ranges."""
    seconds = [one["shown_s"] for one in rounds]
    turns = [one["longest_turn_ms"] for one in rounds]
    return {
        "cases": len(rounds),
        "median_s": round(statistics.median(seconds), 3),
        "range_s": [round(min(seconds), 3), round(max(seconds), 3)],
        "longest_turn_ms": {"median": round(statistics.median(turns), 1), "max": round(max(turns), 1)},
        "longest_turn_cpu_ms": round(max(one["cpu_max_ms"] for one in rounds), 1),
        "rounds": rounds,
    }


def table(figures: Mapping[str, Any]) -> str:
    """For the eye."""
    lines = [f"{'way':8}{'cases':>6}{'median s':>10}{'range s':>16}{'turn median':>13}{'max':>8}{'cpu max':>9}   (ms)"]
    for way, found in figures.items():
        low, high = found["range_s"]
        turn = found["longest_turn_ms"]
        lines.append(
            f"{way:8}{found['cases']:6}{found['median_s']:10.3f}{low:8.3f}–{high:<7.3f}{turn['median']:13.1f}"
            f"{turn['max']:8.1f}{found['longest_turn_cpu_ms']:9.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Qt and VTK in one process now and then crash while Python takes them down
