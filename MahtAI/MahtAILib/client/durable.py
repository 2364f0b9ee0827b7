"""Files and folders that are either wholly there after a crash or not at all, and a lock between processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it survives a power cut once this returns; its folder must be synced as well.

    Raises:
        OSError: disk full, no permission.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Write or replace a file; a reader sees the old content or the new one, never a part.

    Raises:
        OSError: disk full, no permission.
    """
    unfinished = path.with_name(path.name + ".part")
    write_durably(unfinished, data)
    os.replace(unfinished, path)
    sync_folder(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder within one file system and make that survive a power cut.

    Raises:
        OSError: ``source`` is gone, or ``target`` is there.
    """
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut (Windows does that by itself)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Whether this is the only holder of the lock, for as long as the block runs; it never waits.

    The lock belongs to the open file, so it ends with the process however that ends. Where the file
    system has no locks (some network shares) everybody holds it: users must bear that.

    Raises:
        OSError: the lock file cannot be opened.
    """
    with path.open("ab") as file:
        yield _lock(file.fileno())


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
