"""Unpack a model's zip without letting it write anywhere else or fill the disk."""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from mahtai.models.config import BundleError

MOST_ENTRIES = 2000
MOST_BYTES = 4 << 30
MOST_TIMES = 200
"""A zip whose content is more often larger than itself than weights and text can be is a bomb."""

_FREE_BYTES = 1 << 20


class UnsafeArchive(BundleError):
    """A zip that was made to do harm, or is damaged."""

    kind = "unsafe-archive"
    title = "The model's archive was refused"


def unpack(archive: Path, target: Path, most_bytes: int = MOST_BYTES) -> None:
    """Unpack into the folder ``target``; a single top folder in the zip is left out.

    Raises:
        UnsafeArchive: names that lead outside, links, too many or too large files, damage, a password.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(entries) > MOST_ENTRIES:
                raise _refused(f"it holds {len(entries):,} files")
            names = [_safe_name(entry) for entry in entries]
            # compared as file systems do that do not tell upper from lower case
            if len({str(name).casefold() for name in names}) != len(names):
                raise _refused("two files in it have the same name")
            top = {name.parts[0] for name in names}
            skip = 1 if len(top) == 1 and all(len(name.parts) > 1 for name in names) else 0
            room = min(most_bytes, MOST_TIMES * archive.stat().st_size + _FREE_BYTES)
            for entry, name in zip(entries, names, strict=True):
                room -= _write(opened, entry, target.joinpath(*name.parts[skip:]), room)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused("a file and a folder in it have the same name") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        LookupError,  # an entry without a name
    ) as error:
        raise _damaged(error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning of the file, which a directory names
            raise
        raise _damaged(error) from error


def _damaged(error: Exception) -> UnsafeArchive:
    return UnsafeArchive(f"The archive is damaged or locked: {error}.", "Get the model again.")


def _safe_name(entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise _refused(f"the name {name[:100]!r} leads out of the model's folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refused(f"{name[:100]!r} is a link")
    if not path.parts:
        raise _refused("a file in it has no name")
    return path


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, room: int) -> int:
    """Unpack one file and return its size, counting what really comes, not what the entry claims."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, path.open("xb") as target:
        while block := source.read(1 << 20):
            written += len(block)
            if written > room:
                raise _refused("it unpacks to far more than a model has (a zip bomb)")
            target.write(block)
    return written


def _refused(why: str) -> UnsafeArchive:
    return UnsafeArchive(
        f"The archive was refused: {why}. Nothing of it was kept.",
        "Do not use it. Get the model from where its makers publish it.",
    )
