"""One life of the engine's process, seen from the server: its pipes, its messages, its end."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mahtai
import MahtAILib
from mahtai.security.at_rest.master_key import KEY_VARIABLES

Message = dict[str, Any]

ENDED = "ended"
"""Event put in after the last one, when the process has gone."""

# -S keeps foreign libraries out of the way, where the server itself was started so
_COMMAND = (sys.executable, *(["-S"] if sys.flags.no_site else []), "-m", "mahtai.jobs.engine_process")

_log = logging.getLogger(__name__)


class EngineChild:
    """A running engine process. ``messages`` holds what it says of jobs, in order, and ``ENDED`` at last.

    Start it from a thread that lives as long as the server: on Linux the kernel ends the process with the
    thread that started it.

    Args:
        on_ready: called from the reading thread when PyTorch is loaded.
        on_broken: called with the reason when the engine cannot start.
    """

    def __init__(self, on_ready: Callable[[EngineChild], None], on_broken: Callable[[EngineChild, str], None]) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.is_ready = False
        self._on_ready = on_ready
        self._on_broken = on_broken
        self._sending = threading.Lock()
        with _without_ctrl_c():
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if sys.stderr is None else None,
                env=_environment(),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        threading.Thread(target=self._read, name="engine-reader", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Write one message; a process that has gone is noticed by ``ENDED``, not here."""
        pipe = self._process.stdin
        if pipe is None:
            return
        try:
            with self._sending:
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
        except (OSError, ValueError):  # broken or closed pipe
            _log.info("the engine process %d does not listen any more", self.pid)

    def kill(self) -> None:
        """End the process at once; its memory is free when ``wait`` returns."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        return self._process.wait()

    def _read(self) -> None:
        pipe = self._process.stdout
        if pipe is not None:
            for line in pipe:
                self._handle(json.loads(line))
        self.messages.put({"event": ENDED})

    def _handle(self, message: Message) -> None:
        if message["event"] == "ready":
            self.is_ready = True
            self._on_ready(self)
        elif message["event"] == "broken":
            self._on_broken(self, message["reason"])
        else:
            self.messages.put(message)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started meanwhile never gets a Ctrl-C of the terminal: that is the server's business."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread; a child inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """This process's environment, with the two packages findable and the current folder not searched."""
    roots = [str(Path(str(package.__file__)).resolve().parents[1]) for package in (mahtai, MahtAILib)]
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(dict.fromkeys([*roots, *([known] if known else [])]))
    # the master key is not for the engine, which is given what it needs with every job
    own = {name: value for name, value in os.environ.items() if name not in KEY_VARIABLES}
    return {**own, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
