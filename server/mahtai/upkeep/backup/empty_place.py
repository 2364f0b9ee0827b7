"""Makes sure that a backup is restored where nothing is, or only what a restore has left that was broken off."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sqlalchemy import select

from mahtai.db.engine import Database, sqlite_file
from mahtai.db.migrate import RESTORING, VERSION_TABLE, current_revision, knows, table_names
from mahtai.db.tables import Base
from mahtai.errors import MahtaiError
from mahtai.foundation import DONE, MARKER
from mahtai.security.at_rest.keyring import LOCK_NAME
from mahtai.settings import Settings
from mahtai.volumes.durable import full_disk_named, sync_folder

_OURS = re.compile(r"blobs|secrets|models|patients\.key.*|keyring\.json.*|(mahtai|jobs)\.sqlite.*")
"""What a restore makes in a data folder, half-written files among it; nothing else is removed when it begins anew."""

_STAYS = re.compile(rf"{MARKER}|{DONE}|{re.escape(LOCK_NAME)}|server.*\.lock")


class RestoreRefused(MahtaiError):
    """There is something where a backup should be restored."""

    kind = "restore-refused"
    title = "Nothing was restored"
    status = 409


def make_empty(settings: Settings, database: Database) -> None:
    """Make sure that nothing is there, or only empty tables, or what a restore has left that was broken off; files of
    these two are removed.

    Raises:
        RestoreRefused: there is more; nothing was changed.
    """
    folder = settings.data_dir
    marker = folder / MARKER
    file = sqlite_file(settings.database_url)
    is_there = file is None or file.is_file()
    revision = current_revision(database) if is_there else None
    is_blank = is_there and revision != RESTORING and _holds_nothing(database, revision)
    # a database in the folder tells of it; one that is elsewhere does not
    is_in_folder = file is not None and file.parent == folder
    is_left = marker.exists() or (revision == RESTORING and (is_in_folder or (folder / DONE).exists()))
    found = [path for path in folder.iterdir() if not _STAYS.fullmatch(path.name)]
    blank = file.name if is_blank and is_in_folder and file is not None else ""
    foreign = [path for path in found if not (is_left and _OURS.fullmatch(path.name)) and not _is_of(path, blank)]
    if foreign:
        raise RestoreRefused(
            f"{folder} is not empty: it holds {foreign[0].name}. Nothing was changed.",
            "A backup is restored into a new folder: set MAHTAI_DATA_DIR to one.",
        )
    if is_in_folder:
        database.close()  # SQLite removes files of its own then
    with full_disk_named():
        marker.write_bytes(b"")
        sync_folder(folder)
    for path in found:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _holds_nothing(database: Database, revision: str | None) -> bool:
    """Whether there are no tables, or those of this program without any row, as after a mistyped command.

    Raises:
        RestoreRefused: there is more.
    """
    names = table_names(database)
    ours = {table.name: table for table in Base.metadata.sorted_tables} if revision and knows(revision) else {}
    full = "tables of another program, or of a newer version"
    if set(names) <= {*ours, VERSION_TABLE}:
        with database.read() as session:
            held = [name for name in names if name in ours and session.execute(select(ours[name]).limit(1)).first()]
        if not held:
            return bool(names)
        full = f"rows in {', '.join(held[:5])}"
    raise RestoreRefused(
        f"The database has tables already: {full}. Nothing was changed.",
        "A backup is restored into an empty database and an empty folder: set MAHTAI_DATABASE_URL and "
        "MAHTAI_DATA_DIR to new ones.",
    )


def _is_of(path: Path, database: str) -> bool:
    """Whether it is this file of SQLite's, or one that SQLite keeps beside it; of none if there is no name."""
    return bool(database) and path.name in {database, f"{database}-wal", f"{database}-shm", f"{database}-journal"}
