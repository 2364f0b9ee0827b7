"""``mahtai backup`` and ``mahtai restore``: everything comes back, in either database; nothing else is taken for it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic import command

from at_rest_kit import marks_of, refused_start, with_key
from backup_kit import COMMENT, Filled, all_rows, answers, fill, mahtai, settings_of
from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD, alembic_config, upgrade
from mahtai.security.at_rest.envelope import HEADER_BYTES
from mahtai.security.at_rest.master_key import key_from_file, new_key_file
from mahtai.upkeep.backup.archive import ABOUT, FORMAT, ROWS, BackupBroken, Contents, read_archive, write_archive
from mahtai.upkeep.backup.checking import check_backup
from mahtai.upkeep.backup.restoring import restore_backup
from server_process import ServerProcess, finished, put_volume
from studies import synthetic_study
from test_cases import make_case
from test_cases_labels import save

if os.name == "posix":
    from postgresql import PostgreSQL


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Filled]:
    """A server with a key that runs, and has something of everything."""
    root = tmp_path_factory.mktemp("filled")
    (root / "server").mkdir()
    server = with_key(root / "server", (models,))
    yield fill(server.start(), root / "backup.key")
    server.kill()


@pytest.fixture(scope="module")
def made(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, made while it runs."""
    file = tmp_path_factory.mktemp("backups") / "one.mahtai"
    done = mahtai(filled.server, "backup", str(file), "--key-file", str(filled.key))
    assert done.returncode == 0 and "read it again" in done.stdout, done.stderr
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    return file


@pytest.fixture
def empty(tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    """A server that has nothing, not even a start."""
    (tmp_path / "new").mkdir()
    server = ServerProcess(tmp_path / "new", (models,))
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def restore(server: ServerProcess, file: Path, key: Path, *words: str) -> None:
    """Restore, which must be done; what was encrypted lies plain where the server has no key."""
    plain = () if "key_file" in server.environment else ("--plain",)
    done = mahtai(server, "restore", str(file), "--key-file", str(key), *plain, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def same_work(server: ServerProcess, filled: Filled) -> None:
    """All that was given to the one server is at the other one, and the unfinished job comes to its end there."""
    here, there = answers(server, filled.case, filled.job), answers(filled.server, filled.case, filled.job)
    assert here == there and here["result"][:4] == b"NRRD"
    with server.client() as client:
        for name, data in filled.volumes.items():
            assert client.get(f"/v1/volumes/{name}").content == data
        assert client.get(f"/v1/cases/{filled.case}/labels/{filled.version}/content").content == filled.label
        assert finished(client, filled.unfinished)["state"] == "succeeded"


def same_rows(restored: ServerProcess, origin: ServerProcess) -> None:
    """Every row is there; at the running server more come, as a job ends and entries of the record are made."""
    found, wanted = all_rows(restored), all_rows(origin)
    for table in ("inferences", "audit_events", "audit_checkpoints", "volumes"):
        ours, theirs = found.pop(table), wanted.pop(table)
        assert len(ours) > 0 and (table != "volumes" or set(ours) <= set(theirs))
    assert found == wanted


@pytest.mark.parametrize("has_key", [False, True], ids=["plain", "another key"])
def test_everything_comes_back(filled: Filled, made: Path, empty: ServerProcess, tmp_path: Path, has_key: bool) -> None:
    if has_key:
        new_key_file(tmp_path / "another.key")
        empty.environment = {"key_file": str(tmp_path / "another.key")}
    restore(empty, made, filled.key)
    same_rows(empty, filled.server)
    learnt = filled.server.data / "models" / "tiny@1"
    for path in learnt.rglob("*"):
        twin = empty.data / path.relative_to(filled.server.data)
        assert twin.is_dir() if path.is_dir() else twin.read_bytes() == path.read_bytes()
    assert (empty.data / "mahtai.sqlite").is_file() and not (empty.data / "restoring").exists()
    plain = (empty.data / "mahtai.sqlite").read_bytes()
    assert (COMMENT.encode() in plain) is not has_key
    doctor = mahtai(empty, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    empty.start()
    same_work(empty, filled)
    assert mahtai(empty, "audit", "verify").returncode == 0


def test_rows_go_from_sqlite_to_postgresql_and_back(
    filled: Filled, made: Path, empty: ServerProcess, postgresql: PostgreSQL, tmp_path: Path, models: Path
) -> None:
    empty.environment = {"database_url": postgresql.new_database()}
    broken_off(empty, made, filled, tmp_path / "broken-off.mahtai")
    restore(empty, made, filled.key)
    same_rows(empty, filled.server)
    examined = mahtai(empty, "doctor")
    assert examined.returncode == 0, examined.stdout
    empty.start()
    same_work(empty, filled)
    with empty.client() as client:
        inputs = {channel: put_volume(client, data) for channel, data in synthetic_study(42).items()}
        later = make_case(client, inputs)
        assert client.get("/v1/cases").json()["cases"][0]["id"] == later["id"]  # numbers go on
        save(client, str(later["id"]), filled.label)
    file = tmp_path / "from-postgresql.mahtai"
    assert mahtai(empty, "backup", str(file), "--key-file", str(filled.key)).returncode == 0
    back = ServerProcess(tmp_path / "back", (models,))
    back.root.mkdir()
    restore(back, file, filled.key)
    same_rows(back, empty)
    with closing(sqlite3.connect(back.data / "mahtai.sqlite")) as tables:
        ((last,),) = tables.execute("SELECT seq FROM sqlite_sequence WHERE name = 'cases'")
        assert last == len(all_rows(back)["cases"])


def broken_off(server: ServerProcess, made: Path, filled: Filled, file: Path) -> None:
    """Begin to restore, and come upon a damaged byte after the first megabyte, in which the rows are."""
    content, at = made.read_bytes(), HEADER_BYTES + (1 << 20) + 20
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    done = mahtai(server, "restore", str(file), "--key-file", str(filled.key), "--plain")
    assert done.returncode == 1 and "was changed" in done.stderr
    for name in ("patients.key", "keyring.json"):  # as if it had been killed while it wrote these
        (server.data / f"{name}.0123456789abcdef.part").write_bytes(b"half")
    with refused_start(server) as said:
        assert "restored from a backup" in said[-1]


def test_the_last_step_can_be_done_again(
    filled: Filled, made: Path, empty: ServerProcess, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between the marker's last state and the tables': neither is taken for whole."""
    from mahtai.upkeep.backup import restoring

    empty.environment = {"database_url": postgresql.new_database()}
    with monkeypatch.context() as patched:
        patched.setattr(restoring, "end_restoring", lambda *_: os.kill(os.getpid(), 0) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            restore_backup(settings_of(empty), made, key_from_file(filled.key), lambda *_: None, plain=True)
    assert (empty.data / "restored").exists() and not (empty.data / "restoring").exists()
    with refused_start(empty) as said:
        assert "restored from a backup" in said[-1]
    restore(empty, made, filled.key)
    assert not (empty.data / "restored").exists()
    same_rows(empty, filled.server)


def test_what_was_encrypted_is_not_laid_down_plain_by_mistake(filled: Filled, made: Path, empty: ServerProcess) -> None:
    done = mahtai(empty, "restore", str(made), "--key-file", str(filled.key))
    assert done.returncode == 1 and "--plain" in done.stderr and not empty.data.exists()


def test_a_server_without_a_key_stays_one(empty: ServerProcess, tmp_path: Path) -> None:
    """Whatever key is in the environment of who makes backups and repairs."""
    empty.start().stop()
    key = tmp_path / "backup.key"
    new_key_file(key)
    done = mahtai(empty, "backup", str(tmp_path / "x.mahtai"), key_file=str(key))
    assert done.returncode == 0, done.stderr
    empty.data.chmod(0o755)
    done = mahtai(empty, "doctor", "--repair", key_file=str(key))
    assert done.returncode == 0 and "Mended" in done.stdout, done.stdout + done.stderr
    assert not (empty.data / "keyring.json").exists()
    empty.start()
    assert mahtai(empty, "audit", "verify").returncode == 0


def test_after_a_lost_disk_the_record_goes_on_and_an_old_anchor_tells(empty: ServerProcess, tmp_path: Path) -> None:
    """The settings folder is still there, and remembers a record that goes farther than the backup's."""
    key, file = tmp_path / "backup.key", tmp_path / "x.mahtai"
    new_key_file(key)
    empty.start().stop()
    assert mahtai(empty, "backup", str(file), "--key-file", str(key)).returncode == 0
    for _ in range(2):
        empty.start().stop()
    anchor, config = tmp_path / "anchor-copy.json", empty.root / "config" / "audit-anchor.json"
    anchor.write_bytes(config.read_bytes())
    shutil.rmtree(empty.data)
    restore(empty, file, key)
    verified = mahtai(empty, "audit", "verify")
    assert verified.returncode == 0, verified.stdout
    assert "was restored" in config.read_text("utf-8")
    empty.start().stop()
    assert mahtai(empty, "audit", "verify").returncode == 0
    assert mahtai(empty, "audit", "verify", "--anchor", str(anchor)).returncode == 1


def test_linked_folders_and_odd_names_of_models_are_kept(empty: ServerProcess, tmp_path: Path, models: Path) -> None:
    empty.start().stop()
    elsewhere, folder = tmp_path / "large-disk" / "big", empty.data / "models"
    elsewhere.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    names = ["uv.lock", "a b.txt"] + (["with:colon"] if os.name == "posix" else [])
    for name in names:
        (elsewhere / name).write_text(name, "utf-8")
    if os.name == "posix":
        (folder / "big").symlink_to(elsewhere)
        (elsewhere / "round").symlink_to(folder)  # which has no end
    else:
        shutil.copytree(elsewhere, folder / "big")
    key, file = tmp_path / "backup.key", tmp_path / "x.mahtai"
    new_key_file(key)
    assert mahtai(empty, "backup", str(file), "--key-file", str(key)).returncode == 0
    other = ServerProcess(tmp_path / "other", (models,))
    other.root.mkdir()
    restore(other, file, key)
    for name in names:
        assert (other.data / "models" / "big" / name).read_text("utf-8") == name


def test_a_backup_under_way_is_left_alone_by_the_next_one(filled: Filled, tmp_path: Path) -> None:
    file, live = tmp_path / "x.mahtai", tmp_path / "x.mahtai.0123abcd.partial"
    old, another = tmp_path / "x.mahtai.4567abcd.partial", tmp_path / "x.mahtai.2.0123abcd.partial"
    for path in (live, old, another):
        path.write_bytes(b"half")
    for path in (old, another):
        os.utime(path, (0, 0))
    assert mahtai(filled.server, "backup", str(file), "--key-file", str(filled.key)).returncode == 0
    assert live.exists() and another.exists() and not old.exists()


def test_no_byte_lies_plain_in_a_backup(filled: Filled, made: Path) -> None:
    content = made.read_bytes()
    marks = [mark for data in filled.volumes.values() for mark in marks_of(data)]
    assert len(marks) > 50
    for mark in [*marks, COMMENT.encode(), b"study_uid", b"synthetic", b"rows/cases"]:
        assert mark not in content
    if os.name == "posix":
        assert made.stat().st_mode & 0o077 == 0


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


def test_sessions_end_and_accounts_stay(filled: Filled, empty: ServerProcess, tmp_path: Path, models: Path) -> None:
    from hospital_kit import Hospital

    def start(name: str, begin: bool = True, **more: object) -> ServerProcess:
        return ServerProcess(tmp_path / name, (models,), **more)  # type: ignore[arg-type]

    hospital = Hospital.open(start)  # type: ignore[arg-type]
    try:
        answer = hospital.sign_in("radiologist").json()
        program = hospital.token("radiologist")
        file = tmp_path / "accounts.mahtai"
        done = mahtai(hospital.server, "backup", str(file), "--key-file", str(filled.key))
        assert done.returncode == 0, done.stderr
        record = mahtai(hospital.server, "audit", "verify")
        assert record.returncode == 0, record.stderr
    finally:
        hospital.server.kill()
    empty.environment = {"accounts": "on"}
    restore(empty, file, filled.key)
    empty.start()
    with empty.client(token=answer["access_token"]) as client:
        assert client.get("/v1/cases").status_code == 401
    with empty.client(token=program) as client:
        assert client.get("/v1/cases").status_code == 200
    assert Hospital(empty).sign_in("radiologist").status_code == 200
    again = mahtai(empty, "audit", "verify")
    assert again.returncode == 0, again.stdout


OLD = "0006"


def test_a_backup_of_an_older_version_is_restored_and_brought_up_to_date(empty: ServerProcess, tmp_path: Path) -> None:
    """Made as the version before would have made it: its tables, its columns."""
    key = new_key_file(tmp_path / "old.key")
    with closing(Database(f"sqlite:///{(tmp_path / 'old.sqlite').as_posix()}")) as database:
        with database.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, OLD)
        case = {"id": "c1", "name": "Old", "task": "brain-tumour", "reference": "t1c", "state": "new", "priority": 3}
        case |= {"removed": False, "revision": 1, "created_at": "2026-01-02T03:04:05+00:00"}
        kinds = {"priority": "whole", "removed": "flag", "revision": "whole", "created_at": "time"}
        columns = [[name, kinds.get(name, "text"), False] for name in case]
    about = {"format": FORMAT, "made_at": "2026-01-03T00:00:00+00:00", "program": "0", "revision": OLD}
    file = tmp_path / "old.mahtai"
    with file.open("wb") as sink, write_archive(sink, key) as archive:
        archive.add_json(ABOUT, {**about, "tables": [{"name": "cases", "columns": columns}]})
        archive.add_bytes(
            f"{ROWS}/cases/000000",
            (str(list(case.values())).replace("'", '"') + "\n").replace("False", "false").encode(),
        )
        archive.add_end(Contents(rows={"cases": 1}, numbers={"cases": 17}))
    restored = restore_backup(settings_of(empty), file, key, lambda stage, fraction: None)
    assert restored.made_at == about["made_at"] and restored.contents.rows == {"cases": 1}
    assert restored.unrecorded == ""
    empty.start()
    with empty.client() as client:
        (found,) = client.get("/v1/cases").json()["cases"]
        assert (found["name"], found["priority"]) == ("Old", 3)
        assert found["created_at"].startswith("2026-01-02T03:04:05")
    with closing(sqlite3.connect(empty.data / "mahtai.sqlite")) as tables:
        assert tables.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert tables.execute("SELECT seq FROM sqlite_sequence WHERE name = 'cases'").fetchall() == [(17,)]


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
