"""Reads a whole backup and changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mahtai.security.at_rest.master_key import MasterKey
from mahtai.upkeep.backup.archive import (
    ABOUT,
    BLOBS,
    END,
    FILES,
    KEYRING,
    ROWS,
    Contents,
    broken,
    read_archive,
)

_BLOCK = 1 << 20


def check_backup(path: Path, master: MasterKey, report: Callable[[str, float], object]) -> Contents:
    """Read every byte, hash every blob and count every row.

    Args:
        report: told the stage and the fraction of it that is done.

    Returns:
        What the backup holds, all of which was found in it.

    Raises:
        WrongBackupKey, BackupBroken: it cannot be used.
    """
    with read_archive(path, master) as archive:
        archive.about()
        found, end = Contents(), None
        for name, stream, _ in archive.members():
            report("checking", archive.fraction)
            if end is not None:
                raise broken(path, "goes on after its end")
            end = _look(name, stream, found)
        return compared(path, found, end)


def compared(path: Path, found: Contents, end: Contents | None) -> Contents:
    """What the backup says of itself, if all of that was found.

    Raises:
        BackupBroken: it was not.
    """
    if end is None:
        raise broken(path, "has no end")
    rows = {table: found.rows.get(table, 0) for table in end.rows}
    is_same = (rows, found.blobs, found.blob_bytes, found.files) == (end.rows, end.blobs, end.blob_bytes, end.files)
    if not is_same or not set(found.damaged) <= set(end.damaged) or not set(found.rows) <= set(end.rows):
        raise broken(path, "does not hold what it says at its end")
    return end


def end_of(content: Any) -> Contents:
    """The last member. Raises ValueError where it is none."""
    if not isinstance(content, dict):
        raise ValueError("no end")
    try:
        return Contents(**content)
    except TypeError as error:
        raise ValueError("no end") from error


def _look(name: str, stream: BinaryIO, found: Contents) -> Contents | None:
    """Count a member; at the end, what there has to be."""
    kind, _, rest = name.partition("/")
    if kind == ROWS:
        table = rest.partition("/")[0]
        found.rows[table] = found.rows.get(table, 0) + sum(isinstance(json.loads(line), list) for line in stream)
    elif kind == BLOBS:
        size, sha256 = hashed(stream)
        if sha256 == rest:
            found.blobs += 1
            found.blob_bytes += size
        else:
            found.damaged.append(f"blob {rest}")
    elif kind == FILES:
        hashed(stream)
        found.files += 1
    elif name == END:
        return end_of(json.load(stream))
    elif name not in (ABOUT, KEYRING):
        raise ValueError(f"a member {name}")
    return None


def hashed(stream: BinaryIO) -> tuple[int, str]:
    """How many bytes a stream has, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
