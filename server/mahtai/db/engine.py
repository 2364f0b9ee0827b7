"""Transactions. ``write`` takes the write lock at once, so that what it reads stays true until it commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from mahtai.errors import MahtaiError
from mahtai.volumes.store import StorageFull

COLLISIONS = 8
"""How often ``insist`` takes a violated constraint for another writer's luck before it is taken for a mistake."""

T = TypeVar("T")

_WRITING = "mahtai_write"
_BUSY_TIMEOUT_MS = 15_000
_DISK_FULL_SQLSTATE = "53100"


class DatabaseUnavailable(MahtaiError):
    """The database does not answer or cannot be written."""

    kind = "database"
    title = "The database does not answer"
    status = 503


class Database:
    """The tables' connections.

    On SQLite: write-ahead log, so that readers never wait for a writer; ``synchronous=FULL``, so that what
    was committed survives the loss of power; foreign keys on.
    """

    def __init__(self, url: str) -> None:
        if url.startswith("postgresql://"):
            url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        self.url = url
        self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), pool_size=10, max_overflow=20)
        if url.startswith("sqlite"):
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._writer = self._engine.execution_options(**{_WRITING: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view.

        Raises:
            DatabaseUnavailable: no connection.
        """
        with _plain_errors(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is on the disk when the block has ended, or none of it.

        Raises:
            StorageFull: the disk is full; nothing was changed.
            DatabaseUnavailable: no connection, read-only, or damaged.
        """
        with _plain_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A bare connection in a writing transaction, for migrations."""
        with _plain_errors(), self._writer.begin() as connection:
            yield connection

    def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: it gives none.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def insist(action: Callable[[], T]) -> T:
    """Try an action again whose transaction collided with another one that took the same key or number first."""
    for _ in range(COLLISIONS):
        try:
            return action()
        except IntegrityError:
            continue
    return action()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITING) else "BEGIN")


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raised = _explain(error)
        if raised is None:
            raise
        raise raised from error


def _explain(error: DBAPIError) -> MahtaiError | None:
    """The reader's words for a failure of the machinery; None for a mistake in a statement."""
    message = str(error.orig)
    if "database or disk is full" in message or getattr(error.orig, "sqlstate", None) == _DISK_FULL_SQLSTATE:
        return StorageFull(
            "The server's disk is full, so this could not be saved. What was saved before is untouched.",
            "Free some space on the server's disk, then try again.",
        )
    if type(error.orig).__name__ == "OperationalError":
        return DatabaseUnavailable(
            "The server's database does not answer at the moment. Nothing was changed.",
            "Try again in a few seconds. If it stays like this, tell the person who runs the server.",
        )
    if type(error.orig).__name__ == "DatabaseError":  # SQLite's word for a file that is none of its own
        return DatabaseUnavailable(
            "The server's database file is damaged. It was not changed.",
            "Restore it from a backup, or give the server another data folder with MAHTAI_DATA_DIR.",
        )
    return None
