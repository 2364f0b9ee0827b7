"""The server's data folder: private to its user, held by one server at a time, with room to spare."""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from pathlib import Path
from types import TracebackType

from mahtai.errors import MahtaiError
from mahtai.volumes.store import StorageFull

LOCK_FILE = "server.lock"


class DataFolderError(MahtaiError):
    """The folder cannot be made or written."""

    kind = "data-folder"
    title = "The data folder cannot be used"
    status = 500


class DataFolderInUse(DataFolderError):
    """Another server has this folder open."""

    kind = "data-folder-in-use"
    title = "Another MahtAI server is running"


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk for this user."""
    return shutil.disk_usage(folder).free


def require_room(folder: Path, wanted: int) -> None:
    """Refuse new work while what has been accepted can still be finished.

    Raises:
        StorageFull: less than ``wanted`` bytes are free.
    """
    free = free_bytes(folder)
    if free < wanted:
        raise StorageFull(
            f"The server's disk is almost full ({free / 1e6:,.0f} MB free, {wanted / 1e6:,.0f} MB are needed). "
            "Nothing was stored; all else is safe.",
            "Free some space on the server (or ask who looks after it), then try again.",
        )


class DataFolder:
    """Makes the folder and holds it for one process; the system lets go of it however the process ends.

    Args:
        lock: file in the folder that is held: one for all, or one a server where several share the folder, which is
            then closed to a server that would have it alone.
    """

    def __init__(self, folder: Path, lock: str = LOCK_FILE) -> None:
        _all.add(self)
        self._folder = folder
        self._lock = lock
        self._descriptors: list[int] = []

    def __enter__(self) -> DataFolder:
        """Take the folder.

        Raises:
            DataFolderInUse: another process has it.
            DataFolderError: it cannot be made or written.
        """
        kinds = {LOCK_FILE: _lock_shared, self._lock: _lock}  # one of them where both are the same file
        for name, take in kinds.items():
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._descriptors.append(os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as error:
                self._close()
                raise DataFolderError(
                    f"The data folder {self._folder} cannot be written ({error.strerror}).",
                    "Check who owns it, or choose another one with MAHTAI_DATA_DIR.",
                ) from error
            try:
                take(self._descriptors[-1])
            except OSError as error:
                self._close()
                raise self._in_use(name) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go of it."""
        self._close()

    def _in_use(self, lock: str) -> DataFolderInUse:
        if lock == LOCK_FILE:
            return DataFolderInUse(
                f"Another MahtAI server is already using {self._folder}.",
                "Use that server, stop it first, or give this one its own folder with MAHTAI_DATA_DIR.",
            )
        return DataFolderInUse(
            f"Another MahtAI server of the same name is already using {self._folder}.",
            "Use that server, stop it first, or give this one its own name with MAHTAI_SERVER_NAME.",
        )

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


_all: weakref.WeakSet[DataFolder] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked process does not go on holding what its parent has; the parent keeps it."""
    for folder in list(_all):
        folder._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _lock_shared(_descriptor: int) -> None:
        pass  # there is no such lock

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_shared(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
