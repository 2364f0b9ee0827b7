"""Rows of tables as lines of JSON, from one kind of database to the other.

A table is described by its columns and what they hold, so that a later version of the program can still make the rows
of an older one: it brings the tables to the older form, fills them, and then migrates them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    text,
    type_coerce,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from mahtai.db import trust_tables  # noqa: F401  its tables belong to the same metadata
from mahtai.db.sealed import SealedJson, SealedText
from mahtai.db.tables import Base, UtcDateTime
from mahtai.errors import MahtaiError

PASSING = frozenset({"servers", "sessions", "sign_in_failures", "foreign_sign_ins"})
"""Tables of what is true of running servers and of people at work now; a backup leaves their rows out."""

ROWS_AT_ONCE = 500

LOST = "[damaged]"
"""Stands for an encrypted text that could not be read."""

_KINDS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (SealedJson, "sealed json"),
    (SealedText, "sealed text"),
    (UtcDateTime, "time"),
    (JSON, "json"),
    (Boolean, "flag"),
    (Integer, "whole"),
    (Float, "real"),
    (String, "text"),
)


def kept_tables() -> list[Table]:
    """Tables whose rows are kept; one that names rows of another comes after it."""
    return [table for table in Base.metadata.sorted_tables if table.name not in PASSING]


def described(table: Table) -> dict[str, Any]:
    """A table's name and columns, for the backup."""
    return {
        "name": table.name,
        "columns": [[column.name, _kind(column.type), bool(column.nullable)] for column in table.columns],
    }


def rebuilt(description: Mapping[str, Any]) -> Table:
    """What ``described`` has told of, as far as inserting rows goes."""
    name = str(description["name"])
    columns = [
        Column(column, _type(kind, f"{name}.{column}", is_nullable))
        for column, kind, is_nullable in description["columns"]
    ]
    return Table(name, MetaData(), *columns)


def lines_of(session: Session, table: Table, damaged: list[str]) -> Iterator[bytes]:
    """Rows as JSON, each ending with a line feed, such that a row which names another one of its table is after it.

    Args:
        damaged: gets the names of encrypted values that cannot be read; ``LOST`` stands in their place.
    """
    columns = list(table.columns)
    sealed = {place: column for place, column in enumerate(columns) if isinstance(column.type, SealedText)}
    raw = [type_coerce(column, Text) if place in sealed else column for place, column in enumerate(columns)]
    # versions of a label are numbered within their case, and name those with smaller numbers
    order = [table.c.number] if "number" in table.c else list(table.primary_key.columns)
    dialect = session.get_bind().dialect
    for row in session.execute(select(*raw).order_by(*order).execution_options(yield_per=ROWS_AT_ONCE)):
        values = list(row)
        for place, column in sealed.items():
            kind = column.type
            assert isinstance(kind, SealedText)
            try:
                values[place] = kind.process_result_value(values[place], dialect)
            except (MahtaiError, ValueError):
                key = "/".join(str(row[columns.index(part)]) for part in table.primary_key.columns)
                damaged.append(f"{kind.place} {key}")
                values[place] = LOST
        yield json.dumps([_plain(value) for value in values], separators=(",", ":")).encode() + b"\n"


def add_lines(session: Session, table: Table, lines: bytes) -> int:
    """Insert the rows of some lines; how many they were.

    Raises:
        ValueError: they are no rows of this table.
    """
    columns = list(table.columns)
    rows = [_values(columns, json.loads(line)) for line in lines.splitlines()]
    if rows:
        session.execute(insert(table), rows)
    return len(rows)


def last_number(session: Session, table: Table) -> int | None:
    """The last number that a table has given, if its database counts; it may belong to a row that is gone."""
    if not _counts(table):
        return None
    if session.get_bind().dialect.name == "sqlite":
        found = session.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        return int(found.scalar() or 0)
    name = session.execute(text("SELECT pg_get_serial_sequence(:name, 'number')"), {"name": table.name}).scalar_one()
    last, is_called = session.execute(text(f"SELECT last_value, is_called FROM {name}")).one()
    return int(last) if is_called else 0


def go_on_from(session: Session, table: str, number: int) -> None:
    """Have a table that counts give larger numbers than this one from now on."""
    if number == 0:
        return
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
        session.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :seq)"), {"name": table, "seq": number})
        return
    session.execute(
        text("SELECT setval(pg_get_serial_sequence(:name, 'number'), :seq)"), {"name": table, "seq": number}
    )


def _counts(table: Table) -> bool:
    return "number" in table.c and table.c.number.primary_key and table.c.number.autoincrement is True


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _values(columns: Sequence[Column[Any]], row: Any) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != len(columns):
        raise ValueError("a row has other columns than its table")
    return {
        column.name: datetime.fromisoformat(value) if isinstance(column.type, UtcDateTime) and value else value
        for column, value in zip(columns, row, strict=True)
    }


def _kind(of: TypeEngine[Any]) -> str:
    return next(name for kind, name in _KINDS if isinstance(of, kind))


def _type(kind: str, place: str, is_nullable: bool) -> TypeEngine[Any]:
    if kind.startswith("sealed"):
        return (SealedJson if kind == "sealed json" else SealedText)(place)
    known: dict[str, TypeEngine[Any]] = {
        "time": UtcDateTime(),
        "json": JSON(none_as_null=is_nullable),
        "flag": Boolean(),
        "whole": BigInteger(),
        "real": Float(),
        "text": Text(),
    }
    return known[kind]
