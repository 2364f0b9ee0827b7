"""A real server in a process of its own, with folders of its own, for tests that talk to it over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

import mahtai

START_LIMIT_S = 60.0
FINAL = ("succeeded", "failed", "cancelled")

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask again and again until the answer is neither None nor False."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listens on in this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sha256(data: bytes) -> str:
    """Identity of a blob."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class ServerProcess:
    """Start, stop, kill and restart one server.

    Attributes:
        root: holds the data, the configuration and the log.
        models: folders with bundles.
        environment: more ``MAHTAI_*`` variables, without the prefix.
        wrapper: command line in front of the interpreter, such as ``unshare``.
        more_path: folders with modules that come before all others.
    """

    root: Path
    models: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    more_path: tuple[Path, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    seconds_to_listen: float = 0.0

    @property
    def url(self) -> str:
        """Address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.root / "data"

    @property
    def token(self) -> str:
        """The token that the server has written."""
        return (self.root / "config" / "token").read_text().strip()

    @property
    def log(self) -> str:
        """All that the server has written to standard error."""
        return (self.root / "server.log").read_text(errors="replace")

    def start(self) -> ServerProcess:
        """Start it and wait until it listens."""
        self.root.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "mahtai.app"],
                env=self.variables(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with httpx.Client(verify=self.trust(), trust_env=False, timeout=5) as client:
            wait_until(lambda: self._listens(client), START_LIMIT_S, f"the server to listen; its log:\n{self.log}")
        self.seconds_to_listen = time.monotonic() - started
        return self

    def stop(self) -> int:
        """Stop it as a service manager does; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """End the server and all of its processes without warning."""
        assert self.process is not None
        if os.name == "posix":
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.terminate()
        self.process.wait(timeout=30)

    def client(self, token: str | None = None, timeout: float = 60.0) -> httpx.Client:
        """An HTTP client that presents the server's token, or another one."""
        presented = self.token if token is None else token
        headers = {"Authorization": f"Bearer {presented}"} if presented else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False, verify=self.trust())

    def trust(self) -> ssl.SSLContext | bool:
        """What its certificate is checked with; it has none, as it speaks plain HTTP."""
        return False

    def engine_pids(self) -> list[int]:
        """Processes of engines that this server has started, as its log tells."""
        words = [line.split() for line in self.log.splitlines() if "mahtai.jobs.engine" in line and "is ready" in line]
        return [int(line[line.index("process") + 1]) for line in words]

    def _listens(self, client: httpx.Client) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server has ended:\n{self.log}"
        try:
            return client.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def variables(self) -> dict[str, str]:
        """The environment that the server gets."""
        first = [str(folder) for folder in self.more_path]
        paths = dict.fromkeys([*first, str(Path(str(mahtai.__file__)).parents[1]), *filter(None, sys.path)])
        own = {
            "port": str(self.port),
            "data_dir": str(self.data),
            "config_dir": str(self.root / "config"),
            "models_path": os.pathsep.join(str(folder) for folder in self.models),
            "threads": "1",
            "measure": "off",  # every test's server would measure, for longer than most tests take
            **self.environment,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAHTAI_")}
        variables = {f"MAHTAI_{key.upper()}": value for key, value in own.items()}
        return {**inherited, **variables, "PYTHONPATH": os.pathsep.join(paths)}


def put_volume(client: httpx.Client, data: bytes) -> str:
    """Upload a blob and return its hash."""
    identity = sha256(data)
    answer = client.put(f"/v1/volumes/{identity}", content=data)
    assert answer.status_code in (200, 201), answer.text
    return identity


def start_job(client: httpx.Client, model: str, inputs: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Ask for an inference and return the accepted job."""
    answer = client.post("/v1/inferences", json={"model": model, "inputs": dict(inputs), **more})
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json())


def job_state(client: httpx.Client, job: str) -> dict[str, Any]:
    """How a job stands."""
    answer = client.get(f"/v1/inferences/{job}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def finished(client: httpx.Client, job: str, seconds: float = 120.0) -> dict[str, Any]:
    """The job at its end."""

    def look() -> dict[str, Any] | None:
        state = job_state(client, job)
        return state if state["state"] in FINAL else None

    return wait_until(look, seconds, f"job {job} to end")


def server_events(client: httpx.Client, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data of the job's server-sent events, until the server closes the stream."""
    with client.stream("GET", f"/v1/inferences/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


StartServer = Callable[..., ServerProcess]
"""Starts servers that a test may stop, kill or starve; see the fixture ``start_server``. With ``begin=False`` the
server is only made, for a test that prepares its folders before."""
