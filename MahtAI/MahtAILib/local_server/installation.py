"""The server's installation: what state it is in, and bringing it up to what came with the extension."""

from __future__ import annotations

import errno
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from MahtAILib.client.background import Cancelled
from MahtAILib.client.durable import move_folder, try_lock
from MahtAILib.local_server import layout, packages, subprocesses
from MahtAILib.local_server.errors import (
    AlreadyInstallingError,
    DiskFullError,
    NoPipError,
    NotInstalledError,
    NotWritableError,
)
from MahtAILib.local_server.layout import InstalledServer, Layout
from MahtAILib.local_server.pip import Pip, readable
from MahtAILib.local_server.progress import InstallationStage, InstallationState, InstallStage, OnProgress, Reporter
from MahtAILib.local_server.source import ServerSource

APP_BYTES = 100_000_000
"""Room for the server's own files; measured: 11 MB."""

LIBRARIES_BYTES = 2_300_000_000
"""Room for the fetched files and what they unpack to; measured: 1.2 GB (Windows, macOS) to 1.8 GB (Linux)."""

GPU_LIBRARIES_BYTES = 9_500_000_000
"""The same where PyTorch brings the libraries of an NVIDIA GPU along (Linux); measured: 8.4 GB."""

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Installation:
    """A server in a folder of its own.

    The libraries never touch those of the Python that runs them: they lie in ``folder`` and are found first.
    Libraries are shared between versions of the server as long as the list of them and the Python stay the
    same. Fetched files stay until they are installed, so an interrupted installation goes on where it was.

    Args:
        folder: to be used by nothing else; keep its path short (Windows).
        source: what to install.
        python: command of the Python that shall run the server; by default this process's own (in Slicer, the
            launcher ``PythonSlicer``). It needs pip.
        free_bytes: how much room there is in a folder.
    """

    def __init__(
        self,
        folder: Path,
        source: ServerSource,
        python: str | None = None,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.folder = folder.absolute()
        self.source = source
        self.python = python or subprocesses.this_python()
        self.layout = Layout(self.folder)
        self._is_own_python = python is None
        self._free_bytes = free_bytes

    def state(self) -> InstallationState:
        """What is there. May take a moment: it reads the source and may ask the Python for its version."""
        wanted = self._wanted
        installed = self.layout.installed()
        if wanted in installed:
            return InstallationState(InstallationStage.READY, f"MahtAI server {_short(wanted)} is installed.", True)
        usable = [server for server in installed if self._fits(server)]
        if usable:
            brought, there = _short(wanted), _short(usable[0])
            other = there if there != brought else "another build of it"
            why = f"MahtAI server {brought} came with the extension; installed is {other}."
            return InstallationState(InstallationStage.OUTDATED, why, True)
        if installed:
            why = "The installed server was made for another version of Python; Slicer was updated."
            return InstallationState(InstallationStage.OUTDATED, why, False)
        if self.layout.work.exists() or self.layout.wheels(self._key).exists():
            return InstallationState(
                InstallationStage.INTERRUPTED, "The installation was interrupted; it can go on where it stopped.", False
            )
        return InstallationState(InstallationStage.ABSENT, "No server is installed on this computer.", False)

    def current(self) -> InstalledServer:
        """What is to be started: this version, or an older one as long as this one is not installed.

        Raises:
            NotInstalledError: nothing that this Python can run.
        """
        installed = self.layout.installed()
        for server in [self._wanted, *installed]:
            if server in installed and self._fits(server):
                return server
        raise NotInstalledError(self.state().why, "Install the server first.")

    def install(self, on_progress: OnProgress | None = None, cancelled: Cancelled | None = None) -> None:
        """Install or update, going on where an earlier call stopped; nothing to do is done at once.

        The version that was there before stays until the new one is whole, and as long as it is running.

        Raises:
            CancelledError: ``cancelled`` said so; what was fetched is kept.
            InstallFailedError: one of its kinds; what was fetched is kept.
        """
        report = Reporter(on_progress)
        report(InstallStage.PREPARING)
        with self._prepared():
            pip = Pip(self.python, self.layout.work, self.layout.install_log, cancelled)
            if not layout.is_complete(self._wanted.packages):
                pip.check()
                self._install_packages(pip, report)
            report(InstallStage.FINISHING)
            self._install_app()
            self.layout.remove_others(self._wanted)
        report(InstallStage.FINISHING, 1.0)

    def remove(self) -> None:
        """Remove everything but what a running server uses.

        Raises:
            AlreadyInstallingError: somebody is installing.
        """
        if self.folder.exists():
            with self._locked():
                self.layout.remove_others(None)

    @cached_property
    def _python_version(self) -> str:
        """Such as 3.12, of the Python that runs the server."""
        if self._is_own_python:
            return f"{sys.version_info.major}.{sys.version_info.minor}"
        command = [self.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            return subprocess.run(
                command,
                env=subprocesses.clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            raise NoPipError(
                f"The Python that shall run the server cannot be started ({self.python}).",
                "Install Slicer again, or connect to a server on another computer.",
            ) from error

    @cached_property
    def _key(self) -> str:
        """Tells sets of libraries apart: what is wanted, for which Python, on which machine."""
        parts = (self.source.requirements_digest, self._python_version, platform.machine(), sys.platform)
        return f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:10]}-{self._python_version}"

    @cached_property
    def _wanted(self) -> InstalledServer:
        version = self.source.version
        return InstalledServer(version, self.layout.app(version), self.layout.packages(self._key))

    def _fits(self, server: InstalledServer) -> bool:
        return server.python_version == self._python_version

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """The folder made and held, with enough room; every error of the file system becomes a sentence."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                shutil.rmtree(self.layout.work, ignore_errors=True)
                self.layout.install_log.unlink(missing_ok=True)
                self._require_room(0 if layout.is_complete(self._wanted.packages) else LIBRARIES_BYTES)
                try:
                    yield
                finally:
                    shutil.rmtree(self.layout.work, ignore_errors=True)
        except OSError as error:
            if error.errno in _FULL or getattr(error, "winerror", None) == 112:
                raise DiskFullError(
                    "The disk became full while the server was being installed. What has been fetched is kept.",
                    "Free some space, then try again: the installation goes on where it stopped.",
                ) from error
            raise NotWritableError(
                f"The folder {self.folder} cannot be written ({error.strerror}).",
                "Check that it belongs to you and that the disk is not write-protected, then try again.",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with try_lock(self.layout.lock) as held:
            if not held:
                raise AlreadyInstallingError(
                    "Another Slicer window is installing the server.", "Wait until it is done; both can use it."
                )
            yield

    def _require_room(self, libraries_bytes: int) -> None:
        fetched = sum(path.stat().st_size for path in self.layout.wheels(self._key).glob("*.whl"))
        needed = APP_BYTES + max(libraries_bytes - fetched, 0)
        free = self._free_bytes(self.folder)
        if free < needed:
            raise DiskFullError(
                f"The server needs {needed / 1e9:.1f} GB of disk space for its installation, but at {self.folder} "
                f"only {free / 1e9:.1f} GB are free. Nothing was changed.",
                "Free some space, then try again. Afterwards a part of it is free again.",
            )

    def _install_packages(self, pip: Pip, report: Reporter) -> None:
        wheels, unpacked = self.layout.wheels(self._key), self.layout.work / "p"
        wheels.mkdir(parents=True, exist_ok=True)
        wanted = packages.resolve(
            pip, self.source.requirements, wheels, lambda line: report(InstallStage.RESOLVING, 0.0, readable(line))
        )

        if any(wheel.name.startswith("nvidia") for wheel in wanted):
            self._require_room(GPU_LIBRARIES_BYTES)

        def count_fetched(done: int, total: int, line: str) -> None:
            report(InstallStage.FETCHING, done / total, f"{done} of {total}: {readable(line)}")

        def count_unpacked(done: int, total: int, line: str) -> None:
            report(InstallStage.UNPACKING, done / total, f"{done} of {total}")

        packages.fetch(pip, wanted, wheels, count_fetched)
        packages.unpack(pip, wanted, wheels, unpacked, count_unpacked)
        target = self._wanted.packages
        layout.remove(target)
        target.parent.mkdir(exist_ok=True)
        move_folder(unpacked, target)
        layout.write_mark(target)

    def _install_app(self) -> None:
        target = self._wanted.app
        if layout.is_complete(target) and layout.read_mark(target).get("packages") == self._key:
            return
        made = self.layout.work / "app"
        layout.remove(target)
        self.source.copy_to(made)
        target.parent.mkdir(exist_ok=True)
        move_folder(made, target)
        layout.write_mark(target, packages=self._key)


def _short(server: InstalledServer) -> str:
    return server.version.partition("-")[0]
