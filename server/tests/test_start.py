"""``start.py`` as people and service managers meet it: what it lists, and that it ends when it is told to."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from mahtai.cli import main
from server_process import ServerProcess, wait_until

START = Path(__file__).resolve().parents[1] / "start.py"


def loaded() -> ModuleType:
    """``start.py`` as a module."""
    spec = importlib.util.spec_from_file_location("mahtai_start", START)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment_in(folder: Path) -> Path:
    """A virtual environment in which everything is installed: this Python's."""
    start = loaded()
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    lists = [START.with_name(name) for name in ("requirements.txt", "pyproject.toml")]
    (folder / start.MARK.name).write_text("\n".join(f"{path.name} {start._digest(path)}" for path in lists))
    return folder


def answers(server: ServerProcess) -> bool:
    """Whether it listens."""
    try:
        return httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_without_a_command_all_of_them_are_listed() -> None:
    done = subprocess.run([sys.executable, str(START)], capture_output=True, encoding="utf-8", check=True)
    listed = done.stdout.replace(",", " ").split()
    assert [name for name, command in main.commands.items() if not command.hidden and name not in listed] == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_sigterm_ends_the_server_that_it_has_started(tmp_path: Path, models: Path) -> None:
    server = ServerProcess(tmp_path / "server", (models,))
    variables = {**server.variables(), "MAHTAI_VENV": str(environment_in(tmp_path / "venv"))}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(START), "serve"], env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: answers(server), 60, "the server to listen")
        process.terminate()
        assert process.wait(timeout=30) in (0, -15)
        wait_until(lambda: not answers(server), 5, "the server to end with start.py")
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what was left behind
