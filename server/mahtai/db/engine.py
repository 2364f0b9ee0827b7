"""Transactions. Writers take turns, so that what a writing transaction reads stays true until it commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

from mahtai.db.failures import DatabaseUnavailable, explain
from mahtai.db.sealed import ColumnCipher, hang_on
from mahtai.errors import MahtaiError

__all__ = ["Database", "DatabaseUnavailable", "insist"]

COLLISIONS = 8
"""How often ``insist`` takes a violated constraint for another writer's luck before it is taken for a mistake."""

T = TypeVar("T")

_WRITING = "mahtai_write"
_BUSY_TIMEOUT_MS = 15_000
_POOL_TIMEOUT_S = 10.0

_WRITERS = 0x4D616874_00000001
"""Key of PostgreSQL's advisory lock for which writers queue."""

_LOST_AFTER = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq: a database that does not answer any more is noticed within about ten seconds."""

_SESSION = {
    # as long as SQLite's busy_timeout
    "lock_timeout": _BUSY_TIMEOUT_MS,
    # the locks of a server that was stopped in the middle of a transaction, or whose computer has gone
    "idle_in_transaction_session_timeout": 10_000,
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}


class Database:
    """The tables' connections.

    On SQLite: write-ahead log, so that readers never wait for a writer; ``synchronous=FULL``, so that what
    was committed survives the loss of power; foreign keys on.

    On PostgreSQL the same promises hold between all servers that share it: writing transactions queue for one
    advisory lock, so that the code need not know which database it has; reading ones see one snapshot.

    Args:
        cipher: of the sealed columns; None leaves them plain, see ``db.sealed``.
    """

    def __init__(self, url: str, cipher: ColumnCipher | None = None) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            self._engine = create_engine(url, pool_size=10, max_overflow=20, hide_parameters=True)
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
            if cipher is not None:
                event.listen(self._engine, "connect", _erase_sqlite)
            self._reader = self._engine
        else:
            self._engine = _postgresql(url)
            event.listen(self._engine, "connect", _prepare_postgresql)
            event.listen(self._engine, "begin", _begin_postgresql)
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
        hang_on(self._engine.dialect, cipher)
        self._writer = self._engine.execution_options(**{_WRITING: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view.

        Raises:
            DatabaseUnavailable: no connection.
        """
        with _plain_errors(), Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, alone among the writers: all of it is on the disk when the block has ended, or none of it.

        Raises:
            StorageFull: the disk is full; nothing was changed.
            DatabaseUnavailable: no connection, read-only, or damaged.
        """
        with _plain_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write_aside(self) -> Iterator[Session]:
        """A transaction that does not queue with the writers, where the database can: for a single statement that is
        true by itself, such as a sign of life, which must not be late because of others.

        Raises:
            StorageFull, DatabaseUnavailable: as ``write``.
        """
        engine = self._writer if self.is_sqlite else self._engine
        with _plain_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def held(self, key: int, shared: bool = False) -> Iterator[None]:
        """Hold a lock that all servers of this database know; nothing on SQLite, which has one server.

        Args:
            key: names the lock.
            shared: with others who share it, but not with one who does not. One who does not is alone for ten seconds
                at most, after which a server that was stopped in between is in nobody's way.

        Raises:
            DatabaseUnavailable: no connection, or somebody else has it for too long.
        """
        if self.is_sqlite:
            yield
            return
        if not shared:
            with _plain_errors(), self._engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
                yield
            return
        with _plain_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("SELECT pg_advisory_lock_shared(:key)"), {"key": key})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock_shared(:key)"), {"key": key})

    @contextmanager
    def only_one(self, key: int) -> Iterator[bool]:
        """Whether nobody else is in such a block with this key, on whatever computer; always on SQLite.

        Raises:
            DatabaseUnavailable: no connection.
        """
        if self.is_sqlite:
            yield True
            return
        with _plain_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            is_mine = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())
            try:
                yield is_mine
            finally:
                if is_mine:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})

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

    def compact(self) -> None:
        """Write SQLite's file anew, so that nothing that was replaced or removed can be found in it any more.

        Raises:
            StorageFull, DatabaseUnavailable: it was not.
        """
        with _plain_errors(), self._engine.connect() as connection:
            bare: Any = connection.connection.driver_connection  # SQLAlchemy would begin a transaction
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                try:
                    bare.execute(statement).fetchall()
                except self._engine.dialect.loaded_dbapi.Error as error:
                    raise OperationalError(statement, None, error) from error

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for one that is no file."""
    parsed = make_url(url) if url.startswith("sqlite") else None
    return Path(parsed.database) if parsed is not None and parsed.database else None


def insist(action: Callable[[], T]) -> T:
    """Try an action again whose transaction collided with another one that took the same key or number first."""
    for _ in range(COLLISIONS):
        try:
            return action()
        except IntegrityError:
            continue
    return action()


def _postgresql(url: str) -> Engine:
    try:
        parsed: URL = make_url(url)
    except (ArgumentError, ValueError) as error:  # whose words may hold the password
        raise DatabaseUnavailable(
            "The address of the database cannot be read.",
            "MAHTAI_DATABASE_URL looks like postgresql://user:password@host:5432/mahtai; "
            "write characters such as @ and / in the password as %40 and %2F.",
        ) from error
    defaults = {name: value for name, value in _LOST_AFTER.items() if name not in parsed.query}
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        connect_args=defaults,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=_POOL_TIMEOUT_S,
        hide_parameters=True,  # an error that is shown must not show a row
    )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # SQLite's own knows the letters of English only
    connection.create_function("lower", 1, _lower, deterministic=True)
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _erase_sqlite(connection: Any, _record: Any) -> None:
    # what is replaced or removed shall not stay readable in the file
    connection.execute("PRAGMA secure_delete=ON").close()


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITING) else "BEGIN")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    for name, value in _SESSION.items():
        connection.execute(f"SET {name} = {value}")
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITING):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except NoConnectionFree as error:
        raise DatabaseUnavailable(
            "The server has more to do than its database takes at the moment. Nothing was changed.",
            "Try again in a few seconds.",
        ) from error
    except DBAPIError as error:
        raised: MahtaiError | None = explain(error)
        if raised is None:
            raise
        raise raised from error
