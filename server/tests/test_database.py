"""The tables: migrations and models agree, transactions are whole, a full disk is told as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from mahtai.cases.blob import BlobRecord
from mahtai.data_folder import DataFolder, DataFolderInUse, require_room
from mahtai.db.blobs import add_blob, find_blob
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.migrate import HEAD, NewerDatabase, alembic_config, current_revision, upgrade
from mahtai.db.tables import Base, LabelVersionRow, VolumeRow
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
