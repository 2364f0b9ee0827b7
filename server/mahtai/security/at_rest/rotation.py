"""Encrypts anew, under the current data key, what lies plain or under an older one, while servers go on working.

Every step is whole: a blob is replaced by its new form, a row is updated, or nothing has happened. Killed at any
moment, nothing is lost, and the next run goes on with what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Table, Text, and_, literal, select, type_coerce, update

from mahtai.db import trust_tables  # noqa: F401  its tables have sealed columns, too
from mahtai.db.engine import Database
from mahtai.db.sealed import PREFIX, SealedText
from mahtai.db.tables import Base
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.columns import is_under
from mahtai.security.at_rest.envelope import SealBroken, sealed_key_id
from mahtai.security.at_rest.keyring import Keyring
from mahtai.security.at_rest.secret_file import reseal, secret_files
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore, StorageFull, UnknownBlob

PASSES = 3
"""Looks at everything, for what servers wrote under an older key before they knew of the new one."""

ROWS_AT_ONCE = 50
"""Updated in one transaction, so that no writer of a server waits for long."""

PLAIN = "plain"
DAMAGED = "damaged"

Report = Callable[[str, float], object]
Column_ = Column[Any]


@dataclass
class Census:
    """How many blobs and column values there are by the id of their data key, ``PLAIN`` or ``DAMAGED``."""

    blobs: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)

    def old(self, current: str) -> int:
        """Those that are not under the current key and could be."""
        both = self.blobs + self.values
        return sum(count for key, count in both.items() if key not in (current, DAMAGED))


@dataclass
class Encrypted:
    """What a run did.

    Attributes:
        plain_values: those of ``values`` that were not encrypted before.
        damaged: blobs and values that cannot be read, by name; they stay as they were.
    """

    blobs: int = 0
    values: int = 0
    plain_values: int = 0
    damaged: list[str] = field(default_factory=list)


class ReEncryption:
    """Goes over all that is stored. Safe beside servers that work, and beside another one of its kind."""

    def __init__(self, settings: Settings, keyring: Keyring, database: Database, store: BlobStore) -> None:
        self._settings = settings
        self._keyring = keyring
        self._database = database
        self._store = store

    def census(self) -> Census:
        """Count; reads the beginning of every blob."""
        found = Census()
        for sha256 in self._store.all():
            found.blobs[self._key_of(sha256)] += 1
        for column in sealed_columns():
            with self._database.read() as session:
                for value in session.scalars(_filled(column, type_coerce(column, Text))):
                    key_id = str(value).removeprefix(PREFIX).partition(":")[0]
                    known = str(value).startswith(PREFIX) and key_id in self._keyring.content.keys
                    found.values[key_id if known else PLAIN] += 1
        return found

    def run(self, report: Report) -> Encrypted:
        """Encrypt what is not under the current key.

        Args:
            report: told the stage and the fraction of it that is done.

        Raises:
            StorageFull, DatabaseUnavailable: what was done stays done; run it again.
        """
        done = Encrypted()
        for path in self._secret_files():
            reseal(path, self._keyring)
        for _ in range(PASSES):
            before = done.blobs + done.values
            self._blobs(done, report)
            for column in sealed_columns():
                self._values(column, done, report)
            if done.blobs + done.values == before:
                break
        if done.plain_values and self._database.is_sqlite:
            report("tidying up", 0.0)
            self._database.compact()
        return done

    def _key_of(self, sha256: str) -> str:
        try:
            return self._store.key_id(sha256) or PLAIN
        except (SealBroken, UnknownBlob):
            return DAMAGED

    def _secret_files(self) -> Iterator[Path]:
        """Secrets that are encrypted, but not under the current key."""
        current, _ = self._keyring.current()
        for path in [self._settings.data_dir / "patients.key", *secret_files(self._settings.secrets_dir)]:
            if path.is_file() and sealed_key_id(path) not in (None, current):
                yield path

    def _blobs(self, done: Encrypted, report: Report) -> None:
        current, _ = self._keyring.current()
        report("looking", 0.0)
        old = [sha256 for sha256 in self._store.all() if self._key_of(sha256) != current]
        for number, sha256 in enumerate(old):
            report("blobs", number / len(old))
            name = f"blob {sha256}"
            if name in done.damaged:
                continue
            try:
                self._store.reseal(sha256)
                done.blobs += 1
            except UnknownBlob:
                continue  # removed meanwhile
            except StorageFull:
                raise
            except MahtaiError:
                done.damaged.append(name)

    def _values(self, column: Column_, done: Encrypted, report: Report) -> None:
        current, _ = self._keyring.current()
        table, key = column.table, list(column.table.primary_key.columns)
        assert isinstance(table, Table)
        sealed = _filled(column, *key).where(~type_coerce(column, Text).startswith(f"{PREFIX}{current}:"))
        with self._database.read() as session:
            old = [tuple(row) for row in session.execute(sealed)]
        for start in range(0, len(old), ROWS_AT_ONCE):
            report(f"{table.name}.{column.name}", start / len(old))
            self._update(column, key, old[start : start + ROWS_AT_ONCE], current, done)

    def _update(
        self, column: Column_, key: Sequence[Column_], rows: Sequence[tuple[Any, ...]], current: str, done: Encrypted
    ) -> None:
        kind = column.type
        assert isinstance(kind, SealedText) and isinstance(column.table, Table)
        with self._database.write() as session:
            dialect = session.get_bind().dialect
            for row in rows:
                this = and_(*(part == value for part, value in zip(key, row, strict=True)))
                raw = session.scalar(select(type_coerce(column, Text)).where(this))
                name = f"{kind.place} {'/'.join(map(str, row))}"
                if raw is None or is_under(raw, current) or name in done.damaged:
                    continue
                try:
                    text = SealedText.process_result_value(kind, raw, dialect)
                except MahtaiError:
                    done.damaged.append(name)
                    continue
                new = SealedText.process_bind_param(kind, text, dialect)
                session.execute(update(column.table).where(this).values({column: literal(new, Text)}))
                done.values += 1
                done.plain_values += not raw.startswith(PREFIX)


def sealed_columns() -> list[Column_]:
    """Every column that is encrypted where there is a key."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, SealedText)
    ]


def _filled(column: Column_, *wanted: Any) -> Any:
    return select(*wanted).select_from(column.table).where(type_coerce(column, Text).is_not(None))
