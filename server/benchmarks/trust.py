"""What trust costs, from the click to the result: servers side by side in the same run, asked in turn.

    PYTHONPATH=server:MahtAI python server/benchmarks/trust.py --rounds 11

``bare`` keeps no record and has no accounts, key or TLS; ``record``, ``key`` and ``hospital`` (TLS 1.3, an account's
token, encryption at rest, the record) add to it. Each round sends a study that no server has seen, as the panel does
(ask what is missing, upload, run, look, fetch the result), reads a scan back, and asks for the list of cases. Prints
JSON: medians in ms, the ratio to ``bare`` of the same round, and whether all results are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np

from mahtai.demo.sample import demo_study
from MahtAILib.client import nrrd

MODEL = "brats_segresnet"
PASSWORD = "correct horse battery staple"
FINAL = ("succeeded", "failed", "cancelled")
LOOK_S = 0.005
SIDES = ("bare", "record", "key", "hospital")


class Side:
    """A server of one kind and a client of it; ``took`` holds ms by what was done."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self.took: dict[str, list[float]] = defaultdict(list)
        self._folder = folder / kind
        self._folder.mkdir()
        self._variables = self._environment(kind)
        if kind in ("key", "hospital"):
            self._mahtai("keys", "new", str(self._folder / "key"))
            self._variables["MAHTAI_KEY_FILE"] = str(self._folder / "key")
        if kind == "hospital":
            self._mahtai("tls", "init")
            tls = self._folder / "config" / "tls"
            self._variables |= {
                "MAHTAI_TLS_CERTIFICATE": str(tls / "server.pem"),
                "MAHTAI_TLS_KEY": str(tls / "server.key"),
            }
            self._mahtai("users", "add", "reader", "--password-stdin", stdin=PASSWORD)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = stack.enter_context((self._folder / "log").open("w"))
        command = [sys.executable, "-m", "mahtai.cli", "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=self._variables, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        scheme, verify = (
            ("https", str(self._folder / "config" / "tls" / "ca.pem")) if kind == "hospital" else ("http", "")
        )
        self._client = stack.enter_context(
            httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", verify=verify or True, timeout=300, trust_env=False)
        )
        self._wait()
        self._client.headers["Authorization"] = f"Bearer {self._sign_in(kind)}"

    def click(self, study: dict[str, bytes]) -> str:
        """From the click to the bytes of the result; their hash."""
        inputs = {channel: hashlib.sha256(data).hexdigest() for channel, data in study.items()}
        with self._timed("click to result"):
            missing = self._client.post("/v1/volumes/missing", json={"sha256": list(inputs.values())}).json()["missing"]
            assert len(missing) == len(study)
            for channel, data in study.items():
                self._client.put(f"/v1/volumes/{inputs[channel]}", content=data).raise_for_status()
            job = self._client.post("/v1/inferences", json={"model": MODEL, "inputs": inputs}).json()["id"]
            while (state := self._client.get(f"/v1/inferences/{job}").json()["state"]) not in FINAL:
                time.sleep(LOOK_S)
            assert state == "succeeded"
            result = self._client.get(f"/v1/inferences/{job}/result/segmentation").content
        with self._timed("read a scan"):
            assert self._client.get(f"/v1/volumes/{inputs['t1c']}").content == study["t1c"]
        with self._timed("list of cases"):
            self._client.get("/v1/cases").raise_for_status()
        return hashlib.sha256(nrrd.decode(result).array.tobytes()).hexdigest()

    def _environment(self, kind: str) -> dict[str, str]:
        own = {"DATA_DIR": str(self._folder / "data"), "CONFIG_DIR": str(self._folder / "config")}
        own["AUDIT"] = "on" if kind in ("record", "hospital") else "off"
        own["ACCOUNTS"] = "on" if kind == "hospital" else "off"
        return {**os.environ, **{f"MAHTAI_{name}": value for name, value in own.items()}}

    def _mahtai(self, *arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-m", "mahtai.cli", *arguments]
        done = subprocess.run(
            command, env=self._variables, input=stdin + "\n", text=True, check=True, capture_output=True
        )
        return done.stdout

    def _wait(self) -> None:
        for _ in range(600):
            try:
                self._client.get("/healthz")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit((self._folder / "log").read_text())

    def _sign_in(self, kind: str) -> str:
        if kind != "hospital":
            return (self._folder / "config" / "token").read_text("ascii").strip()
        # of a program, because that of a session lasts five minutes; both are asked of the tables each time
        return self._mahtai("users", "token", "reader", "--for", "benchmark").strip()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took[what].append(1000 * (time.perf_counter() - began))


def fresh(study: dict[str, np.ndarray], affines: dict[str, np.ndarray], number: int) -> dict[str, bytes]:
    """The study with one voxel of the air changed, so that nobody has seen it."""
    files = {}
    for channel, array in study.items():
        other = array.copy()
        other[0, 0, 0] = number
        files[channel] = nrrd.encode(other, affines[channel])
    return files


def measure(rounds: int, folder: Path) -> dict[str, object]:
    """Medians and ratios by what was done and by side."""
    volumes = demo_study(False, lambda text: None).volumes
    study, affines = ({channel: pair[which] for channel, pair in volumes.items()} for which in (0, 1))
    with ExitStack() as stack:
        sides = {kind: Side(kind, folder, stack) for kind in SIDES}
        for warming in range(2):  # the model is loaded, and the fastest way to run it found out
            for side in sides.values():
                side.click(fresh(study, affines, -1 - warming))
            time.sleep(20)
        for side in sides.values():
            side.took.clear()
        same = True
        for number in range(1, rounds + 1):
            files = fresh(study, affines, number)
            order = SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]
            same &= len({sides[kind].click(files) for kind in order}) == 1
    found: dict[str, object] = {"rounds": rounds, "cores": os.cpu_count(), "same results": same}
    for what in sides["bare"].took:
        found[what] = {
            kind: {
                "median_ms": round(statistics.median(side.took[what]), 1),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(side.took[what], sides["bare"].took[what], strict=True)), 3
                ),
            }
            for kind, side in sides.items()
        }
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(asked.rounds, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
