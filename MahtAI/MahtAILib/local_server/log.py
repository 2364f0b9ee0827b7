"""The server's log as a file: begun anew when it is long, and its end for the panel."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_LONGEST_LOG = 5_000_000
_TAIL_BYTES = 100_000


def begin_anew(log: Path) -> None:
    """Put a log that has become long aside; the one before it goes."""
    with contextlib.suppress(OSError):  # no log yet, or another process has it open (Windows)
        if log.stat().st_size > _LONGEST_LOG:
            os.replace(log, log.with_suffix(".old.log"))


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-count:] if count else []
    except OSError:
        return []
