"""Whether the tables can be read, have the form that this program knows, and are whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mahtai.db.engine import Database, DatabaseUnavailable, sqlite_file
from mahtai.db.migrate import HEAD, RESTORING, RestoreUnfinished, current_revision
from mahtai.db.sealed import PLAIN
from mahtai.errors import MahtaiError
from mahtai.foundation import require_answer
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.rotation import sealed_columns
from mahtai.settings import Settings
from mahtai.upkeep.finding import Finding

_SHOWN = 20
_RESTORE = "Stop the server, keep the data folder, and restore the last backup into a new one (mahtai restore)."


def stored_hashes(settings: Settings) -> set[str]:
    """SHA-256 of every blob that the tables know.

    Raises:
        sqlite3.Error, MahtaiError: they cannot be read.
    """
    return {str(row[0]) for row in _rows(settings, "SELECT sha256 FROM volumes")}


def has_rows(settings: Settings, table: str) -> bool:
    """Whether a table, which older forms may lack, has any.

    Raises:
        sqlite3.Error, MahtaiError: it cannot be read.
    """
    known = "SELECT name FROM sqlite_master WHERE name = '{}'" if settings.is_sqlite else "SELECT to_regclass('{}')"
    is_there = [row for row in _rows(settings, known.format(table)) if row[0] is not None]
    return bool(is_there) and bool(_rows(settings, f"SELECT 1 FROM {table} LIMIT 1"))


def newest_number(settings: Settings, table: str) -> int:
    """The largest ``number`` of a table that has rows.

    Raises:
        sqlite3.Error, MahtaiError: it cannot be read.
    """
    return int(_rows(settings, f"SELECT MAX(number) FROM {table}")[0][0])


def _rows(settings: Settings, query: str) -> list[Any]:
    if settings.is_sqlite:
        with closing(_open_sqlite(_file_of(settings))) as connection:
            return connection.execute(query).fetchall()
    with closing(Database(settings.database_url)) as database, database.read() as session:
        return list(session.execute(text(query)))


def check_sealed(settings: Settings, keys: Keys) -> Iterator[Finding]:
    """Whether every encrypted value of the tables can be read.

    Raises:
        sqlite3.Error, MahtaiError: the tables cannot be read.
    """
    cipher, damaged = Columns(keys), 0
    for place, value in sealed_values(settings):
        try:
            cipher.unseal(value, place)
        except MahtaiError as error:
            damaged += 1
            if damaged <= _SHOWN:
                yield Finding("error", "database", f"A value of {place} cannot be read. {error.reason}", _RESTORE)
    if not damaged:
        yield Finding("ok", "database", "Every encrypted value can be read.")
    elif damaged > _SHOWN:
        yield Finding("error", "database", f"{damaged:,} encrypted values cannot be read.", _RESTORE)


def sealed_values(settings: Settings) -> Iterator[tuple[str, str]]:
    """Place (``table.column``) and raw text of every encrypted value.

    Raises:
        sqlite3.Error, MahtaiError: the tables cannot be read.
    """
    for column in sealed_columns():
        table, name = column.table.name, column.name
        if has_rows(settings, table):
            for (value,) in _rows(settings, f"SELECT {name} FROM {table} WHERE CAST({name} AS TEXT) LIKE 'sealed:%'"):
                if not str(value).startswith(PLAIN):
                    yield f"{table}.{name}", str(value)


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
                require_answer(database)
                yield _of_revision(current_revision(database))
    except DatabaseUnavailable as error:
        yield Finding("error", "database", error.reason, error.hint or "")
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
    if revision == RESTORING:
        return Finding("error", "database", RestoreUnfinished().reason, RestoreUnfinished().hint or "")
    if revision == HEAD:
        return Finding("ok", "database", f"The tables have the form {revision}.")
    if revision is not None and revision < HEAD:
        advice = "Nothing: the next start of the server brings them up to date."
        return Finding("warning", "database", f"The tables have the older form {revision}.", advice)
    advice = "Install the version of MahtAI that made them."
    return Finding("error", "database", f"The tables have the form {revision}, which is not known here.", advice)


def _file_of(settings: Settings) -> Path:
    return sqlite_file(settings.database_url) or Path()


def _open_sqlite(file: Path) -> sqlite3.Connection:
    # by itself SQLite would make a file that is not there, and the server's own connections change its mode
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=15.0)
