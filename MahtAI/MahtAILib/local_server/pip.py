"""One run of pip in a process of its own: watched, cancellable, and what it says when it fails made readable."""

from __future__ import annotations

import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from MahtAILib.client.background import Cancelled
from MahtAILib.client.errors import CancelledError
from MahtAILib.local_server import subprocesses
from MahtAILib.local_server.errors import (
    DiskFullError,
    InstallFailedError,
    NoInternetError,
    NoPipError,
    NotWritableError,
)

OnLine = Callable[[str], None]
OnWait = Callable[[], None]

SILENCE_LIMIT_S = 1800.0
"""Unpacking a large library on a slow disk is silent for minutes; more than this is no work any more."""

_LOOK_EVERY_S = 0.1
_LINES_KEPT = 200
_NOTHING_LOST = "What has been fetched so far is kept."

_FULL = ("no space left on device", "not enough space on the disk", "errno 28", "winerror 112", "disk quota exceeded")
_FORBIDDEN = ("permission denied", "access is denied", "errno 13", "winerror 5]", "read-only file system")
_CERTIFICATE = ("certificate_verify_failed", "sslcertverificationerror", "certificate verify failed")
_NO_WAY = (
    "newconnectionerror",
    "nameresolutionerror",
    "temporary failure in name resolution",
    "getaddrinfo failed",
    "network is unreachable",
    "connecttimeouterror",
    "connection timed out",
    "readtimeouterror",
    "read timed out",
    "proxyerror",
    "connection refused",
    "remotedisconnected",
    "connection aborted",
    "connection reset",
    "incompleteread",
    "incomplete-download",
    "no route to host",
)
_NO_BUILD = re.compile(r"no matching distribution found for ([^\s;]+)", re.IGNORECASE)
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class Pip:
    """The pip of one Python.

    Args:
        python: the command.
        folder: for its temporary files; on the disk of the target, so that what it unpacks is renamed, not copied.
        log: everything that it says goes there too.
        cancelled: asked again and again while it runs.
    """

    def __init__(self, python: str, folder: Path, log: Path, cancelled: Cancelled | None = None) -> None:
        self._python = python
        self.temporary = folder
        self._log = log
        self._cancelled = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
        self._progress: tuple[str, ...] = ()
        folder.mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Make sure that there is a pip that can do what is wanted.

        Raises:
            NoPipError: there is none, it is too old, or the Python cannot be started.
        """
        try:
            said = self.run(["--version"], lambda line: None)
        except InstallFailedError as error:
            raise NoPipError(
                f"The Python that shall run the server has no pip ({self._python}).",
                "Install Slicer again, or start the server by hand: python3 server/start.py serve.",
            ) from error
        found = re.search(r"^pip (\d+)\.(\d+)", said[-1] if said else "")
        version = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
        if version < (22, 2):
            raise NoPipError("The pip of this Python is too old to install the server.", "Update Slicer.")
        if version >= (24, 1):
            self._progress = ("--progress-bar", "raw")

    def fetching(self, command: str) -> list[str]:
        """The beginning of a command line that fetches files."""
        options = ["--no-deps"] if command == "download" else []
        return [command, *options, *self._progress, "--no-cache-dir", "--retries", "3", "--timeout", "30"]

    def run(self, arguments: Sequence[str], on_line: OnLine, on_wait: OnWait = lambda: None) -> list[str]:
        """Run pip to its end and return its last lines; they go to ``on_line`` as they come.

        ``on_wait`` is called now and then while pip says nothing.

        Raises:
            CancelledError: ``cancelled`` said so; pip and its children are ended.
            InstallFailedError: it failed, of the kind that says why.
        """
        # a temporary folder of the user's would be on another disk, perhaps a small one
        here = str(self.temporary)
        environment = subprocesses.clean_environment(
            TMPDIR=here,
            TEMP=here,
            TMP=here,
            PIP_USER="0",
            PIP_REQUIRE_VIRTUALENV="0",
            PIP_NO_INPUT="1",
            PIP_NO_COLOR="1",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )
        try:
            process = subprocesses.start(
                [self._python, "-m", "pip", *arguments],
                environment,
                self.temporary,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise NoPipError(
                f"The Python that shall run the server cannot be started ({self._python}: {error.strerror}).",
                "Install Slicer again, or connect to a server on another computer.",
            ) from error
        lines: list[str] = []
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"pip {' '.join(arguments)}\n")
                for line in self._lines(process, on_wait):
                    lines[:] = [*lines[1 - _LINES_KEPT :], line]
                    log.write(f"{line}\n")
                    on_line(line)
            status = process.wait()
        finally:
            subprocesses.end_tree(process)
        if status:
            raise explain(lines, status)
        return lines

    def _lines(self, process: subprocess.Popen[bytes], on_wait: OnWait) -> Iterator[str]:
        """What the process says, for as long as it is wanted and not silent for too long."""
        said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, said), daemon=True, name="MahtAI pip").start()
        give_up_at = time.monotonic() + SILENCE_LIMIT_S
        while time.monotonic() < give_up_at:
            if self._cancelled is not None and self._cancelled():
                raise CancelledError()
            try:
                line = said.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                on_wait()
                continue
            if line is None:
                return
            give_up_at = time.monotonic() + SILENCE_LIMIT_S
            yield line
        raise InstallFailedError(
            f"The installation made no progress for {SILENCE_LIMIT_S / 60:.0f} minutes and was stopped. "
            f"{_NOTHING_LOST}",
            "Try again.",
        )


def _read(process: subprocess.Popen[bytes], said: queue.SimpleQueue[str | None]) -> None:
    """Put each line of the process into the queue, and None after the last one."""
    if process.stdout is not None:
        for raw in process.stdout:
            said.put(raw.decode("utf-8", "replace").rstrip())
    said.put(None)


def readable(line: str) -> str:
    """A line of pip's for a person: its progress in bytes becomes one in megabytes."""
    found = _RAW_PROGRESS.fullmatch(line.strip())
    return f"{int(found.group(1)) / 1e6:.0f} of {int(found.group(2)) / 1e6:.0f} MB" if found else line.strip()


def explain(lines: Sequence[str], status: int) -> InstallFailedError:
    """The typed error for a run of pip that ended with ``status``, from what it said."""
    said = "\n".join(lines).lower()
    if any(words in said for words in _FULL):
        return DiskFullError(
            f"The disk became full while the server was being installed. {_NOTHING_LOST}",
            "Free some space, then try again: the installation goes on where it stopped.",
        )
    if "no module named pip" in said:
        return NoPipError("This Python has no pip.", "Install Slicer again.")
    if any(words in said for words in _CERTIFICATE):
        return NoInternetError(
            f"The download was refused: a certificate on the way is not trusted here. {_NOTHING_LOST}",
            "Networks that look into encrypted connections cause this. Ask IT to let pip reach its package index.",
        )
    if any(words in said for words in _NO_WAY):
        return NoInternetError(
            f"The server's libraries could not be fetched: there is no way to the internet. {_NOTHING_LOST}",
            "Check the network and the proxy, then try again: the installation goes on where it stopped.",
        )
    if any(words in said for words in _FORBIDDEN):
        return NotWritableError(
            f"The server's libraries could not be written: permission denied. {_NOTHING_LOST}",
            "Check that the folder belongs to you and that no virus scanner holds it, then try again.",
        )
    if "long path support" in said:
        return NotWritableError(
            "The folder's path is too long for Windows: PyTorch has files that do not fit below it.",
            "Ask IT to enable Windows long paths (LongPathsEnabled), then try again.",
        )
    missing = _NO_BUILD.search(said)
    if missing:
        return InstallFailedError(
            f"There is no build of {missing.group(1)} for this computer and its version of Python.",
            "Use a server on another computer. (PyTorch is not made for Macs with an Intel processor any more.)",
        )
    errors = [line for line in lines if line.startswith("ERROR")] or list(lines)
    last = errors[-1].removeprefix("ERROR:").strip() if errors else f"exit status {status}"
    return InstallFailedError(
        f"The server's libraries could not be installed: {last}. {_NOTHING_LOST}",
        "Try again. If it stops there once more, send the log to those who look after MahtAI.",
    )
