"""A server on which people sign in, and people who do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from server_process import ServerProcess, StartServer

ROLES = ("viewer", "annotator", "radiologist", "admin", "service")

PASSWORD = "correct horse battery staple"


def mahtai(
    process: ServerProcess, *arguments: str, stdin: str = "", expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command ``mahtai`` on the server's own folders."""
    done = subprocess.run(
        [sys.executable, "-m", "mahtai.cli", *arguments],
        env=process.variables(),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@contextmanager
def hospital_in(folder: Path, models: Path, **environment: str) -> Iterator[Hospital]:
    """A hospital for all tests of a module."""
    made: list[ServerProcess] = []

    def start(name: str, begin: bool = True, **more: Any) -> ServerProcess:
        made.append(ServerProcess(folder / name, **{"models": (models,), **more}))
        return made[-1].start() if begin else made[-1]

    yield Hospital.open(start, **environment)
    made[0].kill()


@dataclass
class Hospital:
    """A running server with an account for each role, called as the role is."""

    server: ServerProcess

    @classmethod
    def open(cls, start: StartServer, name: str = "hospital", **environment: str) -> Hospital:
        """Make the accounts, then start the server."""
        own = {"accounts": "on", "requests_per_s": "100000", **environment}
        made = start(name, begin=False, environment=own)
        hospital = cls(made)
        for role in ROLES:
            hospital.add(role, role)
        made.start()
        return hospital

    def add(self, name: str, role: str, *teams: str, password: str = PASSWORD) -> None:
        """Make an account."""
        named = [word for team in teams for word in ("--team", team)]
        mahtai(self.server, "users", "add", name, "--role", role, *named, "--password-stdin", stdin=password + "\n")

    def token(self, name: str, *scopes: str) -> str:
        """A token for programs."""
        limited = [word for scope in scopes for word in ("--scope", scope)]
        return mahtai(self.server, "users", "token", name, "--for", "test", *limited).stdout.strip()

    def sign_in(self, name: str, password: str = PASSWORD, code: str | None = None) -> httpx.Response:
        """Ask to be let in."""
        body: Mapping[str, Any] = {"name": name, "password": password, "code": code}
        with self.server.client(token="") as stranger:
            return stranger.post("/v1/sign-in", json=body)

    def client(self, name: str) -> httpx.Client:
        """Somebody who has signed in."""
        answer = self.sign_in(name)
        assert answer.status_code == 200, answer.text
        return self.server.client(token=answer.json()["access_token"])
