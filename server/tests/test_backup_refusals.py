"""Nothing else is taken for a backup, nothing is overwritten, and what is damaged is named."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from at_rest_kit import refused_start
from backup_kit import Filled, all_rows, answers, empty, filled, made, mahtai, restore, same_rows, settings_of
from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD, upgrade
from mahtai.security.at_rest.envelope import HEADER_BYTES
from mahtai.security.at_rest.master_key import key_from_file, new_key_file
from mahtai.upkeep.backup.archive import ABOUT, FORMAT, ROWS, BackupBroken, Contents, read_archive, write_archive
from mahtai.upkeep.backup.checking import check_backup
from mahtai.upkeep.backup.restoring import restore_backup
from server_process import ServerProcess

if os.name == "posix":
    from postgresql import PostgreSQL

__all__ = ["empty", "filled", "made"]


def _flip(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(HEADER_BYTES, len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit": _flip,
    "its head": lambda content, chance: bytes([content[0] ^ 1]) + content[1:],
    "its salt": lambda content, chance: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    "cut off": lambda content, chance: content[: chance.randrange(len(content))],
    "a chunk less": lambda content, chance: content[: -(len(content) % 1048592)],
    "longer": lambda content, chance: content + b"\0",
    "empty": lambda content, chance: b"",
    "no backup": lambda content, chance: chance.randbytes(5000),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_backup_is_found_out_and_nothing_of_it_is_taken(
    filled: Filled, made: Path, empty: ServerProcess, tmp_path: Path, change: str
) -> None:
    chance = random.Random(change)
    file = tmp_path / "changed.mahtai"
    for _ in range(20):
        file.write_bytes(CHANGES[change](made.read_bytes(), chance))
        with pytest.raises(BackupBroken, match=r"changed\.mahtai"):
            check_backup(file, key_from_file(filled.key), lambda stage, fraction: None)
    done = mahtai(empty, "restore", str(file), "--key-file", str(filled.key), "--plain")
    assert done.returncode == 1 and "changed.mahtai" in done.stderr and "What to do" in done.stderr, done.stderr
    if (empty.data / "mahtai.sqlite").exists():  # it was found out on the way
        with refused_start(empty) as said:
            assert "restored from a backup" in said[-1]
    restore(empty, made, filled.key)
    same_rows(empty, filled.server)


def test_the_key_is_named_that_is_missing_or_wrong(
    filled: Filled, made: Path, empty: ServerProcess, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    new_key_file(other)
    wrong = mahtai(empty, "restore", str(made), "--key-file", str(other))
    assert wrong.returncode == 1
    assert key_from_file(filled.key).fingerprint in wrong.stderr and key_from_file(other).fingerprint in wrong.stderr
    for words in (["restore", str(made)], ["backup", str(tmp_path / "x")]):
        done = mahtai(empty, *words)
        assert done.returncode == 1 and "no key was named" in done.stderr
        lost = mahtai(empty, *words, "--key-file", str(tmp_path / "lost"))
        assert lost.returncode == 1 and "lost cannot be read" in lost.stderr
        assert "Check --key-file" in lost.stderr and "MAHTAI_KEY_FILE" not in lost.stderr
    assert not empty.data.exists() or list(empty.data.iterdir()) == []


def test_nothing_is_overwritten(filled: Filled, made: Path, tmp_path: Path) -> None:
    before = made.read_bytes()
    again = mahtai(filled.server, "backup", str(made), "--key-file", str(filled.key))
    assert again.returncode == 1 and "is there already" in again.stderr and made.read_bytes() == before
    running = mahtai(filled.server, "restore", str(made), "--key-file", str(filled.key))
    assert running.returncode == 1 and "already using" in running.stderr
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "thesis.odt").write_bytes(b"x")
    for _ in range(2):
        full = mahtai(filled.server, "restore", str(made), "--key-file", str(filled.key), data_dir=str(folder))
        assert full.returncode == 1 and "thesis.odt" in full.stderr
        assert (folder / "thesis.odt").read_bytes() == b"x"
        (folder / "restoring").write_bytes(b"")  # as if it had come after a restore that was broken off
    assert answers(filled.server, filled.case, filled.job)["result"][:4] == b"NRRD"


def test_a_database_with_tables_is_left_alone(
    filled: Filled, made: Path, empty: ServerProcess, postgresql: PostgreSQL
) -> None:
    empty.environment = {"database_url": postgresql.new_database()}
    empty.start().stop()
    before = all_rows(empty)
    words = ("restore", str(made), "--key-file", str(filled.key), "--plain")
    done = mahtai(empty, *words, data_dir=str(empty.root / "other"))
    assert done.returncode == 1 and "has tables already" in done.stderr
    assert all_rows(empty) == before
    another = postgresql.new_database()
    with psycopg.connect(another, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions AS SELECT 1 AS of_another_program")
    done = mahtai(empty, *words, data_dir=str(empty.root / "third"), database_url=another)
    assert done.returncode == 1 and "has tables already" in done.stderr


@pytest.mark.parametrize("is_shared", [False, True], ids=["sqlite", "postgresql"])
def test_tables_that_hold_nothing_are_as_good_as_none(
    filled: Filled, made: Path, empty: ServerProcess, postgresql: PostgreSQL, is_shared: bool
) -> None:
    if is_shared:
        empty.environment = {"database_url": postgresql.new_database()}
    empty.data.mkdir()
    with closing(Database(settings_of(empty).database_url)) as database:
        upgrade(database)
    restore(empty, made, filled.key)
    same_rows(empty, filled.server)
    again = mahtai(empty, "restore", str(made), "--key-file", str(filled.key), "--plain")
    assert again.returncode == 1 and "The database has tables already: rows in " in again.stderr


def test_what_a_database_has_no_room_for_is_named(empty: ServerProcess, postgresql: PostgreSQL, tmp_path: Path) -> None:
    key = new_key_file(tmp_path / "odd.key")
    about = {"format": FORMAT, "made_at": "2026-01-03T00:00:00+00:00", "program": "0", "revision": HEAD}
    columns = [["key", "text", False], ["patient", "whole", False]]
    file = tmp_path / "odd.mahtai"
    with file.open("wb") as sink, write_archive(sink, key) as archive:
        archive.add_json(ABOUT, {**about, "tables": [{"name": "patient_keys", "columns": columns}]})
        archive.add_bytes(f"{ROWS}/patient_keys/000000", b'["a\\u0000b",1]\n')
        archive.add_end(Contents(rows={"patient_keys": 1}))
    empty.environment = {"database_url": postgresql.new_database()}
    done = mahtai(empty, "restore", str(file), "--key-file", str(tmp_path / "odd.key"), "--plain")
    assert done.returncode == 1 and "A row of the table patient_keys holds" in done.stderr, done.stderr
    assert "into SQLite" in done.stderr and "horter" not in done.stderr


def test_a_folder_that_is_not_there_is_not_made(filled: Filled, tmp_path: Path) -> None:
    """It may be a disk that is not mounted."""
    done = mahtai(filled.server, "backup", str(tmp_path / "disk" / "x.mahtai"), "--key-file", str(filled.key))
    assert done.returncode == 1 and not (tmp_path / "disk").exists()
    assert f"There is no folder {tmp_path / 'disk'}. Nothing was written." in done.stderr


def test_there_must_be_something_to_back_up(empty: ServerProcess, filled: Filled, tmp_path: Path) -> None:
    done = mahtai(empty, "backup", str(tmp_path / "x.mahtai"), "--key-file", str(filled.key))
    assert done.returncode == 1 and "There is no database" in done.stderr
    assert not empty.data.exists() and not (tmp_path / "x.mahtai").exists()


def test_what_is_damaged_is_named_and_all_else_is_kept(
    filled: Filled, empty: ServerProcess, tmp_path: Path, models: Path
) -> None:
    """A blob with a flipped bit, one that is gone, and an encrypted comment that was changed."""
    first = tmp_path / "first.mahtai"
    assert mahtai(filled.server, "backup", str(first), "--key-file", str(filled.key)).returncode == 0
    new_key_file(tmp_path / "second.key")
    empty.environment = {"key_file": str(tmp_path / "second.key")}
    restore(empty, first, filled.key)
    flipped, gone = list(filled.volumes)[:2]
    path = empty.data / "blobs" / flipped[:2] / flipped[2:4] / flipped
    path.write_bytes(_flip(path.read_bytes(), random.Random(1)))
    (empty.data / "blobs" / gone[:2] / gone[2:4] / gone).unlink()
    with closing(sqlite3.connect(empty.data / "mahtai.sqlite")) as tables, tables:
        tables.execute("UPDATE reviews SET comment = substr(comment, 1, 40) || 'AAAA'")
    second = tmp_path / "second.mahtai"
    done = mahtai(empty, "backup", str(second), "--key-file", str(filled.key))
    assert done.returncode == 1 and second.is_file()
    assert f"blob {flipped}" in done.stderr and f"blob {gone}" in done.stderr and "reviews.comment" in done.stderr
    third = ServerProcess(tmp_path / "third", (models,))
    third.root.mkdir()
    told = mahtai(third, "restore", str(second), "--key-file", str(filled.key), "--plain")
    assert told.returncode == 1 and f"blob {flipped}" in told.stderr
    third.start()
    try:
        with third.client() as client:
            for name, data in filled.volumes.items():
                answer = client.get(f"/v1/volumes/{name}")
                assert answer.status_code == 404 if name in (flipped, gone) else answer.content == data
            reviews = client.get(f"/v1/cases/{filled.case}/reviews").json()["reviews"]
            assert [each["comment"] for each in reviews] == ["[damaged]"]
    finally:
        third.kill()


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_touched(
    empty: ServerProcess, tmp_path: Path
) -> None:
    key = new_key_file(tmp_path / "new.key")
    file = tmp_path / "new.mahtai"
    about = {"format": FORMAT, "made_at": "2030-01-01T00:00:00+00:00", "program": "9.0", "revision": "9999"}
    with file.open("wb") as sink, write_archive(sink, key) as archive:
        archive.add_json(ABOUT, {**about, "tables": []})
        archive.add_end(Contents())
    done = mahtai(empty, "restore", str(file), "--key-file", str(tmp_path / "new.key"))
    assert done.returncode == 1 and "MahtAI 9.0, which is newer" in done.stderr
    assert not empty.data.exists()


@pytest.mark.parametrize("name", ["../evil", "models/../../evil", "/evil", "secrets/../evil", "models/a/../../../evil"])
def test_no_member_leaves_the_data_folder(empty: ServerProcess, tmp_path: Path, name: str) -> None:
    key = new_key_file(tmp_path / "key")
    file = tmp_path / "evil.mahtai"
    about = {"format": FORMAT, "made_at": "2026-01-01T00:00:00+00:00", "program": "0", "revision": HEAD}
    with file.open("wb") as sink, write_archive(sink, key) as archive:
        archive.add_json(ABOUT, {**about, "tables": []})
        archive.add_bytes(f"files/{name}", b"evil" * 20)
        archive.add_end(Contents(files=1))
    with pytest.raises(BackupBroken):
        restore_backup(settings_of(empty), file, key, lambda stage, fraction: None)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert not [path for path in found if path.read_bytes() == b"evil" * 20]


def test_the_archive_can_be_read_in_its_order(made: Path, filled: Filled) -> None:
    with read_archive(made, key_from_file(filled.key)) as archive:
        assert archive.about()["revision"] == HEAD
        names = [name for name, stream, size in archive.members() if len(stream.read()) == size]
    kinds = [name.split("/")[0] for name in names]
    assert kinds.index("rows") < kinds.index("files") < kinds.index("blobs") < kinds.index("end.json") == len(kinds) - 1
    assert not [name for name in names if "half.zip" in name]  # a model that is being fetched
    assert "files/secrets/audit-signing.pem" in names and "files/models/tiny@1/models/model.pt" in names
