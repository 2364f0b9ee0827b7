"""Several servers and workers that share a PostgreSQL database and a data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from server_process import ServerProcess, wait_until

READY = ("ready", "busy")


@dataclass
class WorkerProcess(ServerProcess):
    """A worker: it does not listen, but says in its log that it works."""

    def start(self) -> WorkerProcess:
        """Start it and wait until it works."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mahtai.cli", "worker"],
                env=self.variables(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: "works as" in self.log, 60, "the worker to work")
        return self


@dataclass
class FleetKit:
    """Makes servers ``a``, ``b``, … and workers ``w``, … below one folder.

    Attributes:
        url: of the database.
        members: those that were started, by name.
    """

    root: Path
    url: str
    models: tuple[Path, ...]
    members: dict[str, ServerProcess] = field(default_factory=dict)

    def server(self, name: str, **environment: str) -> ServerProcess:
        """Start a server, or start it again."""
        return self._start(name, ServerProcess, environment)

    def worker(self, name: str, **environment: str) -> ServerProcess:
        """Start a worker, or start it again."""
        return self._start(name, WorkerProcess, environment)

    def _start(self, name: str, kind: type[ServerProcess], environment: Mapping[str, str]) -> ServerProcess:
        if name not in self.members:
            shared = {"database_url": self.url, "server_name": name, "data_dir": str(self.root / "shared")}
            self.members[name] = kind(self.root / name, self.models, {**shared, **environment})
        self.members[name].start()
        return self.members[name]

    def warm(self, *names: str) -> None:
        """Wait until the engines of these could run a job."""
        for name in names:
            wait_until(lambda name=name: self.members[name].engine_pids(), 120, f"the engine of {name}")  # type: ignore[misc]

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement, values).fetchall()

    def owner(self, job: str) -> str:
        """The server that has to do a job."""
        return str(self.ask("SELECT owner FROM inferences WHERE id = %s", job)[0][0])

    def state(self, job: str) -> tuple[str, str, int]:
        """Owner, state and number of starts of a job."""
        return self.ask("SELECT owner, state, starts FROM inferences WHERE id = %s", job)[0]  # type: ignore[return-value]

    def end(self) -> None:
        """End all of them at once."""
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.kill()


def signal_server(server: ServerProcess, number: int) -> None:
    """Send a signal to the server's own process, not to its engine."""
    assert server.process is not None
    os.kill(server.process.pid, number)
