"""What the files of a model should be: SHA-256, and the checksum that lies beside weights since they were made.

The file beside ``model.safetensors`` is ``model.safetensors.sha256``, in the form that ``sha256sum --check`` reads.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

ENDING = ".sha256"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; remembered as long as its size and time of change stay the same."""
    stat = path.stat()
    return _file_sha256(path, stat.st_size, stat.st_mtime_ns)


def checksum_file(path: Path) -> Path:
    """Where the checksum of a file lies."""
    return path.with_name(path.name + ENDING)


def forget_checksum(path: Path) -> None:
    """Before a file is replaced: without a checksum nothing is said of it, whenever that is broken off."""
    checksum_file(path).unlink(missing_ok=True)


def write_checksum(path: Path) -> None:
    """Note what a file holds, which was made just now."""
    checksum_file(path).write_text(f"{file_sha256(path)}  {path.name}\n", "utf-8", newline="\n")


def is_as_made(path: Path) -> bool:
    """Whether a file is what its checksum says; true where it has none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        noted = checksum_file(path).read_text("utf-8", errors="replace").split()
    except FileNotFoundError:
        return True
    return noted[:1] == [file_sha256(path)]


@lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
