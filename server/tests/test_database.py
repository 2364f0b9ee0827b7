"""The tables: migrations and models agree, transactions are whole, a full disk is told as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from sqlalchemy import select, text

from mahtai.cases.blob import BlobRecord
from mahtai.cli import main
from mahtai.data_folder import DataFolder, DataFolderInUse, require_room
from mahtai.db.blobs import add_blob, find_blob
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.migrate import HEAD, NewerDatabase, alembic_config, current_revision, upgrade
from mahtai.db.tables import Base, CaseKeyRow, CaseRow, LabelVersionRow, VolumeRow
from mahtai.db.trust_tables import AccountRow
from mahtai.security.at_rest.master_key import new_key_file
from mahtai.settings import Settings
from mahtai.volumes.store import StorageFull


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An SQLite file with all tables."""
    opened = Database(f"sqlite:///{tmp_path / 'tables.sqlite'}")
    upgrade(opened)
    yield opened
    opened.close()


def blob(number: int, size: int = 10) -> BlobRecord:
    """A record of a blob that does not exist."""
    return BlobRecord(f"{number:064x}", size, "volume", "nrrd", {"note": "x" * size})


def test_migrations_make_exactly_the_tables_of_the_models(database: Database) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_known_head_is_the_newest_migration(database: Database) -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD
    assert current_revision(database) == HEAD


def test_upgrading_again_changes_nothing(database: Database) -> None:
    with database.write() as session:
        add_blob(session, blob(1))
    upgrade(database)
    with database.read() as session:
        assert find_blob(session, blob(1).sha256) is not None


def test_labels_of_the_first_version_are_segmentations(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.sqlite'}")
    with database.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    with database.write() as session:
        add_blob(session, blob(1))
        session.execute(
            text(
                "INSERT INTO cases (id, name, task, reference, created_at) VALUES ('c', 'c', 't', 't1c', '2026-01-01')"
            )
        )
        session.execute(
            text(
                "INSERT INTO label_versions (id, case_id, number, segmentation, author, role, comment, tools, "
                "segments, created_at) VALUES ('v', 'c', 1, :sha256, 'a', 'r', '', '{}', '{\"et\": {}}', '2026-01-01')"
            ),
            {"sha256": blob(1).sha256},
        )
    upgrade(database)
    with database.read() as session:
        (row,) = session.scalars(select(LabelVersionRow))
        assert (row.kind, row.content, row.parts) == ("segmentation", blob(1).sha256, {"et": {}})
    database.close()


def test_who_came_from_the_hospital_before_did_so_with_their_last_session(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.sqlite'}")
    with database.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        connection.commit()
    with database.write() as session:
        for name, subject in (("seen", "i|1"), ("never", "i|2"), ("local", None)):
            account = {"name": name, "subject": subject}
            session.execute(
                text(
                    "INSERT INTO accounts (id, login, name, role, teams, recovery, subject, disabled, created_at) "
                    "VALUES (:name, :name, :name, 'viewer', '[]', '[]', :subject, 0, '2026-01-01 00:00:00')"
                ),
                account,
            )
        for account, number in (("seen", 2), ("seen", 3), ("local", 4)):
            session.execute(
                text(
                    "INSERT INTO sessions (id, account, refresh, enrolling, address, created_at, used_at) "
                    "VALUES (:id, :account, :id, 0, '', :at, :at)"
                ),
                {"id": f"s{number}", "account": account, "at": f"2026-02-{number:02} 00:00:00"},
            )
    upgrade(database)
    with database.read() as session:
        came = {row.name: row.hospital_at for row in session.scalars(select(AccountRow))}
    assert [None if came[name] is None else str(came[name].date()) for name in ("seen", "never", "local")] == [
        "2026-02-03",
        "2026-01-01",
        None,
    ]
    database.close()


def test_cases_of_before_are_grouped_by_patient_and_team(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.sqlite'}")
    with database.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        connection.commit()
    with database.write() as session:
        for patient in (1, 2):
            session.execute(
                text(
                    "INSERT INTO patients (number, split, drawn_by, created_at) "
                    "VALUES (:patient, 'train', 'test', '2026-01-01 00:00:00')"
                ),
                {"patient": patient},
            )
            for key in ("id", "scan"):
                session.execute(
                    text("INSERT INTO patient_keys (key, patient) VALUES (:key, :patient)"),
                    {"key": f"{key}:{patient}", "patient": patient},
                )
        cases = ((1, 1, "a"), (2, 1, "b"), (3, 1, "a"), (4, 2, None), (5, 2, None), (6, None, "a"))
        for number, patient, team in cases:
            session.execute(
                text(
                    "INSERT INTO cases (number, id, name, task, reference, patient, team, created_at) "
                    "VALUES (:number, :number, 'c', 't', 't1c', :patient, :team, '2026-01-01')"
                ),
                {"number": number, "patient": patient, "team": team},
            )
    upgrade(database)
    with database.read() as session:
        kin = {row.number: row.kin for row in session.scalars(select(CaseRow))}
        told = {(row.case_id, row.key) for row in session.scalars(select(CaseKeyRow))}
    assert kin == {1: 1, 2: 2, 3: 1, 4: 4, 5: 4, 6: None}
    assert told == {("4", "id:2"), ("4", "scan:2")}  # of a patient of two teams it is not known who told what
    database.close()


def test_tables_of_a_newer_version_are_left_alone(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabase, match="9999"):
        upgrade(database)
    assert current_revision(database) == "9999"


def test_a_commit_is_synced_and_readers_do_not_wait(database: Database) -> None:
    with database.read() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
    with database.write() as writer:
        add_blob(writer, blob(1))
        with database.read() as reader:
            assert find_blob(reader, blob(1).sha256) is None


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:
        add_blob(session, blob(1))
        session.flush()
        raise ZeroDivisionError
    with database.read() as session:
        assert session.scalars(select(VolumeRow)).all() == []


def test_a_blob_is_recorded_once(database: Database) -> None:
    with database.write() as session:
        assert add_blob(session, blob(1))
        assert not add_blob(session, blob(1))


def test_times_come_back_with_their_zone(database: Database) -> None:
    with database.write() as session:
        add_blob(session, blob(1))
    with database.read() as session:
        found = find_blob(session, blob(1).sha256)
        assert found is not None and found.created_at.utcoffset() is not None
        assert found.created_at.utcoffset().total_seconds() == 0


def test_a_full_disk_is_told_as_such_and_nothing_is_half_written(database: Database) -> None:
    with pytest.raises(StorageFull) as error, database.write() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages + 3}"))
        for number in range(50):
            add_blob(session, blob(number, size=4000))
    assert error.value.hint and error.value.status == 507
    with database.read() as session:
        assert session.scalars(select(VolumeRow)).all() == []


def test_a_database_that_cannot_be_opened_is_told_as_such(tmp_path: Path) -> None:
    lost = Database(f"sqlite:///{tmp_path / 'nowhere' / 'tables.sqlite'}")
    with pytest.raises(DatabaseUnavailable) as error:
        lost.check()
    assert error.value.hint


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "tables.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        upgrade(Database(f"sqlite:///{path}"))


def test_a_data_folder_is_held_by_one_server(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data"):
        with pytest.raises(DataFolderInUse) as error, DataFolder(tmp_path / "data"):
            pass
        assert "MAHTAI_DATA_DIR" in error.value.hint
    with DataFolder(tmp_path / "data"):
        pass


def test_new_work_is_refused_when_the_disk_is_almost_full(tmp_path: Path) -> None:
    require_room(tmp_path, 0)
    with pytest.raises(StorageFull, match="almost full"):
        require_room(tmp_path, 2**62)


def mahtai(folder: Path, *words: str) -> Result:
    """Run ``mahtai …`` on a data folder, with a key."""
    variables = {"data_dir": str(folder), "config_dir": str(folder.parent / "config"), "database_url": ""}
    key = folder.parent / "key"
    if not key.exists():
        new_key_file(key)
    given = {f"MAHTAI_{name.upper()}": value for name, value in {**variables, "key_file": str(key)}.items()}
    return CliRunner().invoke(main, words, env=given)


@pytest.mark.parametrize(
    "words",
    [
        ("users", "list"),
        ("users", "sign-out", "anna"),
        ("audit", "verify"),
        ("audit", "prune", "--dry-run"),
        ("audit", "prune"),
        ("audit", "export", "--format", "json", "-o", "export.json"),
        ("keys", "status"),
        ("keys", "encrypt"),
        ("train", "brats_segresnet", "--from-cases"),
    ],
)
def test_a_mistyped_data_folder_is_told_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (tmp_path / "mistyped", empty):
        done = mahtai(folder, *words)
        assert done.exit_code == 1, done.output
        assert f"There are no MahtAI data in {folder}. Nothing was made." in done.output
        assert "MAHTAI_DATA_DIR" in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"key", "empty"}
    assert not list(empty.iterdir())


@pytest.mark.parametrize("words", [("users", "list"), ("audit", "verify"), ("keys", "status")])
def test_a_command_that_reads_puts_no_folder_under_a_key(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    plain = Database(Settings.from_environment({"MAHTAI_DATA_DIR": str(folder)}).database_url)
    upgrade(plain)
    plain.close()
    done = mahtai(folder, *words)
    assert done.exit_code == (1 if words[0] == "keys" else 0), done.output
    assert not [path.name for path in folder.iterdir() if "keyring" in path.name or path.name == "secrets"]


def test_a_command_that_reads_brings_no_tables_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    older = Database(Settings.from_environment({"MAHTAI_DATA_DIR": str(folder)}).database_url)
    with older.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
    done = mahtai(folder, "users", "list")
    assert done.exit_code == 1 and "The tables have the form 0008" in done.output
    assert current_revision(older) == "0008"
    older.close()
