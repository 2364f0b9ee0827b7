"""A lock between processes: a file that one of them holds. The system lets go of it however the process ends.

Where the file system has no locks nobody gets it, unlike ``MahtAILib.client.durable.try_lock``: two changes of keys at
once could lose a key.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_S = 0.02
_PATIENCE_S = 10.0


class Held(Exception):
    """Somebody else has it."""


@contextmanager
def held(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock file, which is made if it is not there.

    Raises:
        Held: somebody else still has it after ``patience_s`` seconds.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up = time.monotonic() + patience_s
        while not _taken(descriptor):
            if time.monotonic() >= give_up:
                raise Held
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def taken(path: Path) -> int | None:
    """A descriptor that holds the lock file until it is closed, or the process ends; None if somebody else has it.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if _taken(descriptor):
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Read a file, change it and write it, while nobody else does: the lock lies beside it.

    Raises:
        OSError: another process has held it for too long, or the lock cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with held(path.with_name(f"{path.name}.lock"), _PATIENCE_S):
            yield
    except Held as error:
        raise TimeoutError(f"another process holds {path.name}.lock") from error


if sys.platform == "win32":
    import msvcrt

    def _taken(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
