"""Restores a backup into an empty data folder and an empty database, of whatever kind.

Until all of it is there, neither a server nor a command takes what is there for the data: the folder has a marker, and
the tables the form ``db.migrate.RESTORING``. A restore that was broken off at any moment is run again and begins anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from sqlalchemy import Connection, update
from sqlalchemy.orm import Session

from mahtai.data_folder import DataFolder
from mahtai.db.engine import Database
from mahtai.db.failures import DoesNotFit
from mahtai.db.migrate import end_restoring, knows, make_for_restoring
from mahtai.db.tables import Base, InferenceRow
from mahtai.errors import MahtaiError
from mahtai.foundation import DONE, MARKER, open_tables, require_answer
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import Keyring, open_keyring
from mahtai.security.at_rest.master_key import MasterKey, read_master_key
from mahtai.security.at_rest.secret_file import load_or_create
from mahtai.security.audit.checkpoints import ANCHOR_FILE, Anchors
from mahtai.security.audit.operator import record_command
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import (
    ABOUT,
    BLOBS,
    END,
    FILES,
    KEYRING,
    ROWS,
    ArchiveReader,
    Contents,
    broken,
    read_archive,
)
from mahtai.upkeep.backup.checking import compared, end_of
from mahtai.upkeep.backup.empty_place import RestoreRefused, make_empty
from mahtai.upkeep.backup.table_rows import add_lines, go_on_from, rebuilt
from mahtai.volumes.durable import full_disk_named, sync_folder
from mahtai.volumes.store import BlobStore, HashMismatch

_RESTORES = 0x4D616874_00000003
"""Key of PostgreSQL's advisory lock that a restore has."""

_SECRET = re.compile(r"patients\.key|secrets/[A-Za-z0-9_-][A-Za-z0-9._-]*")
_MODEL = re.compile(r"models/(?!.*(?:^|/)\.\.?(?:/|$))[^\0]+", re.DOTALL)


@dataclass(frozen=True)
class Restored:
    """What was restored.

    Attributes:
        made_at: when the backup was made, UTC, ISO 8601.
        unrecorded: why it could not be put on record; empty where it was.
    """

    made_at: str
    contents: Contents
    unrecorded: str


def restore_backup(
    settings: Settings,
    source: Path,
    master: MasterKey,
    report: Callable[[str, float], object],
    plain: bool = False,
) -> Restored:
    """Restore; no server may run on the folder.

    Args:
        settings: whose data folder and database are empty; what is restored is encrypted under their key, if any.
        master: the one that the backup was made with.
        report: told the stage and the fraction of it that is done.
        plain: whether what was encrypted where it is from may lie plain here.

    Raises:
        RestoreRefused: they are not empty, or no key is set; nothing was changed.
        BackupBroken, WrongBackupKey: the backup cannot be used.
        MahtaiError: the key, the database or the disk cannot be used; run it again.
    """
    with read_archive(source, master) as archive:
        about = archive.about()
        revision = str(about["revision"])
        if not knows(revision):
            raise RestoreRefused(
                f"The backup was made by MahtAI {about['program']}, which is newer than this version.",
                "Install that version, or a newer one.",
            )
        if about.get("encrypted") and not plain and read_master_key(settings) is None:
            raise RestoreRefused(
                "The server that this backup is from encrypts what it keeps, and no key is set here.",
                "Set MAHTAI_KEY_FILE to the key that the data shall have here; or say --plain.",
            )
        with closing(Database(settings.database_url)) as asked:
            require_answer(asked)
        with (
            DataFolder(settings.data_dir),
            closing(Database(settings.database_url)) as bare,
            bare.only_one(_RESTORES) as is_alone,
        ):
            if not is_alone:
                raise RestoreRefused("Another restore fills this database at the moment.", "Wait until it is done.")
            make_empty(settings, bare)
            keyring = open_keyring(settings)
            cipher = None if keyring is None else Columns(keyring)
            with closing(Database(settings.database_url, cipher)) as database:
                make_for_restoring(database, revision, _tables_of(about))
                end = _Filling(settings, database, keyring, about).run(source, archive, report)
                _finish(settings, database, revision, end)
    return Restored(str(about["made_at"]), end, _record(settings, keyring, str(about["made_at"])))


def _record(settings: Settings, keyring: Keyring | None, made_at: str) -> str:
    """Put it on record; what went wrong with that."""
    try:
        detail = {"call": "mahtai restore", "made at": made_at}
        # the record that was in this folder before goes farther than the one of the backup, which is no forgery
        before = Anchors(settings.config_dir / ANCHOR_FILE).set_aside(str(settings.secrets_dir), made_at)
        if before is not None:
            detail |= {"record before": str(before.number), "sha256 before": before.sha256}
        with closing(open_tables(settings, keyring)) as database:
            record_command(settings, database, keyring, "server", "E", "success", "", detail)
    except (MahtaiError, OSError) as error:
        return str(error)
    return ""


def _tables_of(about: Mapping[str, Any]) -> set[str]:
    return {*Base.metadata.tables, *(str(table["name"]) for table in about["tables"])}


class _Filling:
    """Puts the members of a backup where they belong."""

    def __init__(
        self, settings: Settings, database: Database, keyring: Keyring | None, about: Mapping[str, Any]
    ) -> None:
        self._settings = settings
        self._database = database
        self._keyring = keyring
        self._store = BlobStore(settings.blobs_dir, keyring)
        self._tables = {str(table["name"]): rebuilt(table) for table in about["tables"]}
        self._found = Contents()
        self._end: Contents | None = None

    def run(self, path: Path, archive: ArchiveReader, report: Callable[[str, float], object]) -> Contents:
        """All of them; what the backup says that it holds, and that was found.

        Raises:
            BackupBroken: it was not.
        """
        for name, stream, size in archive.members():
            report("restoring", archive.fraction)
            kind, _, rest = name.partition("/")
            if kind == ROWS:
                self._rows(rest.partition("/")[0], stream.read())
            elif kind == BLOBS:
                self._blob(rest, stream, size)
            elif kind == FILES:
                self._file(rest, stream)
            elif name == END:
                self._end = end_of(json.load(stream))
            elif name not in (ABOUT, KEYRING):
                raise broken(path, "holds what this version of MahtAI does not know")
        return compared(path, self._found, self._end)

    def _rows(self, table: str, lines: bytes) -> None:
        try:
            with self._database.write() as session:
                count = add_lines(session, self._tables[table], lines)
        except DoesNotFit as error:  # SQLite, where it is from, takes texts and numbers of any length
            raise RestoreRefused(
                f"A row of the table {table} holds a text or a number that this kind of database has no room for. The "
                "data were not restored; the backup is as it was.",
                "Restore it into SQLite, in a new folder: leave MAHTAI_DATABASE_URL away, and set MAHTAI_DATA_DIR.",
            ) from error
        self._found.rows[table] = self._found.rows.get(table, 0) + count

    def _blob(self, sha256: str, stream: BinaryIO, size: int) -> None:
        try:
            with self._store.receive(sha256) as reception:
                while block := stream.read(1 << 20):
                    reception.write(block)
                reception.commit()
        except HashMismatch:
            self._found.damaged.append(f"blob {sha256}")
            return
        self._found.blobs += 1
        self._found.blob_bytes += size

    def _file(self, name: str, stream: BinaryIO) -> None:
        path = self._settings.data_dir / PurePosixPath(name)
        if is_secret(name):
            content = stream.read()
            load_or_create(path, self._keyring, lambda: content)
        elif is_model(name):
            put_file(path, stream)
        else:
            raise ValueError(f"a file {name}")
        self._found.files += 1


def is_secret(name: str) -> bool:
    """Whether a path in a backup is that of a secret."""
    return _SECRET.fullmatch(name) is not None


def is_model(name: str) -> bool:
    """Whether a path in a backup is that of a file of a model, and leads nowhere else."""
    return _MODEL.fullmatch(name) is not None and not (os.name == "nt" and set(name) & set("\\:"))


def put_file(path: Path, stream: BinaryIO) -> None:
    """Write a file that is not there yet."""
    with full_disk_named():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("xb") as target:
            shutil.copyfileobj(stream, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        sync_folder(path.parent)


def _finish(settings: Settings, database: Database, revision: str, end: Contents) -> None:
    """All is there: let servers use it."""
    # until the tables are whole, they and this tell together that it was broken off; see ``_empty``
    done = settings.data_dir / DONE
    (settings.data_dir / MARKER).replace(done)
    sync_folder(settings.data_dir)
    with database.connect() as connection:
        _count_on(connection, end)
        end_restoring(connection, revision)
        connection.execute(
            update(InferenceRow)
            .where(InferenceRow.state.in_(("queued", "running")))
            .values(state="queued", owner=None, starts=0, stage=None, fraction=None, preview=None, started_at=None)
        )
    done.unlink()


def _count_on(connection: Connection, end: Contents) -> None:
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        for table, number in end.numbers.items():
            go_on_from(session, table, number)
        session.commit()
