"""Whether the tables can be read, have the form that this program knows, and are whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url, text

from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD, current_revision
from mahtai.errors import MahtaiError
from mahtai.settings import Settings
from mahtai.upkeep.finding import Finding

_RESTORE = "Stop the server, keep a copy of the data folder, and restore the database from a copy that is whole."


def stored_hashes(settings: Settings) -> set[str]:
    """SHA-256 of every blob that the tables know.

    Raises:
        sqlite3.Error, MahtaiError: they cannot be read.
    """
    query = "SELECT sha256 FROM volumes"
    if settings.is_sqlite:
        with closing(_open_sqlite(_file_of(settings))) as connection:
            return {row[0] for row in connection.execute(query)}
    with closing(Database(settings.database_url)) as database, database.read() as session:
        return set(session.execute(text(query)).scalars())


def check_tables(settings: Settings, quick: bool) -> Iterator[Finding]:
    """Look, and change nothing.

    Args:
        quick: leave out SQLite's check of every page.
    """
    try:
        if settings.is_sqlite:
            yield from _check_sqlite(_file_of(settings), quick)
        else:
            with closing(Database(settings.database_url)) as database:
                yield _of_revision(current_revision(database))
    except (sqlite3.Error, MahtaiError) as error:
        yield Finding("error", "database", f"The tables cannot be read ({error}).", _RESTORE)


def _check_sqlite(file: Path, quick: bool) -> Iterator[Finding]:
    if not file.is_file():
        advice = "Nothing if no server has used this folder yet; otherwise put the file back from a copy."
        yield Finding("error", "database", f"There is no file {file.name}.", advice)
        return
    with closing(_open_sqlite(file)) as connection:
        yield _of_revision(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
        if quick:
            return
        said = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if said != ["ok"]:
            yield Finding("error", "database", f"{file.name} is damaged ({said[0].splitlines()[-1]}).", _RESTORE)
            return
        yield Finding("ok", "database", "Every page is whole.")
        for table in sorted({row[0] for row in connection.execute("PRAGMA foreign_key_check")}):
            yield Finding("error", "database", f"Rows of {table} name rows that are not there.", _RESTORE)


def _of_revision(revision: str | None) -> Finding:
    if revision == HEAD:
        return Finding("ok", "database", f"The tables have the form {revision}.")
    if revision is not None and revision < HEAD:
        advice = "Nothing: the next start of the server brings them up to date."
        return Finding("warning", "database", f"The tables have the older form {revision}.", advice)
    advice = "Install the version of MahtAI that made them."
    return Finding("error", "database", f"The tables have the form {revision}, which is not known here.", advice)


def _file_of(settings: Settings) -> Path:
    return Path(make_url(settings.database_url).database or "")


def _open_sqlite(file: Path) -> sqlite3.Connection:
    # by itself SQLite would make a file that is not there, and the server's own connections change its mode
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=15.0)
