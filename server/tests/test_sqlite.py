"""Which SQLite the server uses where Python's own is too old."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mahtai import sqlite
from mahtai.db.engine import DatabaseUnavailable
from mahtai.jobs.durable import DurableWork


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sqlite3", "sqlite3.dbapi2"):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])


def bring(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> ModuleType:
    """A package pysqlite3 with that SQLite."""
    package, dbapi2 = ModuleType("pysqlite3"), ModuleType("pysqlite3.dbapi2")
    package.dbapi2, package.sqlite_version_info = dbapi2, version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pysqlite3", package)
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", dbapi2)
    return package


def test_a_new_enough_sqlite_of_pythons_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, (3, 53, 0))
    monkeypatch.setattr(sqlite, "NEEDED", sqlite3.sqlite_version_info)
    sqlite.use_new_enough()
    assert sys.modules["sqlite3"] is sqlite3 and sqlite.is_new_enough()


def test_a_too_old_one_is_replaced_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    package = bring(monkeypatch, (99, 1, 0))
    monkeypatch.setattr(sqlite, "NEEDED", (99, 0))
    sqlite.use_new_enough()
    import sqlite3 as found

    assert found is package and sys.modules["sqlite3.dbapi2"] is package.dbapi2 and sqlite.is_new_enough()


def test_without_a_new_enough_one_the_server_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sqlite, "NEEDED", (99, 0))
    monkeypatch.setattr("mahtai.jobs.durable.NEEDED", (99, 0))
    monkeypatch.setitem(sys.modules, "pysqlite3", None)
    sqlite.use_new_enough()
    with pytest.raises(DatabaseUnavailable) as error:
        DurableWork(f"sqlite:///{tmp_path / 'jobs.sqlite'}", "one", lambda job: None).start()
    assert sqlite3.sqlite_version in error.value.reason and "99.0" in error.value.reason
    assert "pysqlite3" in error.value.hint
