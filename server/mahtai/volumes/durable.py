"""Writing so that it lasts: a full disk has a name of its own, and a new name survives a loss of power."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mahtai.errors import MahtaiError

_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}

_UNWRITABLE = {errno.EROFS, errno.EIO}


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


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power failure; Windows does so by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
