"""``mahtai backup`` and ``mahtai restore``: everything comes back, in either database."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from at_rest_kit import marks_of, refused_start
from backup_kit import COMMENT, Filled, all_rows, answers, empty, filled, made, mahtai, restore, same_rows, settings_of
from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD, alembic_config
from mahtai.security.at_rest.envelope import HEADER_BYTES
from mahtai.security.at_rest.master_key import key_from_file, new_key_file
from mahtai.upkeep.backup.archive import ABOUT, FORMAT, ROWS, Contents, write_archive
from mahtai.upkeep.backup.restoring import restore_backup
from server_process import ServerProcess, finished, put_volume
from studies import synthetic_study
from test_cases import make_case
from test_cases_labels import save

if os.name == "posix":
    from postgresql import PostgreSQL

__all__ = ["empty", "filled", "made"]


def same_work(server: ServerProcess, filled: Filled) -> None:
    """All that was given to the one server is at the other one, and the unfinished job comes to its end there."""
    here, there = answers(server, filled.case, filled.job), answers(filled.server, filled.case, filled.job)
    assert here == there and here["result"][:4] == b"NRRD"
    with server.client() as client:
        for name, data in filled.volumes.items():
            assert client.get(f"/v1/volumes/{name}").content == data
        assert client.get(f"/v1/cases/{filled.case}/labels/{filled.version}/content").content == filled.label
        assert finished(client, filled.unfinished)["state"] == "succeeded"


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
