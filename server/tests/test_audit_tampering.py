"""Whoever changes the record is found: by the chain, by the signatures, by the anchor; on both databases."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit import COLUMNS, Record, edited_body, event, recomputed
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.security.audit.signing import PRIVATE_FILE, SigningKeyBroken, open_signing_key

ENTRIES = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """One that two servers have written, one after the other."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tables.sqlite'}"
    else:
        url = request.getfixturevalue("postgresql").new_database()
    database = Database(url)
    upgrade(database)
    made = Record(database, tmp_path)
    made.write(ENTRIES // 2)
    made.write(ENTRIES - ENTRIES // 2, first=ENTRIES // 2)
    yield made
    database.close()


def words(record: Record, anchor: Path | None = None) -> str:
    """All findings in one text; there must be some, for somebody who has the public key only too."""
    report = record.verify(anchor)
    assert report.found == len(report.findings) > 0
    assert record.verify(anchor, with_seals=False).found > 0
    return "\n".join(f"{each.number} {each.what}" for each in report.findings)


def test_an_untouched_record_is_whole(record: Record) -> None:
    report = record.verify()
    assert (report.found, report.remarks, report.entries, report.erased) == (0, [], ENTRIES, 0)
    assert report.checkpoints == 2
    outsider = record.verify(with_seals=False)
    assert outsider.found == 0
    assert [remark.what for remark in outsider.remarks] == [
        f"the seals of {ENTRIES} entries were not checked: their key is not here"
    ]


@pytest.mark.parametrize(
    "change",
    [
        "who = 'somebody else'",
        "who = NULL",
        "kind = 'draft'",
        "at = '2020-01-01T00:00:00.000000Z'",
        f"body_sha256 = '{'1' * 64}'",
        f"previous = '{'1' * 64}'",
        f"sha256 = '{'1' * 64}'",
        "body = replace(body, '10.0.0.7', '10.0.0.8')",
        "body = body || ' '",
        "body = NULL",
        "body = NULL, who = NULL",
        "number = 999",
        "number = -4",
    ],
)
def test_an_edit_of_any_column_is_found(record: Record, change: str) -> None:
    record.tamper(f"UPDATE audit_events SET {change} WHERE number = 5")
    assert words(record)


@pytest.mark.parametrize("number", [1, 7, ENTRIES // 2, ENTRIES])
def test_a_deletion_is_found_wherever_it_is(record: Record, number: int) -> None:
    record.tamper(f"DELETE FROM audit_events WHERE number = {number}")
    found = words(record)
    assert "cut off" in found if number == ENTRIES else f"missing: {number} to {number}" in found


def test_a_head_that_was_cut_off_is_found(record: Record) -> None:
    record.tamper("DELETE FROM audit_events WHERE number <= 10", "DELETE FROM audit_checkpoints WHERE number <= 10")
    assert "entries are missing: 1 to 10" in words(record)


def test_a_tail_that_was_cut_off_with_its_checkpoints_is_found_by_the_anchor(record: Record, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy.json"
    shutil.copy(record.config / "audit-anchor.json", elsewhere)
    record.tamper("DELETE FROM audit_events WHERE number > 12", "DELETE FROM audit_checkpoints WHERE number > 12")
    assert f"{ENTRIES} the end of the record was cut off after 12" in words(record)
    (record.config / "audit-anchor.json").unlink()
    report = record.verify()
    assert "there is no anchor" in report.remarks[0].what
    assert "cut off" in words(record, elsewhere)


def test_an_emptied_record_is_found(record: Record) -> None:
    record.tamper("DELETE FROM audit_events", "DELETE FROM audit_checkpoints")
    assert "cut off after 0" in words(record)


def test_a_tail_that_was_cut_stays_missing_when_a_server_goes_on(record: Record) -> None:
    record.tamper("DELETE FROM audit_events WHERE number > 12", "DELETE FROM audit_checkpoints WHERE number > 12")
    record.write(200)
    assert f"entries are missing: 13 to {ENTRIES}" in words(record)


def test_what_is_cut_from_under_a_running_server_stays_missing(record: Record) -> None:
    with record.trail() as trail:
        for number in range(5):
            trail.record_now(event(number))
        record.tamper(f"DELETE FROM audit_events WHERE number > {ENTRIES + 2}")
        trail.record_now(event(9))
    assert f"entries are missing: {ENTRIES + 3} to {ENTRIES + 5}" in words(record)


def test_two_entries_that_changed_places_are_found(record: Record) -> None:
    record.tamper(
        "UPDATE audit_events SET number = -1 WHERE number = 4",
        "UPDATE audit_events SET number = 4 WHERE number = 5",
        "UPDATE audit_events SET number = 5 WHERE number = -1",
    )
    assert words(record)


def test_swapped_hashes_are_found(record: Record) -> None:
    rows = {row["number"]: row for row in record.rows()}
    for column in ("sha256", "body_sha256", "previous"):
        record.tamper(*(_set(number, column, rows[9 - number][column]) for number in (4, 5)))
        assert words(record)
        record.tamper(*(_set(number, column, rows[number][column]) for number in (4, 5)))
        assert record.verify().found == 0


def _set(number: int, column: str, value: Any) -> tuple[str, dict[str, Any]]:
    return f"UPDATE audit_events SET {column} = :value WHERE number = :number", {"value": value, "number": number}


def test_an_entry_that_was_put_in_between_is_found(record: Record) -> None:
    rows = record.rows()
    record.tamper(record.put_row({**rows[3], "number": 0}))
    assert words(record)


def test_an_edit_with_all_hashes_computed_anew_is_found_by_the_signatures(record: Record) -> None:
    rows = record.rows()
    rows[4]["body"] = edited_body(rows[4]["body"], address="10.9.9.9")
    record.tamper("DELETE FROM audit_events", *(record.put_row(row) for row in recomputed(rows)))
    found = words(record)
    assert "5 it was put there by somebody else" in found
    assert f"{ENTRIES} it is not the entry that was signed" in found


def test_a_deletion_with_numbers_and_hashes_computed_anew_is_found(record: Record) -> None:
    rows = record.rows()
    kept = [row for row in rows if row["number"] != 6]
    for number, row in enumerate(kept, 1):
        row["number"] = number
        row["body"] = edited_body(row["body"], number=number)
    record.tamper("DELETE FROM audit_events", *(record.put_row(row) for row in recomputed(kept)))
    assert words(record)


def test_a_fitting_entry_of_somebody_without_the_key_is_found_though_the_server_signs_over_it(record: Record) -> None:
    rows = record.rows()
    body = edited_body(rows[-1]["body"], number=ENTRIES + 1, who="nobody at all")
    record.tamper(
        record.put_row(
            recomputed([*rows, {**rows[-1], "number": ENTRIES + 1, "who": "nobody at all", "body": body}])[-1]
        )
    )
    record.write(150)
    report = record.verify()
    assert [(each.number, each.what) for each in report.findings] == [
        (ENTRIES + 1, "it was put there by somebody else: its seal is wrong")
    ]


def test_a_record_written_and_signed_anew_with_another_key_is_found(record: Record, tmp_path: Path) -> None:
    forged = Record(record.database, tmp_path / "forger")
    record.tamper("DELETE FROM audit_events", "DELETE FROM audit_checkpoints")
    forged.write(ENTRIES + 5)
    assert forged.verify().found == 0
    assert "signed by an unknown key" in words(record)
    assert "without a key of this server" in words(record)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_checkpoints SET at = '2020-01-01T00:00:00.000000Z' WHERE number = 30",
        f"UPDATE audit_checkpoints SET sha256 = '{'1' * 64}' WHERE number = 30",
        f"UPDATE audit_checkpoints SET key = '{'1' * 64}' WHERE number = 30",
        "UPDATE audit_checkpoints SET signature = 'AAAA' WHERE number = 30",
        "UPDATE audit_checkpoints SET number = 29 WHERE number = 30",
        "DELETE FROM audit_checkpoints WHERE number = 15",
    ],
)
def test_a_changed_or_removed_checkpoint_is_found(record: Record, change: str) -> None:
    record.tamper(change)
    assert words(record)


def test_a_changed_anchor_is_found(record: Record) -> None:
    path = record.config / "audit-anchor.json"
    path.write_text(path.read_text("utf-8").replace(f'"number": {ENTRIES}', f'"number": {ENTRIES - 1}'), "utf-8")
    assert words(record)
    path.write_text("{", "utf-8")
    assert "cannot be read" in record.verify().findings[0].what


def test_a_lost_key_is_replaced_and_what_the_old_one_signed_stays_proven(record: Record) -> None:
    (record.secrets / PRIVATE_FILE).unlink()
    with pytest.raises(SigningKeyBroken, match="is gone"):
        record.write(10)
    assert not (record.secrets / PRIVATE_FILE).exists()
    open_signing_key(record.secrets, record.config, None)  # as mahtai doctor --repair --new-secrets does
    record.write(10)
    report = record.verify()
    assert report.found == 0
    assert report.remarks[0].what == f"the seals of {ENTRIES} entries were not checked: their key is not here"
    record.tamper("UPDATE audit_events SET who = 'x' WHERE number = 3")
    assert words(record)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """A small record, its refusals taken away, in a file to be copied."""
    root = tmp_path_factory.mktemp("original")
    database = Database(f"sqlite:///{root / 'tables.sqlite'}")
    upgrade(database)
    made = Record(database, root)
    made.write(12)
    made.write(8, first=12)
    made.tamper()
    yield made
    database.close()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_of_any_single_character_is_found(original: Record, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(["audit_events"] * 4 + ["audit_checkpoints"]))
    rows = original.rows(table)
    row = data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from([name for name, value in row.items() if value is not None]))
    old = row[column]
    new: Any
    if isinstance(old, int):
        new = data.draw(
            st.integers(-(2**63), 2**63 - 1).filter(lambda value: value not in [each["number"] for each in rows])
        )
    else:
        place = data.draw(st.integers(0, len(old) - 1))
        character = data.draw(st.characters(codec="utf-8").filter(lambda value: value != old[place]))
        new = old[:place] + character + old[place + 1 :]
    statement = f"UPDATE {table} SET {column} = ? WHERE number = ?"
    assert _found_after(original, statement, (new, row["number"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_of_any_single_byte_is_found(original: Record, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(original.rows()))
    column = data.draw(st.sampled_from([name for name in COLUMNS[1:] if row[name] is not None]))
    old = row[column].encode("utf-8")
    place = data.draw(st.integers(0, len(old) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != old[place]))
    new = old[:place] + bytes([byte]) + old[place + 1 :]
    kind = data.draw(st.sampled_from(["TEXT", "BLOB"]))
    assert _found_after(
        original, f"UPDATE audit_events SET {column} = CAST(? AS {kind}) WHERE number = ?", (new, row["number"])
    )


def _found_after(original: Record, statement: str, values: tuple[Any, ...]) -> int:
    """How many findings there are after a change, which is then taken back."""
    path = original.root / "tables.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    copy = original.root / "changed.sqlite"
    copy.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()
    changed = sqlite3.connect(copy, isolation_level=None)
    changed.execute(statement, values)
    changed.close()
    database = Database(f"sqlite:///{copy}")
    try:
        return Record(database, original.root).verify().found
    finally:
        database.close()


def test_the_last_entry_is_replaced_while_the_server_runs(record: Record) -> None:
    """Taken away before the next checkpoint; the place is then another entry's, which other writers seal and sign."""
    with record.trail() as opened:
        opened.record_now(event(7))
        record.tamper(f"DELETE FROM audit_events WHERE number = {ENTRIES + 1}")
        with record.trail("another"):
            pass
        record.write(1, first=8)
        opened.record_now(event(9))
    assert f"the server found that entry {ENTRIES + 1} was changed" in words(record)


def test_an_entry_under_a_key_of_another_time_is_told(record: Record, tmp_path: Path) -> None:
    """The settings folder trusts a second key, as when a command ran once with another data folder."""
    other = Record(record.database, tmp_path / "other")
    other.root.mkdir()
    (tmp_path / "other" / "config").symlink_to(record.config, target_is_directory=True)
    open_signing_key(other.secrets, other.config, None)
    other.write(1)
    found = record.verify().findings
    assert {each.what for each in found} == {"it was put there by somebody else: it is under a key of another time"}
