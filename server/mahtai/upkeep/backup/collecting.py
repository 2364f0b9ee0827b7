"""Puts all that a server keeps into an archive, beside the servers that use it.

The rows are of one moment. Blobs are never changed and are there before the row that names them, so those that are
read afterwards belong to it; models that were trained here are complete before it is said that they serve.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, cast

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mahtai import __version__
from mahtai.cases.patients import KEY_FILE
from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD
from mahtai.db.tables import VolumeRow
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring
from mahtai.security.at_rest.master_key import MasterKey
from mahtai.security.at_rest.secret_file import read_secret, secret_files
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import (
    ABOUT,
    BLOBS,
    FILES,
    FORMAT,
    KEYRING,
    PARTIAL,
    ROWS,
    ArchiveWriter,
    Contents,
    write_archive,
)
from mahtai.upkeep.backup.table_rows import described, kept_tables, last_number, lines_of
from mahtai.volumes import durable
from mahtai.volumes.store import BlobStore, UnknownBlob

Report = Callable[[str, float], object]

LARGEST_LINES = 1 << 20

_PATIENCE_MS = 600_000
_PARTS = {PARTIAL, durable.PARTIAL}
"""Endings of files that are being written."""


class BackupRefused(MahtaiError):
    """A backup cannot be made, or not there."""

    kind = "backup-refused"
    title = "No backup was made"
    status = 409


def collect(
    settings: Settings,
    database: Database,
    keyring: Keyring | None,
    sink: BinaryIO,
    master: MasterKey,
    report: Report,
) -> Contents:
    """Write everything into an archive.

    Args:
        sink: takes the encrypted bytes.

    Returns:
        What it holds; ``damaged`` is what could not be read and is not in it.

    Raises:
        BackupRefused: a folder or a file of a model cannot be read.
        OSError: of the sink.
    """
    contents = Contents()
    with write_archive(sink, master) as archive:
        archive.add_json(
            ABOUT,
            {
                "format": FORMAT,
                "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "program": __version__,
                "revision": HEAD,
                "encrypted": keyring is not None,
                "tables": [described(table) for table in kept_tables()],
            },
        )
        blobs = _add_rows(archive, database, contents, report)
        _add_files(archive, settings, keyring, contents)
        store = BlobStore(settings.blobs_dir, keyring)
        for number, sha256 in enumerate(blobs):
            report("blobs", number / len(blobs))
            _add_blob(archive, store, sha256, contents)
        archive.add_end(contents)
    return contents


def _add_rows(archive: ArchiveWriter, database: Database, contents: Contents, report: Report) -> list[str]:
    """All rows, as they are at one moment; SHA-256 of the blobs that they know."""
    tables = kept_tables()
    with database.read() as session:
        _be_patient(session, database)
        for place, table in enumerate(tables):
            report("rows", place / len(tables))
            contents.rows[table.name] = 0
            number = last_number(session, table)
            if number is not None:
                contents.numbers[table.name] = number
            for part, (lines, count) in enumerate(_parts(lines_of(session, table, contents.damaged))):
                archive.add_bytes(f"{ROWS}/{table.name}/{part:06}", lines)
                contents.rows[table.name] += count
        return list(session.scalars(select(VolumeRow.sha256).order_by(VolumeRow.sha256)))


def _be_patient(session: Session, database: Database) -> None:
    if not database.is_sqlite:  # the backup's disk may be slow
        session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {_PATIENCE_MS}"))


def _parts(lines: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines by about a megabyte, and how many they are."""
    waiting, count = io.BytesIO(), 0
    for line in lines:
        waiting.write(line)
        count += 1
        if waiting.tell() >= LARGEST_LINES:
            yield waiting.getvalue(), count
            waiting, count = io.BytesIO(), 0
    if count:
        yield waiting.getvalue(), count


def _add_files(archive: ArchiveWriter, settings: Settings, keyring: Keyring | None, contents: Contents) -> None:
    if keyring is not None:
        archive.add_bytes(KEYRING, (settings.data_dir / FILE_NAME).read_bytes())
    for path in [settings.data_dir / KEY_FILE, *secret_files(settings.secrets_dir)]:
        name = f"{FILES}/{path.relative_to(settings.data_dir).as_posix()}"
        try:
            archive.add_bytes(name, read_secret(path, keyring))
            contents.files += 1
        except FileNotFoundError:
            continue
        except (MahtaiError, OSError):
            contents.damaged.append(name)
    for path in files_below(settings.versions_dir):
        name = f"{FILES}/models/{path.relative_to(settings.versions_dir).as_posix()}"
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            continue  # a model was replaced meanwhile
        with stream:
            reading = _Reading(stream)
            archive.add_stream(name, os.fstat(stream.fileno()).st_size, cast(BinaryIO, reading))
        if not reading.is_whole:
            raise BackupRefused(
                f"{path} could not be read to its end.",
                "If a model was being replaced, run it again; else fetch the model again, or remove it.",
            )
        contents.files += 1


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files, also behind links to folders, those at the top first: what says which version serves is complete
    before the versions, which come before it.

    Args:
        above: folders that a link could lead back to, without end.

    Raises:
        BackupRefused: a folder cannot be read.
    """
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise BackupRefused(
            f"The folder {folder} cannot be read ({error.strerror}).", "See who may read it."
        ) from error
    is_top = not above
    yield from (
        path
        for path in entries
        if not path.is_dir() and path.suffix not in _PARTS and not (is_top and path.suffix == ".lock")
    )
    for path in entries:
        if path.is_dir() and not path.name.startswith("."):  # those are being fetched
            yield from files_below(path, above | {here})


def _add_blob(archive: ArchiveWriter, store: BlobStore, sha256: str, contents: Contents) -> None:
    name = f"blob {sha256}"
    try:
        blob = store.get(sha256)
        size = blob.size
        stream = blob.open()
    except (UnknownBlob, MahtaiError, OSError):
        contents.damaged.append(name)
        return
    with stream:
        reading = _Reading(stream)
        archive.add_stream(f"{BLOBS}/{sha256}", size, cast(BinaryIO, reading))
    if reading.sha256 != sha256:
        contents.damaged.append(name)
        return
    contents.blobs += 1
    contents.blob_bytes += size


class _Reading:
    """Hashes what is read; goes on with zeros where a file cannot be read any more, because its length is announced."""

    def __init__(self, stream: BinaryIO) -> None:
        self.is_whole = True
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            block = self._stream.read(size)
        except (MahtaiError, OSError):
            block = b""
        self.is_whole = self.is_whole and len(block) == size
        block = block.ljust(size, b"\0")
        self._digest.update(block)
        return block

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
