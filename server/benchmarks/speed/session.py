"""One run of the benchmark, in its order: starts, agreement, rounds in turn, report."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from speed import agreement, figures, machine
from speed.cases import Case, find_cases, quick_case, read_labels
from speed.cold import SETTLE_LIMIT_S, first_inferences, starts
from speed.kinds import round_of_ours
from speed.monai_label import monai_label
from speed.peers import ZOO_WINDOW, Peer, PeerRun, plain_monai
from speed.scene import Scene, labels_of, open_scene
from speed.table import table
from speed.talk import PeerFailed
from speed.whole_way import MODEL, Run, Server, click, running
from speed.wire import Wire

QUICK_OPTIONS = {"resample": "off"}
"""The phantom's voxels of 2 mm as they are: an eighth of the work."""


class Session:
    """What is measured, and what has been found so far."""

    def __init__(self, asked: argparse.Namespace, work: Path, logs: Path, scene: Scene) -> None:
        """Args: ``work`` is a folder for all that is gone afterwards, ``logs`` one for what processes print."""
        self._asked, self._work, self._logs, self._scene, self._wire = asked, work, logs, scene, Wire()
        self._cases = [quick_case()] if asked.quick else find_cases(asked.cases)
        self._options = {**(QUICK_OPTIONS if asked.quick else {}), **_named(asked.option)}
        self._peers: dict[str, Peer] = {}
        self._not_run: dict[str, str] = {}
        """Peers that did not start or stopped on the way, and why."""
        self._ours: list[Run] = []
        self._looks: list[Run] = []
        self._rounds: dict[str, list[tuple[list[Run], list[PeerRun]]]] = {}
        self._labels: dict[str, dict[str, np.ndarray]] = {}

    def run(self, pinned: list[int]) -> dict[str, Any]:
        """All of it; returns the report."""
        asked = self._asked
        found: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "model": MODEL,
            "machine": machine.describe(asked.cores or machine.available(), pinned),
            "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(asked).items()},
            "scene": self._scene.name,
            "cases": {case.name: case.origin for case in self._cases},
        }
        if not asked.no_starts:
            found["starts"] = self._starts()
        with contextlib.ExitStack() as stack:
            self._start_peers(stack)
            server = stack.enter_context(running(self._work / "server", self._logs / "server.log"))
            self._settle(server)
            for case in self._cases:
                self._look_at(server, case)
                for number in range(asked.pairs):
                    self._round(server, case, number)
            found["load_average_at_end"] = machine.load_average()
            found["peak_memory_mb"] = machine.peak_memory_mb(server.pid)
        return {**found, **self._figures()}

    def _starts(self) -> dict[str, Any]:
        _say("cold starts")
        commands = starts()
        folder, log = self._work / "server", self._logs / "server.log"
        server = first_inferences(folder, log, self._scene, self._wire, self._cases[0], self._options)
        return {"commands": commands, "server": server}

    def _settle(self, server: Server) -> None:
        """Runs are warm when the engine has stopped to measure itself, and has run once as it will from now on."""
        if not self._asked.quick and server.settle(SETTLE_LIMIT_S) is None:
            _say("the engine has not measured itself; it goes on as it is")
        self._scene.load(self._cases[0])
        click(server, self._scene, self._wire, self._cases[0].name, "warm-up", self._options, rerun=True)

    def _start_peers(self, stack: contextlib.ExitStack) -> None:
        """Each of them has run once when it is there."""
        first = next((case for case in self._cases if case.is_on_one_grid), None)
        for name in self._asked.peers:
            _say(f"starting {name}")
            try:
                if first is None:
                    raise PeerFailed("no case has all sequences on one grid")
                folder = first.write(self._work / "cases" / first.name)
                peer = stack.enter_context(self._made(name, folder))
                peer.run(first.name, folder)
                self._peers[name] = peer
            except PeerFailed as error:
                self._drop(name, error)

    def _made(self, name: str, first_case: Path) -> contextlib.AbstractContextManager[Peer]:
        asked, work, logs = self._asked, self._work / name, self._logs
        if name == "monailabel":
            return monai_label(asked.monailabel_env, work, logs, asked.device, asked.monailabel_window or ZOO_WINDOW)
        window = ZOO_WINDOW if name == "monai_one_window" else None
        return plain_monai(work, logs, asked.device, first_case, window)

    def _look_at(self, server: Server, case: Case) -> None:
        """Open a case and keep what ours makes of it, by default and in single precision."""
        self._scene.load(case)
        labels = self._labels.setdefault(case.name, {})
        for name, options in (("ours", {}), ("fp32", {"precision": "fp32"})):
            _say(f"{case.name}: {name} for the Dice")
            options = {**self._options, **options}
            run, result = click(server, self._scene, self._wire, case.name, name, options, rerun=True)
            labels[name] = labels_of(result)
            self._looks.append(run)
        # the network in its usual precision again
        click(server, self._scene, self._wire, case.name, "warm-up", self._options, rerun=True)
        if self._peers and case.is_on_one_grid:
            case.write(self._work / "cases" / case.name)

    def _round(self, server: Server, case: Case, number: int) -> None:
        """Ours and each peer, one after the other."""
        _say(f"{case.name}: round {number + 1}, ours")
        other = _named([self._asked.other_option])
        if self._asked.quick:
            other = {"islands": "keep"}
        runs = round_of_ours(server, self._scene, self._wire, case.name, self._options, other, self._asked.pause)
        self._ours += runs
        if not case.is_on_one_grid:
            return
        for name, peer in self._peers.items():
            if name in self._not_run:
                continue
            _say(f"{case.name}: round {number + 1}, {name}")
            try:
                theirs = peer.run(case.name, self._work / "cases" / case.name)
            except PeerFailed as error:
                self._drop(name, error)
                continue
            self._rounds.setdefault(name, []).append((runs, theirs))
            labels = read_labels(Path(theirs[0].labels), case.volumes["t1c"][0].shape)
            self._labels[case.name][name] = labels

    def _drop(self, name: str, error: PeerFailed) -> None:
        self._not_run[name] = str(error)
        _say(f"{name} is left out: {error}")

    def _figures(self) -> dict[str, Any]:
        cases = {case.name: agreement.agree(self._labels[case.name], case.reference) for case in self._cases}
        peers = {}
        for name, rounds in self._rounds.items():
            runs = [run for _, theirs in rounds for run in theirs]
            peers[name] = {
                "is": self._peers[name].is_what,
                "told": self._peers[name].told,
                "phases": figures.of_peers(runs),
                "ratios": figures.ratios(rounds),
                "runs": [asdict(run) for run in runs],
            }
        return {
            "ours": figures.of_ours(self._ours),
            "peers": peers,
            "not_run": self._not_run,
            "agreement": {"cases": cases, "over_all_cases": agreement.worst(cases)},
            "runs": [asdict(run) for run in self._ours],
            "runs_for_the_dice": [asdict(run) for run in self._looks],
        }


def measure(asked: argparse.Namespace, pinned: list[int]) -> int:
    """Measure what was asked for, show it and write it; returns 1 if a peer did not run."""
    os.environ["MAHTAI_DEVICE"] = asked.device
    logs = asked.output.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "server.log").unlink(missing_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mahtai-bench-", dir=asked.output) as folder:
        work = Path(folder).resolve()
        with open_scene(work / "slicer") as scene:
            report = Session(asked, work, logs, scene).run(pinned)
    report["took_s"] = round(time.perf_counter() - began, 1)
    (asked.output / "bench.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    text = table(report)
    (asked.output / "bench.txt").write_text(text + "\n", "utf-8")
    from speed.plot import draw

    draw(report, asked.output / "bench.png")
    print(f"\n{text}\n\nWritten into {asked.output}: bench.json, bench.txt, bench.png ({report['took_s']:.0f} s).")
    return 1 if report["not_run"] else 0


def _named(pairs: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)
