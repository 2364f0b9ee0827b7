"""All files below a folder, without following links; what cannot be read is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mahtai.cases_import.findings import Skip
from mahtai.cases_import.names import shown

LINK = "a symbolic link, which is not followed"


def walk(root: Path, skip: Skip) -> Iterator[Path]:
    """Every plain file below ``root``, folder by folder, in the order of the names.

    A folder that is mounted inside itself is visited once.
    """
    waiting, visited = [root], set()
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                skip(shown(folder, root), "a folder that was seen before under another name")
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            skip(shown(folder, root), unreadable(error))
            continue
        below = []
        for entry in entries:
            path = Path(entry.path)
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError as error:
                skip(shown(path, root), unreadable(error))
                continue
            if stat.S_ISLNK(mode):
                skip(shown(path, root), LINK)
            elif stat.S_ISDIR(mode):
                below.append(path)
            elif stat.S_ISREG(mode):
                yield path
            else:  # opening a pipe or a device might never end
                skip(shown(path, root), "neither a file nor a folder (a device, pipe or socket)")
        waiting.extend(reversed(below))


def unreadable(error: OSError) -> str:
    """Why a file or folder cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "vanished while the folder was being read"
    return f"cannot be read: {error.strerror or type(error).__name__}"
