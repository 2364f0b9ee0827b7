"""What encryption at rest costs: two servers side by side, one with a key, asked in turn.

    PYTHONPATH=server:MahtAI python server/benchmarks/at_rest.py --rounds 15

Each round uploads a volume of ``--megabytes`` that is new to the server, downloads it, and runs a model on a study from
its files (nothing is taken from memory) until the result is here. Prints JSON: medians in ms, and the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np

from mahtai.demo.sample import demo_study
from mahtai.demo.server_process import running_server
from mahtai.security.at_rest.master_key import new_key_file
from MahtAILib.client import nrrd

MODEL = "brats_segresnet"
LOOK_S = 0.005
FINAL = ("succeeded", "failed", "cancelled")
SIDES = ("plain", "encrypted")


class Side:
    """A client of one of the servers; ``took`` holds ms by what was done."""

    def __init__(self, url: str, token: str) -> None:
        self.took: dict[str, list[float]] = defaultdict(list)
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=300, trust_env=False
        )
        self._inputs: dict[str, str] = {}

    def get_ready(self, study: dict[str, bytes]) -> None:
        """Upload the study, load the model, let the engine find out what is fastest."""
        for channel, data in study.items():
            self._inputs[channel] = self.upload(data)
        self.run()
        time.sleep(20)
        self.run()
        self.took.clear()

    def round(self, data: bytes) -> None:
        """Upload, download, run."""
        identity = self.upload(data)
        with self._timed("download"):
            answer = self._client.get(f"/v1/volumes/{identity}")
        assert answer.content == data
        self.run()

    def upload(self, data: bytes) -> str:
        """Timed."""
        identity = hashlib.sha256(data).hexdigest()
        with self._timed("upload"):
            self._client.put(f"/v1/volumes/{identity}", content=data).raise_for_status()
        return identity

    def run(self) -> None:
        """From the request to the bytes of the result."""
        with self._timed("job"):
            wish = {"model": MODEL, "inputs": self._inputs, "rerun": True}
            job = self._client.post("/v1/inferences", json=wish).json()["id"]
            while (state := self._client.get(f"/v1/inferences/{job}").json()["state"]) not in FINAL:
                time.sleep(LOOK_S)
            assert state == "succeeded"
            self._client.get(f"/v1/inferences/{job}/result/segmentation").raise_for_status()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took[what].append(1000 * (time.perf_counter() - began))


def measure(rounds: int, megabytes: int, folder: Path) -> dict[str, dict[str, float]]:
    """Medians by what was done and by side, and the ratio encrypted / plain."""
    study = {channel: nrrd.encode(*volume) for channel, volume in demo_study(False, lambda text: None).volumes.items()}
    new_key_file(folder / "key")
    with ExitStack() as stack:
        sides = {}
        for name in SIDES:
            if name == "encrypted":
                os.environ["MAHTAI_KEY_FILE"] = str(folder / "key")
            connection = stack.enter_context(running_server(folder / name))
            os.environ.pop("MAHTAI_KEY_FILE", None)
            sides[name] = Side(connection.url, (folder / name / "config" / "token").read_text("utf-8").strip())
        for side in sides.values():
            side.get_ready(study)
        for number in range(rounds):
            voxels = np.random.default_rng(number).integers(0, 4000, (256, 256, megabytes * 8), dtype=np.int16)
            data = nrrd.encode(voxels, np.eye(4))
            for name in SIDES if number % 2 else reversed(SIDES):
                sides[name].round(data)
    found = {}
    for what in ("upload", "download", "job"):
        medians = {name: round(statistics.median(side.took[what]), 1) for name, side in sides.items()}
        paired = zip(sides["encrypted"].took[what], sides["plain"].took[what], strict=True)
        found[what] = {**medians, "ratio": round(statistics.median(mine / other for mine, other in paired), 3)}
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--megabytes", type=int, default=32, help="of the volume that is sent (default 32)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(asked.rounds, asked.megabytes, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
