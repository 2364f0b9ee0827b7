"""MONAI Label with our network: its environment, its server, and its own client."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from speed.peers import BUNDLE, Peer, PeerRun
from speed.talk import BENCHMARKS, Child, PeerFailed

VERSION = "0.8.5"
PINS = Path(__file__).with_name("monai_label_requirements.txt")
APP = Path(__file__).with_name("monai_label_app")
OLDEST, NEWEST = (3, 10), (3, 11)
START_LIMIT_S = 120.0


class MonaiLabel:
    """A running server and a warm client."""

    name = "monailabel"

    def __init__(self, driver: Child, url: str, folder: Path, device: str, window: tuple[int, ...]) -> None:
        self.is_what = (
            f"MONAI Label {VERSION} serves the same network, window {window}; over HTTP by its own client, one "
            "file with all channels in (written before), a file out (not read, not brought into a scene)"
        )
        self._driver, self._device = driver, device
        self.told = driver.ask(do="connect", url=url, folder=str(folder))

    def run(self, case: str, folder: Path) -> list[PeerRun]:
        """Upload and infer, as for a new image; then infer once more, as for one that is there."""
        image = f"{case}-{uuid.uuid4().hex[:8]}"
        upload = self._driver.ask(do="upload", file=str(folder / "image.nii.gz"), id=image)
        first = self._driver.ask(do="infer", id=image, device=self._device)
        again = self._driver.ask(do="infer", id=image, device=self._device)
        nothing = {"wall_s": 0.0, "sent_bytes": 0, "received_bytes": 0}
        return [
            self._measured(case, "upload and infer", ("new",), first, upload),
            self._measured(case, "infer", ("there", "ahead"), again, nothing),
        ]

    def _measured(
        self, case: str, phase: str, against: tuple[str, ...], inferred: dict[str, Any], upload: dict[str, Any]
    ) -> PeerRun:
        latencies = inferred["latencies_s"]
        wall = inferred["wall_s"] + upload["wall_s"]
        stages = {
            "upload": upload["wall_s"],
            "preprocess": latencies["pre"],
            "forward": latencies["infer"],
            "postprocess": latencies["invert"] + latencies["post"],
            "encode": latencies["write"],
        }
        stages["other"] = wall - sum(stages.values())
        sent, received = (inferred[name] + upload[name] for name in ("sent_bytes", "received_bytes"))
        return PeerRun(case, phase, against, wall, stages, inferred["labels"], sent, received)


@contextlib.contextmanager
def monai_label(
    environment: Path | None, work: Path, logs: Path, device: str, window: tuple[int, ...]
) -> Iterator[Peer]:
    """MONAI Label, installed if need be, with one model.

    Args:
        environment: folder of its virtual environment; None for one in the user's cache.
        work: folder for its data. logs: folder for what it prints.
        window: of the sliding window.

    Raises:
        PeerFailed: it cannot be installed, or does not start.
    """
    python = installed(environment or default_environment())
    shutil.copytree(APP, work / "app", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("studies", "results", "temporary", "sessions"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    folders = {"TMPDIR": str(work / "temporary"), "MONAI_LABEL_SESSION_PATH": str(work / "sessions")}
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log = logs / "monailabel.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [python, "-m", "monailabel.main", "start_server", "--app", str(work / "app"), "--studies"]
            + [str(work / "studies"), "--host", "127.0.0.1", "--port", str(port), "--conf", "bundle", str(BUNDLE)]
            + ["--conf", "window", str(list(window))],
            cwd=work,
            env={**variables, **folders},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    driver = None
    try:
        _wait(url, server, log)
        command = [python, "-m", "speed.monai_label_driver"]
        driver = Child(command, logs / "monailabel_client.log", {**variables, "PYTHONPATH": str(BENCHMARKS)})
        yield MonaiLabel(driver, url, work / "results", device, window)
    finally:
        if driver is not None:
            driver.close()
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def default_environment() -> Path:
    """Where it is installed unless told otherwise."""
    return Path(platformdirs.user_cache_dir("MahtAI", appauthor=False)) / f"monailabel-{VERSION}"


def installed(environment: Path) -> str:
    """The Python of an environment with MONAI Label, which is made unless it is there already.

    Raises:
        PeerFailed: this Python is too new for it, or pip failed.
    """
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    mark = environment / "installed.txt"
    wanted = f"{VERSION} {hashlib.sha256(PINS.read_bytes()).hexdigest()}"
    if mark.exists() and mark.read_text("utf-8") == wanted and python.exists():
        return str(python)
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise PeerFailed(
            f"MONAI Label {VERSION} runs on Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, "
            f"this is {sys.version.split()[0]}; make its environment ({environment}) with an older one"
        )
    print(f"Installing MONAI Label {VERSION} into {environment}: some minutes, about 3 GB.", flush=True)
    environment.mkdir(parents=True, exist_ok=True)
    log = environment / "pip.log"
    # the pinned PyTorch first: what else would be chosen brings several GB that are not needed here
    torch = next(line for line in PINS.read_text("utf-8").splitlines() if line.startswith("torch=="))
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [str(python), "-m", "pip", "install", torch],
        [str(python), "-m", "pip", "install", "--requirement", str(PINS)],
        [str(python), "-m", "pip", "install", "--no-deps", f"monailabel=={VERSION}"],
    ]
    said = b""
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        said += done.stdout
        log.write_bytes(said)
        if done.returncode:
            raise PeerFailed(f"MONAI Label could not be installed; what pip said is in {log}")
    mark.write_text(wanted, encoding="utf-8")
    return str(python)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{url}/info/", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise PeerFailed(f"MONAI Label's server did not start; its messages are in {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
