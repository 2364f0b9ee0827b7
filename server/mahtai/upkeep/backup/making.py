"""Makes a backup beside the servers that use the data, and proves it before it gets its name."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mahtai.db.engine import Database, sqlite_file
from mahtai.db.migrate import HEAD, RESTORING, RestoreUnfinished, current_revision
from mahtai.foundation import require_answer
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import Keyring, open_existing_keyring
from mahtai.security.at_rest.master_key import MasterKey
from mahtai.security.audit.operator import record_command
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import PARTIAL, BackupBroken, Contents
from mahtai.upkeep.backup.checking import check_backup
from mahtai.upkeep.backup.collecting import BackupRefused, Report, collect
from mahtai.volumes.durable import StorageFull, full_disk_named, sync_folder

_ABANDONED_S = 86_400.0


def make_backup(settings: Settings, target: Path, master: MasterKey, report: Report) -> Contents:
    """Write a backup, read it again, and give it its name; servers may run.

    Args:
        target: file that is not there yet.
        master: the backup is encrypted under a key that is derived from this one.
        report: told the stage and the fraction of it that is done.

    Returns:
        What it holds; ``damaged`` is what could not be read and is not in it.

    Raises:
        BackupRefused: there is nothing to back up, or the file is there already.
        MahtaiError: the key, the database or the disk cannot be used; no file of that name was made.
    """
    if target.exists():
        raise BackupRefused(f"{target} is there already; it was not touched.", "Name a new file.")
    if not target.parent.is_dir():  # perhaps a disk that is not mounted: a folder made instead would be on this one
        raise BackupRefused(
            f"There is no folder {target.parent}. Nothing was written.",
            "See whether its disk is there, or make the folder.",
        )
    with _opened(settings) as (database, keyring), _appearing(target) as partial:
        contents = _written(settings, database, keyring, partial, master, report)
        if check_backup(partial, master, report) != contents:
            raise BackupBroken(
                "The backup was read again and is not what was written. It was not kept; the data are safe.",
                "Its disk or this computer's memory fails: write it to another disk.",
            )
        # before it gets its name: what cannot be put on record is not handed out
        record_command(settings, database, keyring, "server", "R", "success", "", {"call": "mahtai backup"})
    return contents


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Database, Keyring | None]]:
    hint = "Set MAHTAI_DATA_DIR and MAHTAI_DATABASE_URL as the server has them."
    file = sqlite_file(settings.database_url)
    if file is not None and not file.is_file():
        raise BackupRefused(f"There is no database {file}.", hint)
    if not settings.blobs_dir.is_dir():
        raise BackupRefused(f"There are no data in {settings.data_dir}.", hint)
    keyring = open_existing_keyring(settings)
    database = Database(settings.database_url, None if keyring is None else Columns(keyring))
    try:
        require_answer(database)
        revision = current_revision(database)
        if revision == RESTORING:
            raise RestoreUnfinished
        if revision != HEAD:
            raise BackupRefused(
                f"The tables have the form {revision}; this version of MahtAI backs up the form {HEAD}.",
                "Make the backup with the version that the server has, or start this version's server once.",
            )
        yield database, keyring
    finally:
        database.close()


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A partial file, which gets its name at the end and goes away after an error."""
    try:
        for left in _left_behind(target):
            left.unlink(missing_ok=True)
        partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PARTIAL}")
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise BackupRefused(f"{target} cannot be written ({error.strerror}).", "Name another file.") from error
    try:
        yield partial
        _name(partial, target)
        sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _left_behind(target: Path) -> list[Path]:
    """Partial files of runs that were killed: nobody has written them for a day."""
    form = re.compile(re.escape(target.name) + r"\.[0-9a-f]{8}" + re.escape(PARTIAL))
    found = [path for path in target.parent.iterdir() if form.fullmatch(path.name)]
    return [path for path in found if time.time() - path.stat().st_mtime > _ABANDONED_S]


def _name(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)  # unlike a renaming, a link never replaces what is there
    except FileExistsError as error:
        raise BackupRefused(f"{target} was made by somebody else meanwhile.", "Name a new file.") from error
    except OSError:  # a file system without hard links
        partial.rename(target)


def _written(
    settings: Settings, database: Database, keyring: Keyring | None, partial: Path, master: MasterKey, report: Report
) -> Contents:
    try:
        with full_disk_named(), partial.open("wb") as sink:
            contents = collect(settings, database, keyring, sink, master, report)
            sink.flush()
            os.fsync(sink.fileno())
    except StorageFull as error:
        raise StorageFull(
            f"There is no room for the backup in {partial.parent}. Nothing of it was kept; the data are safe.",
            "Make room there, or name a file on another disk.",
        ) from error
    return contents
