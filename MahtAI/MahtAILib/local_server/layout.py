"""Where an installation keeps what, and what of it is whole."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from MahtAILib.client.durable import replace_durably, try_lock
from MahtAILib.local_server.source import BOOTSTRAP

_MARK = "complete.json"
"""Written last; a folder without it is not used."""

_LATELY_S = 30 * 24 * 3600


@dataclass(frozen=True)
class InstalledServer:
    """One version of the server that is ready to run.

    Attributes:
        version: of the source that it was made from.
        app: folder with the server's own code.
        packages: folder with its libraries.
    """

    version: str
    app: Path
    packages: Path

    @property
    def python_version(self) -> str:
        """Such as 3.12: the libraries are made for it."""
        return self.packages.name.rpartition("-")[2]

    @property
    def bootstrap(self) -> Path:
        """The script that starts it."""
        return self.app / BOOTSTRAP

    @property
    def users(self) -> Path:
        """Folder with a locked file for each process that runs from here."""
        return self.app / "in-use"


@dataclass(frozen=True)
class Layout:
    """The folders below ``root``. Names are short: Windows has little room for the long ones inside PyTorch."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by who installs."""
        return self.root / "install.lock"

    @property
    def install_log(self) -> Path:
        """What pip said, this time."""
        return self.root / "install.log"

    @property
    def server_log(self) -> Path:
        """What the server says."""
        return self.root / "server.log"

    @property
    def server_note(self) -> Path:
        """Where the server is that was started last, for this window and others."""
        return self.root / "server.json"

    def start_failure(self, run: str) -> Path:
        """What hindered one start of a server."""
        return self.root / f"start-{run}.json"

    @property
    def work(self) -> Path:
        """What is being made; of no use after an interruption."""
        return self.root / "work"

    def app(self, version: str) -> Path:
        """The server's own code."""
        return self.root / "app" / version

    def packages(self, key: str) -> Path:
        """The libraries of one list and one Python."""
        return self.root / "packages" / key

    def wheels(self, key: str) -> Path:
        """Fetched and not installed yet."""
        return self.root / "wheels" / key

    def installed(self) -> list[InstalledServer]:
        """All that can run, the newest first."""
        found = []
        for mark in self.root.glob(f"app/*/{_MARK}"):
            packages = self.packages(read_mark(mark.parent).get("packages", ""))
            if is_complete(packages):
                found.append((mark.stat().st_mtime, InstalledServer(mark.parent.name, mark.parent, packages)))
        return [server for _, server in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def remove_others(self, kept: InstalledServer | None) -> None:
        """Remove all but ``kept``, what a process runs from, and what another Slicer has used lately.

        What cannot be removed now is left for next time.
        """
        others = [server for server in self.installed() if server != kept]
        stay = [server for server in others if is_in_use(server.users) or _is_anothers(server, kept)]
        if kept is not None:
            stay.append(kept)
        for kind, used in (("app", {server.app for server in stay}), ("packages", {s.packages for s in stay})):
            for folder in self._folders(kind):
                if folder not in used:
                    remove(folder)
        for left in (self.work, self.root / "wheels"):
            shutil.rmtree(left, ignore_errors=True)

    def _folders(self, kind: str) -> Iterator[Path]:
        parent = self.root / kind
        if parent.is_dir():
            yield from sorted(path for path in parent.iterdir() if path.is_dir())


def write_mark(folder: Path, **content: str) -> None:
    """Say that a folder is whole.

    Raises:
        OSError: disk full, no permission.
    """
    replace_durably(folder / _MARK, json.dumps(content).encode())


def read_mark(folder: Path) -> dict[str, str]:
    """What ``write_mark`` was given, or nothing."""
    try:
        content = json.loads((folder / _MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_complete(folder: Path) -> bool:
    """Whether the folder is whole."""
    return (folder / _MARK).is_file()


def remove(folder: Path) -> None:
    """Remove a folder, its mark first, so that what cannot be removed is not taken for whole."""
    (folder / _MARK).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_in_use(users: Path) -> bool:
    """Whether a process runs from the folder: it holds the lock of its file, which ends with it."""
    if not users.is_dir():
        return False
    return any(not _is_free(path) for path in users.iterdir())


def _is_anothers(server: InstalledServer, kept: InstalledServer | None) -> bool:
    """Whether a Slicer with another Python has started it lately; else two of them would undo each other's work."""
    if kept is None or server.python_version == kept.python_version:
        return False
    return time.time() - max(path.stat().st_mtime for path in (server.app, server.users) if path.exists()) < _LATELY_S


def _is_free(path: Path) -> bool:
    try:
        with try_lock(path) as free:
            return free
    except OSError:
        return False
