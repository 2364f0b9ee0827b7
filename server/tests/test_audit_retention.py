"""What is over is erased, says so, and the rest of the record still proves itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from audit_kit import KINDS, Record
from mahtai.db import tables
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.security.audit import chain
from mahtai.security.audit.reading import Wanted, newest_first
from mahtai.security.audit.retention import RetentionUnclear, Times, expired, prune, read_times
from mahtai.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """48 entries three years old, and 48 of today."""
    is_sqlite = request.param == "sqlite"
    url = (
        f"sqlite:///{tmp_path / 'tables.sqlite'}" if is_sqlite else request.getfixturevalue("postgresql").new_database()
    )
    database = Database(url)
    upgrade(database)
    made = Record(database, tmp_path)
    monkeypatch.setattr(chain, "moment", lambda _: tables.now() - timedelta(days=3 * 365))
    made.write(48)
    monkeypatch.undo()
    made.write(48, first=48)
    yield made
    database.close()


def test_only_what_is_over_is_erased_and_the_chain_holds(record: Record) -> None:
    assert {kind: count for kind, (_, count) in expired(record.database, read_times()).items()} == {
        "sign-in": 3,
        "sign-out": 3,
        "draft": 3,
    }
    with record.trail() as trail:
        prune(trail, read_times(), "operator@server")
    gone = [row for row in record.rows() if row["body"] is None]
    assert {row["kind"] for row in gone} == {"sign-in", "sign-out", "draft"}
    assert {row["who"] for row in gone} == {None}
    assert len(gone) == 9
    assert max(row["number"] for row in gone) <= 48
    report = record.verify()
    assert (report.found, report.erased) == (0, 9)
    told = json.loads(record.rows()[-1]["body"])
    assert told["detail"]["what"] == "retention"
    assert set(told["detail"]) == {"what", "until.sign-in", "until.sign-out", "until.draft"}
    assert told["who"] == "operator@server"


def test_nothing_over_erases_nothing_and_writes_nothing(record: Record) -> None:
    with record.trail() as trail:
        assert prune(trail, Times({}, None), None) == {}
    assert len(record.rows()) == 96


def test_an_erasure_that_no_retention_covers_is_found(record: Record) -> None:
    with record.trail() as trail:
        prune(trail, read_times(), None)
    record.tamper("UPDATE audit_events SET body = NULL, who = NULL WHERE number = 60")
    report = record.verify()
    assert [each.number for each in report.findings] == [60]
    assert "erased before its time was over" in report.findings[0].what


def test_an_erasure_of_a_kind_that_is_kept_is_found(record: Record) -> None:
    with record.trail() as trail:
        prune(trail, read_times(), None)
    number = next(row["number"] for row in record.rows() if row["kind"] == "image-read")
    record.tamper(f"UPDATE audit_events SET body = NULL, who = NULL WHERE number = {number}")
    assert [each.number for each in record.verify().findings] == [number]


def test_a_name_written_into_an_erased_entry_is_found(record: Record) -> None:
    with record.trail() as trail:
        prune(trail, read_times(), None)
    number = next(row["number"] for row in record.rows() if row["body"] is None)
    record.tamper(f"UPDATE audit_events SET who = 'mallory' WHERE number = {number}")
    assert [each.number for each in record.verify().findings] == [number]


def test_entries_about_retention_outlive_their_kind(record: Record) -> None:
    short = Times({}, 1)
    with record.trail() as trail:
        prune(trail, short, None)
        prune(trail, Times({}, 1), None, tables.now() + timedelta(days=800))
    bodies = [json.loads(row["body"]) for row in record.rows() if row["body"] is not None]
    assert [body["detail"]["what"] for body in bodies] == ["retention", "retention"]
    report = record.verify()
    assert (report.found, report.erased) == (0, 96)


def test_an_interrupted_erasure_is_explained_and_finished_later(record: Record) -> None:
    class Cut(Exception):
        pass

    with record.trail() as trail:
        write = trail.database.write
        calls = []

        def cut() -> object:
            calls.append(1)
            if len(calls) > 2:  # the entry, one slice
                raise Cut
            return write()

        trail.database.write = cut  # type: ignore[method-assign, assignment]
        with pytest.raises(Cut):
            prune(trail, read_times(), None)
        trail.database.write = write  # type: ignore[method-assign]
        assert record.verify().found == 0
        assert 0 < record.verify().erased < 9
        prune(trail, read_times(), None)
    assert (record.verify().found, record.verify().erased) == (0, 9)


def test_erased_entries_are_shown_as_such(record: Record) -> None:
    with record.trail() as trail:
        prune(trail, read_times(), None)
    entries = newest_first(record.database, Wanted(kind="draft"), 100)
    assert [entry.erased for entry in entries] == [False] * 3 + [True] * 3
    assert entries[-1].who is None and entries[-1].object == ""


def test_every_kind_has_a_time_and_a_table_of_ones_own_is_taken(tmp_path: Path) -> None:
    assert read_times().days["image-read"] == 2192 and len(KINDS) == 16
    own = tmp_path / "own.json"
    own.write_text('{"default": null, "days": {"sign-in": 7}}', "utf-8")
    settings = Settings.from_environment({"MAHTAI_AUDIT_RETENTION": str(own)})
    assert read_times(settings.audit_retention) == Times({"sign-in": 7}, None)
    for wrong in ("{", "[]", '{"default": "x", "days": {}}', '{"default": 1, "days": {"a": 0}}', '{"default": 1}'):
        own.write_text(wrong, "utf-8")
        with pytest.raises(RetentionUnclear, match="Nothing was erased"):
            read_times(own)
