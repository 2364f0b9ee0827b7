"""A folder for a file that a foreign library reads by its name, gone in the next moment; in memory where it can be."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_SPARE = 1 << 20


@contextmanager
def passing_folder(wanted_bytes: int) -> Iterator[Path]:
    """A folder of this user's own.

    On Linux it is in memory, so that no plain image ever lies on a disk; elsewhere, and where memory has no room for
    ``wanted_bytes``, it is the system's folder for such files.
    """
    with tempfile.TemporaryDirectory(prefix="mahtai-", dir=_in_memory(wanted_bytes)) as folder:
        yield Path(folder)


def _in_memory(wanted_bytes: int) -> Path | None:
    try:
        free = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if free > 2 * wanted_bytes + _SPARE and os.access(_MEMORY, os.W_OK | os.X_OK) else None
