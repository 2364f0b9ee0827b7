"""``mahtai …`` killed at a moment of choice; see ``forked_commands.py``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from at_rest_kit import keys_environment
from server_process import ServerProcess


class Commands:
    """Commands on a server's folders that can be killed."""

    def __init__(self, server: ServerProcess) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked_commands.py"))],
            env=keys_environment(server, {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(server.root / "commands.log").open("ab"),
            encoding="utf-8",
        )
        assert self._said() == "ready"

    def run(self, key_file: Path, words: str, kill_after_s: float | None) -> int:
        """Run a command, killed after so long; its exit status, -9 for a killed one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{key_file} {words}\n")
        self._process.stdin.flush()
        child = int(self._said())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):  # it was done sooner
                os.kill(child, signal.SIGKILL)
        return int(self._said())

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """No more commands."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
