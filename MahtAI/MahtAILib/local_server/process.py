"""The server's process on this computer: found or started, watched, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MahtAILib.client.background import Cancelled
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CancelledError,
    ClientError,
    ServerTooNewError,
    ServerTooOldError,
)
from MahtAILib.local_server import subprocesses
from MahtAILib.local_server.errors import DamagedInstallationError, ServerDidNotStartError
from MahtAILib.local_server.folders import config_folder, read_token
from MahtAILib.local_server.installation import Installation
from MahtAILib.local_server.layout import Layout
from MahtAILib.local_server.log import begin_anew, last_lines
from MahtAILib.local_server.server_state import STOPPED, ServerStage, ServerState
from MahtAILib.local_server.source import BOOTSTRAP

DEFAULT_PORT = 8391
START_LIMIT_S = 180.0
"""The first start on a slow disk reads a gigabyte of libraries."""

STOP_LIMIT_S = 10.0
PROBE_LIMIT_S = 3.0

DEVELOPER_PYTHON = "MAHTAI_SERVER_PYTHON"
"""Variable that names a Python which has the server's libraries already, such as server/.venv of start.py."""

_LOOK_EVERY_S = 0.1
_OTHER_WINDOW_LIMIT_S = 30.0


class LocalServer:
    """One server for this user on this computer, whoever started it.

    A server that is running already (of another Slicer window, or started by hand) is used, not doubled. One
    that this object starts ends when ``stop`` is called or when this process ends, however it ends. Data and
    token are in the user's usual folders, the same that ``mahtai serve`` uses; ``MAHTAI_*`` variables move them.

    For developers: with ``MAHTAI_SERVER_PYTHON`` set to a Python that has the server's libraries, nothing needs
    to be installed; that Python runs the source that came with the module (in a checkout: the checkout's).

    Args:
        installation: what to start from.
        environment: instead of this process's variables.
    """

    def __init__(self, installation: Installation, environment: Mapping[str, str] | None = None) -> None:
        self._installation = installation
        self._environment = dict(os.environ if environment is None else environment)
        self._layout: Layout = installation.layout
        self._lock = threading.Lock()  # held while the process is started or ended
        self._unwanted = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._run = ""
        self._state = STOPPED

    @property
    def needs_installation(self) -> bool:
        """Whether ``start`` would raise ``NotInstalledError`` if no server is running."""
        return not self._environment.get(DEVELOPER_PYTHON) and not self._installation.state().can_start

    @property
    def state(self) -> ServerState:
        """What is known without asking the server; at once."""
        state, process = self._state, self._process
        if state.stage is ServerStage.RUNNING and state.is_ours and process is not None and process.poll() is not None:
            return ServerState(ServerStage.ENDED, why=f"The server has ended (exit status {process.returncode}).")
        return state

    def find(self) -> ServerState:
        """The server that is answering now, if there is one; takes seconds at most.

        Raises:
            ServerTooOldError, ServerTooNewError: one answers that does not fit this extension.
        """
        if self._lock.acquire(blocking=False):  # else it is being started or stopped
            try:
                return self._find()
            finally:
                self._lock.release()
        return self.state

    def start(self, cancelled: Cancelled | None = None) -> ServerState:
        """Use the server that is running, or start one and wait until it answers.

        Where another program has the usual port, the server takes one that is free.

        Raises:
            NotInstalledError: there is nothing to start.
            ServerDidNotStartError, DamagedInstallationError: ``log_tail`` tells more.
            ServerTooOldError, ServerTooNewError: a server is running that does not fit this extension.
            CancelledError: ``cancelled`` said so, or ``stop`` was called; nothing is left running.
        """
        is_cancelled = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
        with self._lock:
            self._unwanted.clear()
            found = self._find()
            if found.stage is ServerStage.RUNNING:
                return found
            self._end()
            self._state = ServerState(ServerStage.STARTING, is_ours=True, why="The server is starting.")
            try:
                self._state = self._start(lambda: self._unwanted.is_set() or bool(is_cancelled and is_cancelled()))
            except BaseException:
                self._end()
                self._state = STOPPED
                raise
            return self._state

    def stop(self) -> None:
        """Stop the server that this object started, within ``STOP_LIMIT_S``; one of somebody else is left alone."""
        self._unwanted.set()
        with self._lock:
            self._end()
            self._state = STOPPED

    def log_tail(self, max_lines: int = 200) -> list[str]:
        """The last lines of the log; of the installation's as long as no server was started."""
        for path in (self._layout.server_log, self._layout.install_log):
            lines = last_lines(path, max_lines)
            if lines:
                return lines
        return []

    @property
    def _token(self) -> str:
        return read_token(config_folder(self._environment))

    @property
    def _port(self) -> int:
        given = self._environment.get("MAHTAI_PORT", "")
        return int(given) if given.isdigit() and 0 < int(given) < 65536 else DEFAULT_PORT

    def _start(self, is_cancelled: Callable[[], bool]) -> ServerState:
        self._run = secrets.token_hex(4)
        failure = self._layout.start_failure(self._run)
        process = self._process = self._launch(failure)
        give_up_at = time.monotonic() + START_LIMIT_S
        while time.monotonic() < give_up_at:
            if is_cancelled():
                raise CancelledError()
            has_ended = process.poll() is not None
            note = _read_note(self._layout.server_note)
            if note.get("run") == self._run and (version := self._probe(note["url"])):
                why = f"MahtAI server {version} is running at {note['url']}."
                return ServerState(ServerStage.RUNNING, note["url"], self._token, version, True, why)
            if has_ended:
                return self._despite(_read_note(failure), process.returncode, is_cancelled)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_EVERY_S)
        raise ServerDidNotStartError(
            f"The server did not answer within {START_LIMIT_S / 60:.0f} minutes and was stopped.",
            "Close other programs and try again; its log below tells how far it came.",
        )

    def _launch(self, failure: Path) -> subprocess.Popen[bytes]:
        """Start the process; its address comes in the server's note, or what hindered it in ``failure``."""
        port = 0 if _is_taken(self._port) else self._port
        log = self._layout.server_log
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            begin_anew(log)
            with log.open("ab") as output:
                notes = ["--note", str(self._layout.server_note), "--failure", str(failure), "--run", self._run]
                return subprocesses.start(
                    [*self._command(), *notes, "--port", str(port)],
                    subprocesses.clean_environment(self._environment),
                    self._layout.root,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        except OSError as error:
            raise ServerDidNotStartError(
                f"The server's process cannot be started ({error.strerror}: {error.filename}).",
                "Check that Slicer's folder is complete and that this folder is yours to write.",
            ) from error

    def _command(self) -> list[str]:
        developer_python = self._environment.get(DEVELOPER_PYTHON)
        if developer_python:
            source = self._installation.source
            folders = [source.package.parent, source.library.parent]
            bootstrap = source.library / "local_server" / BOOTSTRAP
            python, packages, users = [developer_python], [], self._layout.root / "in-use"
        else:
            server = self._installation.current()
            folders, bootstrap, users = [server.app], server.bootstrap, server.users
            python, packages = [self._installation.python, "-S"], ["--packages", str(server.packages)]
        apps = [word for folder in folders for word in ("--app", str(folder))]
        return [*python, str(bootstrap), *apps, *packages, "--users", str(users)]

    def _despite(self, failure: Mapping[str, Any], status: int, is_cancelled: Callable[[], bool]) -> ServerState:
        """A running server in spite of a failure of ours: another window's, if that is what was in the way.

        Raises:
            LocalServerError: the failure.
        """
        if failure.get("kind") == "data-folder-in-use":
            give_up_at = time.monotonic() + _OTHER_WINDOW_LIMIT_S
            while time.monotonic() < give_up_at:
                found = self._look()  # another window may be starting it in this moment
                if found is not None:
                    return found
                if is_cancelled():
                    raise CancelledError()
                self._unwanted.wait(_LOOK_EVERY_S)
        elif failure.get("kind") == DamagedInstallationError.kind:
            raise DamagedInstallationError(
                f"The installed server is incomplete: {failure['reason']}.", "Install the server again."
            )
        if failure:
            raise ServerDidNotStartError(failure["reason"], failure["hint"])
        raise ServerDidNotStartError(
            f"The server ended while it was starting (exit status {status}): {''.join(self.log_tail(1))}",
            "Its log below tells more. Installing the server again mends damaged files.",
        )

    def _find(self) -> ServerState:
        found = self._look()
        if found is not None:
            self._state = found
        elif self._state.stage is ServerStage.RUNNING and not self._state.is_ours:
            self._state = ServerState(ServerStage.ENDED, why="The server does not answer any more.")
        # ours is only too busy to answer as long as its process lives, which ``state`` looks at
        return self.state

    def _look(self) -> ServerState | None:
        """The server that answers, if there is one."""
        process = self._process
        for url in dict.fromkeys(
            [_read_note(self._layout.server_note).get("url", ""), f"http://127.0.0.1:{self._port}"]
        ):
            version = self._probe(url) if url else ""
            if version:
                is_ours = process is not None and process.poll() is None and url == self._state.url
                whose = "" if is_ours else "; it was started by another window or by hand"
                why = f"MahtAI server {version} is running at {url}{whose}."
                return ServerState(ServerStage.RUNNING, url, self._token, version, is_ours, why)
        return None

    def _probe(self, url: str) -> str:
        """The version of the server of this user that answers there, or nothing."""
        token = self._token
        if not token:
            return ""  # a server makes it before it listens
        try:
            with Connection(
                url, token, connect_timeout_s=PROBE_LIMIT_S, read_timeout_s=PROBE_LIMIT_S, retries=0
            ) as connection:
                return connection.probe().version
        except (ServerTooOldError, ServerTooNewError):
            raise
        except ClientError:
            return ""

    def _end(self) -> None:
        """End our process: by closing the pipe that it watches, and by force if that does not help."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        subprocesses.end_tree(process)
        with contextlib.suppress(OSError):
            self._layout.start_failure(self._run).unlink(missing_ok=True)
            if _read_note(self._layout.server_note).get("run") == self._run:
                self._layout.server_note.unlink()


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _is_taken(port: int) -> bool:
    """Whether a program of this computer listens there."""
    with socket.socket() as attempt:
        if sys.platform != "win32":  # there it would succeed beside another program
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
