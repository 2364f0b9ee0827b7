"""What the reader's Slicer is held up by: every turn of the main thread from the loaded study to the result.

    PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python QT_QPA_PLATFORM=offscreen \\
        python server/benchmarks/panel_stalls.py --threads 2 -o stalls.json

Slicer's real scene (slicer-core), the panel on the tests' Qt kit, a real server in a process of its own with the
shipped model. Turns are those of ``event_turns``; what Slicer draws after a turn is its own. The phases: ``open`` (from
four loaded volumes to filled slots), ``first`` (Run), ``option`` (Run with another option), ``same`` (Run again with
the first options: the server has the result). ``import`` is what comes after the last byte of the result: decoding in
the worker thread, and what the main thread does with it. ``sent`` are the bytes of all requests of a phase,
headers and bodies.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import nibabel
import slicer
from event_turns import TurnMeter
from kit import install
from kit.scene_context import make_context
from panel_kit import Reader

from mahtai.demo.phantom import make_phantom
from mahtai.demo.sample import demo_study
from server_process import ServerProcess

MODELS = Path(__file__).resolve().parents[2] / "models"
FULL_SIZE = (240, 240, 155)
SETTLE_S = 2.0
"""After the result: timers that were started with it, and what is sent ahead."""

TIMEOUT_S = 600.0


class Sent:
    """Bytes that this process sends by HTTP."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()
        send = http.client.HTTPConnection.send

        def counted(connection: Any, data: Any) -> None:
            with self._lock:
                self.bytes += len(data)
            send(connection, data)

        http.client.HTTPConnection.send = counted  # type: ignore[method-assign]


class Clock:
    """When the worker had the whole result, and when it was in the scene; seconds of ``time.perf_counter``."""

    def __init__(self) -> None:
        from MahtAILib.panel import segmentation_task

        self.times: dict[str, float] = {}
        task = segmentation_task.SegmentationTask
        segmentation_task.segment_study = self._noting("fetched", segmentation_task.segment_study)  # type: ignore[assignment]
        task.work = self._noting("ready", task.work)  # type: ignore[method-assign]
        task.place = self._noting("placed", task.place)  # type: ignore[method-assign]
        if hasattr(task, "show_preview"):
            task.show_preview = self._noting("previewed", task.show_preview)  # type: ignore[method-assign]

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*arguments: Any, **more: Any) -> Any:
            self.times[f"{name} began"] = time.perf_counter()
            result = function(*arguments, **more)
            self.times[name] = time.perf_counter()
            return result

        return called


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of the server")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, each with a server and a scene of its own")
    parser.add_argument("--synthetic", action="store_true", help="a phantom instead of the public sample")
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    asked = parser.parse_args()
    sent, rounds = Sent(), []
    with tempfile.TemporaryDirectory() as folder:
        paths = study_files(Path(folder), asked.synthetic)
        for number in range(asked.repeat):
            root = Path(folder) / f"round-{number}"
            with slicer_and_server(root, asked.threads) as reader:
                rounds.append(measure(reader, paths, sent))
            print(table(rounds[-1]), flush=True)
    if asked.output is not None:
        asked.output.write_text(json.dumps({"threads": asked.threads, "rounds": rounds}, indent=1), encoding="utf-8")


def study_files(folder: Path, synthetic: bool) -> list[Path]:
    """Four NIfTI files of 240 × 240 × 155 voxels: the public sample where it can be had, else a phantom."""
    study = demo_study(synthetic, print)
    volumes = study.volumes
    if study.truth is not None:
        phantom = make_phantom(FULL_SIZE)
        volumes = {channel: (array, phantom.ijk_to_ras) for channel, array in phantom.channels.items()}
    paths = []
    for channel, (array, ijk_to_ras) in volumes.items():
        paths.append(folder / f"{channel}.nii")
        nibabel.save(nibabel.Nifti1Image(array, ijk_to_ras), paths[-1])
    return paths


@contextmanager
def slicer_and_server(root: Path, threads: int) -> Iterator[Reader]:
    """A server that has nothing yet, and Slicer with the panel open and connected to it."""
    root.mkdir()
    os.environ["MAHTAI_CONFIG_DIR"], os.environ["MAHTAI_DATA_DIR"] = str(root / "config"), str(root / "panel")
    server = ServerProcess(root, (MODELS,), {"threads": str(threads)}).start()
    try:
        with make_context(root / "slicer") as context:
            install()
            from PySide6 import QtCore, QtWidgets

            # settings of this round, not those of whoever measures
            formats, scopes = QtCore.QSettings.Format, QtCore.QSettings.Scope
            QtCore.QSettings.setDefaultFormat(formats.IniFormat)
            QtCore.QSettings.setPath(formats.IniFormat, scopes.UserScope, str(root / "settings"))
            window = QtWidgets.QMainWindow()
            window.setObjectName("qSlicerMainWindow")
            reader = Reader(context)
            try:
                reader.connect(server.url)
                assert reader.panel.server.connection is not None, reader.said("server", "serverStateLabel")
                # a collection looks at all that lives in the process; what only this benchmark imported is not Slicer's
                gc.collect()
                gc.freeze()
                yield reader
            finally:
                gc.unfreeze()
                reader.leave()
    finally:
        server.kill()


def measure(reader: Reader, paths: list[Path], sent: Sent) -> dict[str, Any]:
    """All phases of one round."""
    panel, clock, phases = reader.panel, Clock(), {}

    def opened() -> None:
        for path in paths:
            slicer.util.loadVolume(str(path))

    opened()  # reading the files is Slicer's
    phases["open"] = phase(reader, clock, sent, None)
    assert not panel.study.is_empty() and panel.ahead.is_ready
    phases["first"] = phase(reader, clock, sent, reader.ui("ai").runButton.click)
    panel.parameters().set("check_sequences", "off")
    phases["option"] = phase(reader, clock, sent, reader.ui("ai").runButton.click)
    panel.parameters().set("check_sequences", "on")
    phases["same"] = phase(reader, clock, sent, reader.ui("ai").runButton.click)
    return phases


def phase(reader: Reader, clock: Clock, sent: Sent, click: Callable[[], None] | None) -> dict[str, Any]:
    """From the click until all is quiet again; without one, until the panel has settled."""
    panel, before, figures = reader.panel, sent.bytes, {}
    with TurnMeter() as meter:
        if click is not None:
            figures = click_to_scene(reader, clock, meter, click)
        meter.turn_until(lambda: not panel.background.is_busy, TIMEOUT_S, "the panel to be at rest")
        meter.rest(SETTLE_S)
        meter.turn_until(lambda: not panel.background.is_busy, TIMEOUT_S, "the panel to be at rest")
    found = {**figures, "sent": sent.bytes - before, **meter.report()}
    return found if click is None else {**found, "server_s": server_seconds(panel)}


def click_to_scene(reader: Reader, clock: Clock, meter: TurnMeter, click: Callable[[], None]) -> dict[str, float]:
    """Press Run and wait for the result; seconds and milliseconds."""
    from PySide6 import QtCore

    run, clicked = reader.panel.run, []
    clock.times.clear()
    began = time.perf_counter()
    QtCore.QTimer.singleShot(0, lambda: clicked.append(click()))
    meter.turn_until(lambda: clicked and not run.is_running, TIMEOUT_S, "the run to end")
    assert "placed" in clock.times, reader.said("ai", "runStateLabel")
    times = clock.times
    return {
        "click_to_scene_s": round(times["placed"] - began, 3),
        "preview_s": round(times.get("previewed", began) - began, 3),
        "decode_ms": round(1000 * (times["ready"] - times["fetched"]), 1),
        "place_ms": round(1000 * (times["placed"] - times["placed began"]), 1),
        "import_ms": round(1000 * (times["placed"] - times["fetched"]), 1),
    }


def server_seconds(panel: Any) -> float:
    """What the server says that the job took."""
    connection, provenance = panel.server.connection, panel.review.provenance
    summary = connection.json("GET", f"/v1/inferences/{provenance.job}/result")["summary"]
    return round(float(summary["timings_s"]["total"]), 3)


def table(phases: dict[str, Any]) -> str:
    """For the eye."""
    lines = [
        f"{'phase':8}{'turns':>7}{'p50':>7}{'p99':>7}{'max':>7}{'cpu max':>9}{'gap':>7}{'preview':>9}{'to scene':>10}"
        f"{'server':>8}{'import':>8}{'place':>7}{'sent':>12}   (ms; s for scene and server; bytes)"
    ]
    for name, found in phases.items():
        wall = found["wall_ms"]
        lines.append(
            f"{name:8}{found['turns']:7}{wall['p50']:7.1f}{wall['p99']:7.1f}{wall['max']:7.1f}"
            f"{found['cpu_ms']['max']:9.1f}{found['heartbeat_gap_ms']:7.1f}{found.get('preview_s', 0):9.2f}"
            f"{found.get('click_to_scene_s', 0):10.2f}"
            f"{found.get('server_s', 0):8.2f}{found.get('import_ms', 0):8.0f}{found.get('place_ms', 0):7.0f}"
            f"{found['sent']:12,}"
        )
        lines += [
            f"        {slow['wall_ms']:6.1f} ms ({slow['cpu_ms']:.1f} cpu, {slow['gc_ms']:.1f} gc) "
            f"at {slow['at_s']:.2f} s{', waiting' if slow['is_rest'] else ''}"
            + "".join(f"\n            {did}" for did in slow["did"])
            for slow in found["slowest"]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Qt and VTK in one process now and then crash while Python takes them down
