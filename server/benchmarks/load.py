"""A server under load: how quick its other calls stay while a model runs, and how many cases an hour it does alone.

    PYTHONPATH=server:MahtAI python server/benchmarks/load.py --cores 2

A real server process on ``--cores`` cores (engine and all), the clients on the other ones where there are any. While
one inference after the other runs, a crowd (a process of its own) of 100 readers polls a job twice a second and 20
upload volumes of 2 MB, one a second. How long calls take is seen by one more client, which asks for ``/healthz`` and
for the job in turn. Then a queue of unattended jobs is worked off with nobody else there. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from mahtai.demo.sample import demo_study
from mahtai.demo.server_process import running_server
from MahtAILib.client import nrrd

MODEL = "brats_segresnet"
POLLERS, UPLOADERS = 100, 20
POLL_PAUSE_S, UPLOAD_PAUSE_S, LOOK_PAUSE_S = 0.5, 1.0, 0.02
FINAL = ("succeeded", "failed", "cancelled")


class Crowd:
    """Readers and uploaders of one server, in a process of their own; counts what they did."""

    def __init__(self, url: str, token: str, job: str) -> None:
        self._url, self._token, self._job = url, token, job
        self._process = get_context("spawn").Process(target=self._live, daemon=True)

    def __enter__(self) -> None:
        self._process.start()
        time.sleep(3)  # until all are there

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def _live(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=POLLERS + UPLOADERS)
        async with httpx.AsyncClient(
            base_url=self._url, headers=_login(self._token), timeout=120, limits=limits
        ) as client:
            polling = [self._poll(client, number) for number in range(POLLERS)]
            await asyncio.gather(*polling, *(self._upload(client, number) for number in range(UPLOADERS)))

    async def _poll(self, client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(POLL_PAUSE_S * number / POLLERS)
        while True:
            (await client.get(f"/v1/inferences/{self._job}")).raise_for_status()
            await asyncio.sleep(POLL_PAUSE_S)

    async def _upload(self, client: httpx.AsyncClient, number: int) -> None:
        voxels = np.random.default_rng(number).integers(0, 1000, (128, 128, 64), dtype=np.int16)
        await asyncio.sleep(UPLOAD_PAUSE_S * number / UPLOADERS)
        for count in range(1_000_000):
            data = nrrd.encode(voxels, np.eye(4), {"count": str(count)})  # new to the server each time
            answer = await client.put(f"/v1/volumes/{hashlib.sha256(data).hexdigest()}", content=data)
            answer.raise_for_status()
            await asyncio.sleep(UPLOAD_PAUSE_S)


class Reader:
    """The client that measures; ``took`` holds ms by kind of call."""

    def __init__(self, client: httpx.Client, inputs: dict[str, str]) -> None:
        self._client = client
        self._inputs = inputs
        self.took: dict[str, list[float]] = defaultdict(list)

    def start(self, priority: str = "reader") -> str:
        """Begin a job; it is done anew."""
        wish = {"model": MODEL, "inputs": self._inputs, "rerun": True, "priority": priority}
        answer = self._client.post("/v1/inferences", json=wish)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def look(self, path: str, kind: str) -> Any:
        """One timed request."""
        started = time.perf_counter()
        answer = self._client.get(path)
        self.took[kind].append(1000 * (time.perf_counter() - started))
        answer.raise_for_status()
        return answer.json()

    def follow(self, job: str) -> None:
        """Look until the job is finished."""
        while True:
            time.sleep(LOOK_PAUSE_S)
            self.look("/healthz", "GET /healthz")
            state = self.look(f"/v1/inferences/{job}", "GET /v1/inferences/{id}")
            if state["state"] in FINAL:
                assert state["state"] == "succeeded", state
                return


def _login(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def measure(url: str, token: str, volumes: dict[str, bytes], seconds: float, jobs: int) -> dict[str, Any]:
    """All parts, after inferences that warm the engine up."""
    with httpx.Client(base_url=url, headers=_login(token), timeout=120) as client:
        inputs = {}
        for channel, data in volumes.items():
            inputs[channel] = hashlib.sha256(data).hexdigest()
            client.put(f"/v1/volumes/{inputs[channel]}", content=data).raise_for_status()
        reader = Reader(client, inputs)
        reader.follow(reader.start())
        time.sleep(20)  # meanwhile the engine measures how the network runs fastest
        reader.follow(reader.start())
        calls = {"nobody else": _under(reader, nullcontext(), seconds / 3)}
        calls["crowd"] = _under(reader, Crowd(url, token, reader.start()), seconds)
        started = time.perf_counter()
        for job in [reader.start("unattended") for _ in range(jobs)]:
            reader.follow(job)
        alone = time.perf_counter() - started
    return {"while_a_model_runs": calls, "unattended_cases_per_hour": round(3600 * jobs / alone)}


def _under(reader: Reader, crowd: AbstractContextManager[None], seconds: float) -> dict[str, Any]:
    with crowd:
        reader.took.clear()
        finished, started = 0, time.monotonic()
        while time.monotonic() < started + seconds:
            reader.follow(reader.start())
            finished += 1
        taken = time.monotonic() - started
    calls = {kind: _figures(times) for kind, times in reader.took.items()}
    return {"ms": calls, "seconds_for_an_inference": round(taken / finished, 2)}


def _figures(times: list[float]) -> dict[str, float]:
    shares = {f"p{share}": round(float(np.percentile(times, share)), 1) for share in (50, 99, 100)}
    return {"calls": len(times), **shares}


def _peaks_mb(root: int) -> dict[str, int]:
    """Largest memory of the server and its engine, by command."""
    found = {}
    for process in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
        status = Path(f"/proc/{process.pid}/status")
        if status.exists():
            peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
            name = "engine" if any("engine_process" in word for word in process.cmdline()) else "server"
            found[name] = round(int(peak.split()[1]) / 1000)
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2, help="for the server with its engine (default 2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="under load (default 60)")
    parser.add_argument("--jobs", type=int, default=10, help="in the unattended queue (default 10)")
    asked = parser.parse_args()
    study = demo_study(False, lambda text: None)
    volumes = {channel: nrrd.encode(*volume) for channel, volume in study.volumes.items()}
    everything = sorted(os.sched_getaffinity(0))
    own, others = everything[: asked.cores], everything[asked.cores :] or everything
    os.environ["MAHTAI_THREADS"] = str(asked.cores)
    with tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, own)  # inherited by the server
        with running_server(Path(folder)) as connection:
            os.sched_setaffinity(0, others)
            token = (Path(folder) / "config" / "token").read_text(encoding="utf-8").strip()
            result = measure(connection.url, token, volumes, asked.seconds, asked.jobs)
            children = psutil.Process().children()
            result["peak_memory_mb"] = _peaks_mb(children[0].pid)
    print(json.dumps({"server_cores": own, "client_cores": others, **result}, indent=1))


if __name__ == "__main__":
    main()
