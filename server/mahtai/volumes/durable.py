"""Writing so that it lasts: a full disk has a name of its own, and a new name survives a loss of power."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mahtai.errors import MahtaiError
from MahtAILib.client.durable import sync_folder

__all__ = [
    "PARTIAL",
    "StorageFull",
    "StorageUnwritable",
    "create_once",
    "full_disk_named",
    "sync_folder",
    "write_new",
    "write_whole",
]

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

_UNWRITABLE = {errno.EROFS, errno.EIO}

_BINARY = getattr(os, "O_BINARY", 0)
PARTIAL = ".part"
"""Ending of a file that is being written."""

_LEFT_S = 3600.0
"""A part that nobody has written to for this long is of a process that was killed."""

_REPLACE_TRIES = 50 if os.name == "nt" else 0


class StorageFull(MahtaiError):
    """No room is left for more data."""

    kind = "storage-full"
    title = "The server's disk is full"
    status = 507


class StorageUnwritable(StorageFull):
    """The disk takes nothing, though it may have room: it is read-only, or fails."""

    kind = "storage-unwritable"
    title = "The server's disk cannot be written"


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn what the operating system says of a full, read-only or failing disk into words.

    Raises:
        StorageFull, StorageUnwritable: instead.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _UNWRITABLE:
            raise StorageUnwritable(
                "The server's disk takes nothing: it is read-only, or it fails. What was being stored was not kept.",
                "Tell the person who looks after the server; then try again. What was saved before can be read.",
            ) from error
        if error.errno not in _FULL:
            raise
        raise StorageFull(
            "The server has no room left on its disk. What was being stored was not kept; all else is safe.",
            "Free some space there (or ask who looks after the server), then try again.",
        ) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, for its user only.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written; a part of it may be there.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, for its user only, by another content: whoever looks sees all of the old one or all of the new
    one, also after a loss of power. Of several processes that do so at once the last one's stays.

    Raises:
        StorageFull: and nothing was changed.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear_parts(path)
    partial = _partial_of(path)
    try:
        with full_disk_named():
            write_new(partial, content)
            _replace(partial, path)
            sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def create_once(path: Path, content: bytes) -> None:
    """Make a file, for its user only, whole or not at all; where several processes do so at once, the first one's
    stays.

    Raises:
        StorageFull: and it was not made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = _partial_of(path)
    try:
        with full_disk_named():
            write_new(partial, content)
            try:
                os.link(partial, path)  # unlike a renaming, a link never replaces what is there
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                if not path.exists():
                    os.replace(partial, path)
            sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _partial_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")


def _clear_parts(path: Path) -> None:
    """Delete what killed processes have left of a file, and nothing that another is writing at this moment."""
    for left in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        with suppress(OSError):  # it was renamed meanwhile
            if time.time() - left.stat().st_mtime > _LEFT_S:
                left.unlink()


def _replace(partial: Path, path: Path) -> None:
    for _ in range(_REPLACE_TRIES):
        try:
            os.replace(partial, path)
            return
        except PermissionError:  # Windows: somebody reads it at this moment
            time.sleep(0.02)
    os.replace(partial, path)
