"""A backup is one encrypted file (``at_rest.envelope``) and in it a tar archive::

    about.json            what it is, and the columns of every table
    rows/TABLE/000001     rows of a table, a JSON list of values a line
    keyring.json          as it lay there, under the master key
    files/PATH            secrets (not encrypted once more) and models, by their place in the data folder
    blobs/SHA256          plain bytes
    end.json              how much of everything there is, and what could not be read

Nothing in it depends on the keys, the database or the computer that it is from.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import SealBroken, SealingWriter, open_sealed
from mahtai.security.at_rest.master_key import MasterKey

FORMAT = "mahtai backup 1"
ABOUT = "about.json"
END = "end.json"
KEYRING = "keyring.json"
ROWS, FILES, BLOBS = "rows", "files", "blobs"

PARTIAL = ".partial"
"""Ending of a file that is not whole yet."""

_PLACE = "backup"
_PURPOSE = "backup"


class BackupBroken(MahtaiError):
    """A file is no backup, or not as it was written."""

    kind = "backup-broken"
    title = "The backup cannot be used"
    status = 422


class WrongBackupKey(MahtaiError):
    """A backup was made with another key."""

    kind = "wrong-backup-key"
    title = "The key of the backup is another one"
    status = 422


@dataclass
class Contents:
    """What a backup holds.

    Attributes:
        rows: by table.
        numbers: the last number that a table which counts has given, by table.
        blobs: how many there are, ``blob_bytes`` of plain bytes.
        files: secrets and files of models.
        damaged: blobs and values that could not be read, by name; they are not in it.
    """

    rows: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    blobs: int = 0
    blob_bytes: int = 0
    files: int = 0
    damaged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = sum(self.rows.values())
        return f"{rows:,} rows, {self.blobs:,} blobs ({self.blob_bytes / 1e6:,.0f} MB), {self.files:,} files"


class ArchiveWriter:
    """Writes the members of a backup, in their order; made by ``write_archive``."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add_bytes(self, name: str, content: bytes) -> None:
        """A small member."""
        self.add_stream(name, len(content), io.BytesIO(content))

    def add_json(self, name: str, content: Any) -> None:
        """A small member."""
        self.add_bytes(name, json.dumps(content).encode())

    def add_end(self, contents: Contents) -> None:
        """The last member."""
        self.add_json(END, asdict(contents))

    def add_stream(self, name: str, size: int, stream: BinaryIO) -> None:
        """A member of ``size`` bytes; the stream must have as many."""
        member = tarfile.TarInfo(name)
        member.size = size
        self._archive.addfile(member, stream)
        _forget(self._archive)


@contextmanager
def write_archive(sink: BinaryIO, master: MasterKey) -> Iterator[ArchiveWriter]:
    """Write a backup; after an error it has no end, which no reader takes for a whole one."""
    with (
        SealingWriter(sink, master.derive(_PURPOSE), master.fingerprint, _PLACE) as sealing,
        tarfile.open(fileobj=cast(BinaryIO, sealing), mode="w|", bufsize=1 << 20) as archive,
    ):
        yield ArchiveWriter(archive)


class ArchiveReader:
    """Reads the members of a backup, in their order; made by ``read_archive``."""

    def __init__(self, path: Path, plain: BinaryIO, archive: tarfile.TarFile) -> None:
        self._plain = plain
        self._path = path
        self._archive = archive
        self._size = max(plain.seek(0, io.SEEK_END), 1)
        plain.seek(0)

    @property
    def fraction(self) -> float:
        """How much of it has been read."""
        return self._plain.tell() / self._size

    def members(self) -> Iterator[tuple[str, BinaryIO, int]]:
        """Name, content and number of bytes of every member; each is read before the next one is asked for."""
        while (member := self._archive.next()) is not None:
            stream = self._archive.extractfile(member) if member.isfile() else None
            if stream is None:
                raise broken(self._path, "holds something else than files")
            yield member.name, cast(BinaryIO, stream), member.size
            _forget(self._archive)

    def about(self) -> Mapping[str, Any]:
        """The first member; to be asked for first.

        Raises:
            BackupBroken: it is of a form that is not known here.
        """
        for name, stream, size in self.members():
            content = json.load(stream) if name == ABOUT and size < 1 << 24 else None
            if isinstance(content, dict) and content.get("format") == FORMAT:
                return content
            break
        raise broken(self._path, "is of a form that this version of MahtAI does not know")


@contextmanager
def read_archive(path: Path, master: MasterKey) -> Iterator[ArchiveReader]:
    """Open a backup. That it is whole is known at once; each byte is proven when it is read.

    Raises:
        WrongBackupKey, BackupBroken: here and while reading.
    """

    def key_of(key_id: str) -> bytes:
        if key_id != master.fingerprint:
            raise WrongBackupKey(
                f"{path.name} was made with the key {key_id}; {master.source} holds the key {master.fingerprint}. "
                "Nothing was changed.",
                "Name the file of that key with --key-file.",
            )
        return master.derive(_PURPOSE)

    try:
        with (
            open_sealed(path, key_of, _PLACE) as plain,
            tarfile.open(fileobj=plain, mode="r:", bufsize=1 << 20) as archive,
        ):
            yield ArchiveReader(path, plain, archive)
    except SealBroken as error:
        raise broken(path, "was changed, was cut off, or is no backup") from error
    except (tarfile.TarError, ValueError, KeyError) as error:
        raise broken(path, "cannot be read") from error
    except OSError as error:
        if error.filename != str(path):
            raise
        raise BackupBroken(f"{path} cannot be read ({error.strerror}).", "Name the file of the backup.") from error


def _forget(archive: tarfile.TarFile) -> None:
    """Members that are done: tarfile remembers them all, and there may be a million."""
    archive.members.clear()  # type: ignore[attr-defined]


def broken(path: Path, what: str) -> BackupBroken:
    """What to say of a backup that cannot be used."""
    return BackupBroken(f"{path.name} {what}. Nothing of it is used.", "Take another copy of it, or an older backup.")
