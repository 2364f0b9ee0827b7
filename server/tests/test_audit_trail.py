"""What was confirmed is on record whatever happens: many threads, kill -9, several servers, a database that goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit_kit import Record, event
from mahtai.db import tables
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.migrate import upgrade
from mahtai.errors import MahtaiError
from mahtai.security.audit import chain, trail
from mahtai.security.audit.trail import AuditTrail, RecordClosed
from mahtai.volumes.store import StorageFull

WRITER = Path(__file__).with_name("audit_writer.py")


def record_of(url: str, root: Path) -> Record:
    """An empty one."""
    database = Database(url)
    upgrade(database)
    return Record(database, root)


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """An empty one."""
    is_sqlite = request.param == "sqlite"
    url = (
        f"sqlite:///{tmp_path / 'tables.sqlite'}" if is_sqlite else request.getfixturevalue("postgresql").new_database()
    )
    made = record_of(url, tmp_path)
    yield made
    made.database.close()


def writer(record: Record, name: str, first: int, count: int) -> subprocess.Popen[str]:
    """A process that writes."""
    words = [sys.executable, str(WRITER), record.database.url, str(record.root), name, str(first), str(count)]
    paths = os.pathsep.join([str(WRITER.parent), *[path for path in sys.path if path]])
    return subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, "PYTHONPATH": paths})


def written(record: Record) -> list[int]:
    """The numbers that entries of ``event`` tell, in the order of the record."""
    bodies = [json.loads(row["body"])["detail"] for row in record.rows()]
    return [int(detail["n"]) for detail in bodies if "n" in detail]


def test_entries_of_many_threads_share_transactions_and_are_all_there(record: Record) -> None:
    commits = []
    engine = record.database._engine
    sql_event.listen(engine, "commit", lambda _: commits.append(1))
    with record.trail() as opened:
        threads = [threading.Thread(target=lambda: [opened.record_now(event(i)) for i in range(20)]) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(written(record)) == sorted(list(range(20)) * 50)
    assert len(commits) < 1000
    assert record.verify().found == 0


def test_no_checkpoint_is_farther_from_the_one_before_than_verify_allows(record: Record) -> None:
    with record.trail() as opened:
        for each in [opened.record(event(number)) for number in range(1500)]:
            each.result()
    report = record.verify()
    assert report.found == 0
    assert 1500 // 200 < report.checkpoints <= 16


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_what_was_confirmed_before_kill_9_is_there_and_the_chain_holds(record: Record) -> None:
    confirmed: list[int] = []
    for life in range(4):
        process = writer(record, "one", 100_000 * life, 0)
        assert process.stdout is not None
        for _, line in zip(range(150 + 130 * life), process.stdout, strict=False):
            confirmed.append(int(line))
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
        confirmed += [int(line) for line in rest if line.endswith("\n")]
        process.wait()
    there = written(record)
    assert len(there) == len(set(there))
    assert set(confirmed) <= set(there)
    assert len(confirmed) > 1000
    assert record.verify().found == 0


def test_two_processes_write_one_chain(record: Record) -> None:
    processes = [writer(record, name, first, 400) for name, first in (("one", 0), ("two", 1000))]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    there = written(record)
    assert sorted(there) == [*range(400), *range(1000, 1400)]
    assert record.verify().found == 0
    servers = [json.loads(row["body"])["server"] for row in record.rows()]
    assert set(servers) == {"one", "two"}


def test_a_lost_postgresql_is_told_and_the_record_goes_on_when_it_is_back(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("the tests' PostgreSQL is reached by a Unix socket")
    from postgresql import PostgreSQL, find_programs

    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL")
    cluster = PostgreSQL(programs).start()
    try:
        record = record_of(cluster.new_database(), tmp_path)
        with record.trail() as opened:
            opened.record_now(event(1))
            cluster.stop()
            with pytest.raises(DatabaseUnavailable):
                opened.record_now(event(2))
            cluster.start()
            opened.record_now(event(3))
        assert written(record) == [1, 3]
        assert record.verify().found == 0
        record.database.close()
    finally:
        cluster.remove()


def test_a_full_disk_is_told_and_the_record_goes_on_when_there_is_room(tmp_path: Path) -> None:
    record = record_of(f"sqlite:///{tmp_path / 'tables.sqlite'}", tmp_path)
    with record.trail() as opened:
        opened.record_now(event(1))
        with record.database.read() as session:
            pages = session.execute(text("PRAGMA page_count")).scalar_one()
        limit = [pages + 1]
        # of every connection, old and new
        sql_event.listen(
            record.database._engine,
            "begin",
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}").close(),
        )
        with pytest.raises(StorageFull):
            for number in range(2, 200):
                opened.record_now(event(number))
        full = written(record)
        limit[0] = 2**30
        opened.record_now(event(1000))
    assert written(record) == [*full, 1000]
    assert full == list(range(1, len(full) + 1))
    assert record.verify().found == 0
    record.database.close()


def test_the_database_refuses_to_change_or_remove_entries(record: Record) -> None:
    record.write(5)
    before = record.rows(), record.rows("audit_checkpoints")
    statements = [
        "DELETE FROM audit_events",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_checkpoints SET at = at",
        "UPDATE audit_events SET body = '{}' WHERE number = 1",
        "UPDATE audit_events SET body = NULL, at = '' WHERE number = 1",
        "UPDATE audit_events SET body = NULL, who = 'x' WHERE number = 1",
        *(f"UPDATE audit_events SET {column} = 'x'" for column in ("who", "at", "kind", "sha256", "previous")),
        "UPDATE audit_events SET number = number + 100",
    ]
    if record.database.is_sqlite:
        statements.append("INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events")
        statements.append("INSERT OR REPLACE INTO audit_checkpoints SELECT * FROM audit_checkpoints")
    else:
        statements += ["TRUNCATE audit_events", "TRUNCATE audit_checkpoints"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="only added to"), record.database.write() as session:
            session.execute(text(statement))
    assert (record.rows(), record.rows("audit_checkpoints")) == before
    with record.database.write() as session:  # what retention does
        session.execute(text("UPDATE audit_events SET body = NULL, who = NULL WHERE number = 1"))


def test_an_entry_is_kept_though_nobody_waits_for_it_any_more(record: Record) -> None:
    with record.trail() as opened:
        future = opened.record(event(1))
        assert not future.cancel()
    assert written(record) == [1]


def test_a_closed_record_takes_nothing(record: Record) -> None:
    with record.trail() as opened:
        pass
    with pytest.raises(RecordClosed):
        opened.record_now(event(1))
    assert written(record) == []


def test_words_that_no_database_can_hold_are_made_fit(record: Record) -> None:
    nasty = "a\0b\ud800c\x1b[31m\N{SNOWMAN}" + "x" * 1000
    with record.trail() as opened:
        opened.record_now(event(1, kind="k" * 100, who=nasty, object=nasty, detail={"n": "1", nasty: nasty}))
    (row,) = record.rows()
    assert row["who"].startswith("a\ufffdb\ufffdc\ufffd[31m\N{SNOWMAN}")
    assert len(row["who"]) == 200
    assert record.verify().found == 0


def test_a_clock_that_goes_back_breaks_nothing_and_is_remarked(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with record.trail() as opened:
        opened.record_now(event(1))
        monkeypatch.setattr(chain, "moment", lambda _: tables.now().replace(year=2020))
        opened.record_now(event(2))
        monkeypatch.undo()
        opened.record_now(event(3))
    report = record.verify()
    assert report.found == 0
    assert [remark.number for remark in report.remarks] == [2]
    assert "clock went back" in report.remarks[0].what


def test_time_makes_a_checkpoint_too(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "CHECKPOINT_S", 0.05)
    with record.trail() as opened:
        opened.record_now(event(1))
        deadline = threading.Event()
        for _ in range(200):
            if record.rows("audit_checkpoints"):
                break
            deadline.wait(0.05)
        assert [row["number"] for row in record.rows("audit_checkpoints")] == [1]


def test_the_key_is_for_the_server_only_and_the_anchor_lies_with_the_settings(record: Record) -> None:
    record.write(3)
    key = record.secrets / "audit-signing.pem"
    assert b"PRIVATE KEY" in key.read_bytes()
    if os.name == "posix":
        assert key.stat().st_mode & 0o077 == 0
    assert b"PUBLIC KEY" in (record.config / "audit-public.pem").read_bytes()
    (anchor,) = json.loads((record.config / "audit-anchor.json").read_text("utf-8"))["anchors"].values()
    assert anchor["number"] == 3
    kept = {path.name for path in record.config.iterdir() if path.suffix != ".lock"}
    assert kept == {"audit-anchor.json", "audit-public.pem"}


def test_a_broken_key_stops_the_start_with_a_plain_word(record: Record) -> None:
    record.write(3)
    (record.secrets / "audit-signing.pem").write_text("nonsense", "utf-8")
    with pytest.raises(MahtaiError, match=r"audit-signing\.pem"):
        AuditTrail(record.database, record.config, record.secrets, "one").start()


def test_a_damaged_anchor_stops_nothing_and_stays_for_verify(record: Record) -> None:
    record.write(3)
    anchor = record.config / "audit-anchor.json"
    anchor.write_text("{", "utf-8")
    with record.trail() as opened:
        opened.record_now(event(4))
    assert anchor.read_text("utf-8") == "{"
    assert json.loads(record.rows()[3]["body"])["detail"] == {"what": "no anchor", "entry": "3"}
    assert "cannot be read" in record.verify().findings[0].what
