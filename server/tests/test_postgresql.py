"""The tables on PostgreSQL: the same form, the same promises of transactions, the same words when it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import select, text

from mahtai.cases.blob import BlobRecord
from mahtai.cli import main
from mahtai.data_folder import DataFolder, DataFolderInUse
from mahtai.db.blobs import add_blob, find_blob
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.failures import DoesNotFit
from mahtai.db.migrate import HEAD, current_revision, upgrade
from mahtai.db.tables import Base, ServerRow, VolumeRow, now
from mahtai.jobs.claims import Claims
from mahtai.jobs.fleet import LOOK_S, SILENT_S, Listener
from mahtai.jobs.inference import TooManyJobs
from mahtai.jobs.records import InferenceRecords, Order
from mahtai.security.at_rest.master_key import new_key_file
from mahtai.upkeep.backup.archive import ABOUT, FORMAT, Contents, write_archive
from postgresql import PostgreSQL
from server_process import ServerProcess


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[Database]:
    """A database with all tables."""
    opened = Database(postgresql.new_database())
    upgrade(opened)
    yield opened
    opened.close()


def blob(number: int) -> BlobRecord:
    """A record of a blob that does not exist."""
    return BlobRecord(f"{number:064x}", 10, "volume", "nrrd", {})


def order(number: int) -> Order:
    """One that nobody can do."""
    return Order("m", "1", "0" * 64, {"t1": f"{number:064x}"}, {})


def test_migrations_make_exactly_the_tables_of_the_models(database: Database) -> None:
    assert current_revision(database) == HEAD
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_two_servers_that_start_at_once_bring_the_tables_up_to_date_together(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    databases = [Database(url) for _ in range(4)]
    faults: list[Exception] = []

    def start(database: Database) -> None:
        try:
            upgrade(database)
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=start, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert {current_revision(database) for database in databases} == {HEAD}
    for database in databases:
        database.close()


def test_what_a_writer_has_read_stays_true_until_it_commits(database: Database) -> None:
    with database.write() as session:
        session.add(ServerRow(name="count", host="", beats=0, seen_at=now()))

    def count() -> None:
        for _ in range(20):
            with database.write() as session:  # read, think, write: what SQLite's one writer makes safe
                row = session.scalars(select(ServerRow)).one()
                time.sleep(0.001)
                row.beats += 1

    threads = [threading.Thread(target=count) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.scalars(select(ServerRow)).one().beats == 100


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reader:
        assert find_blob(reader, blob(1).sha256) is None
        with database.write() as writer:
            add_blob(writer, blob(1))
        assert reader.scalars(select(VolumeRow)).all() == []
    with database.read() as reader:
        assert find_blob(reader, blob(1).sha256) is not None


def test_a_sign_of_life_does_not_wait_for_writers(database: Database) -> None:
    claims = Claims(database, "a", "here")
    with database.write():
        claims.beat()
        claims.beat()
        assert claims.beats() == {"a": 2}


def test_the_lock_of_blobs_keeps_a_remover_out_while_others_add(database: Database) -> None:
    order: list[str] = []

    def remove() -> None:
        with database.held(1):
            order.append("removed")

    with database.held(1, shared=True), database.held(1, shared=True):
        thread = threading.Thread(target=remove)
        thread.start()
        time.sleep(0.2)
        order.append("added")
    thread.join()
    assert order == ["added", "removed"]


def test_a_value_that_does_not_fit_is_told_as_such(database: Database) -> None:
    with pytest.raises(DoesNotFit) as error, database.write() as session:
        session.add(ServerRow(name="x" * 100, host="", beats=0, seen_at=now()))
    assert error.value.hint and error.value.status == 422


def test_a_database_that_stops_is_told_as_such_and_used_again_when_it_is_back(database: Database) -> None:
    with database.write() as session:
        add_blob(session, blob(1))
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with pytest.raises(DatabaseUnavailable) as error, database.read() as session, database.write() as other:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() == pid
        other.execute(text(f"SELECT pg_terminate_backend({pid})"))
        session.execute(text("SELECT 1"))
    assert error.value.status == 503 and error.value.hint
    database.check()


def test_an_unreachable_database_is_told_as_such() -> None:
    with pytest.raises(DatabaseUnavailable):
        Database("postgresql://nobody@127.0.0.1:1/none").check()
    with pytest.raises(DatabaseUnavailable, match="cannot be read") as error:
        Database("postgresql://me:se/cret@host:port/none")
    assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [("", "SQLite"), ("postgresql://nobody@127.0.0.1:1/none", "MAHTAI_DATABASE_URL"), ("mysql://h/d", "PostgreSQL")],
)
def test_a_worker_says_why_it_cannot_work(tmp_path: Path, url: str, words: str) -> None:
    own = ServerProcess(tmp_path, environment={"database_url": url} if url else {})
    command = [sys.executable, "-m", "mahtai.cli", "worker"]
    done = subprocess.run(command, env=own.variables(), capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr and "What to do:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql://me:secret@127.0.0.1:1/none", "Connection refused"),
        ("postgresql://me:secret@127.0.0.1:1/none?odd=1", 'invalid connection option "odd"'),
    ],
)
@pytest.mark.parametrize("words", ["serve", "users list", "doctor", "backup new", "restore made"])
def test_every_command_names_why_the_database_does_not_answer(tmp_path: Path, url: str, cause: str, words: str) -> None:
    own = ServerProcess(tmp_path / "own", environment={"database_url": url})
    (own.data / "blobs").mkdir(parents=True, mode=0o700)
    key = new_key_file(tmp_path / "key")
    about = {"format": FORMAT, "made_at": "2026-01-03T00:00:00+00:00", "program": "0", "revision": HEAD, "tables": []}
    with (tmp_path / "made").open("wb") as sink, write_archive(sink, key) as archive:
        archive.add_json(ABOUT, about)
        archive.add_end(Contents())
    named = ["--key-file", str(tmp_path / "key")] if words.startswith(("backup", "restore")) else []
    command = [sys.executable, "-m", "mahtai", *words.split(), *named]
    done = subprocess.run(
        command, env=own.variables(), cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    (line,) = [line for line in said.splitlines() if cause in line]
    assert "The database cannot be used" in line and "secret" not in said
    assert "MAHTAI_DATABASE_URL" in said


def test_a_job_is_taken_over_once_and_its_former_owner_is_refused(database: Database) -> None:
    records = {name: InferenceRecords(database, name) for name in "ab"}
    job, is_new = records["a"].accept(order(1), False, 10)
    assert is_new and records["a"].own() == [job.claim]
    assert records["a"].begin(job.claim)
    takers = [Claims(database, name, "here") for name in "bcdefgh"]
    taken = []
    threads = [threading.Thread(target=lambda taker=taker: taken.append(taker.take(job.claim))) for taker in takers]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (claim,) = [found for found in taken if found is not None]
    assert records["a"].own() == []
    assert not records["a"].begin(job.claim)
    assert not records["a"].put_back(job.claim)
    assert not records["a"].succeed(job.claim, {}, {}, [])
    assert records["b"].begin(claim)
    assert records["b"].succeed(claim, {}, {"by": "the taker"}, [])
    assert not records["a"].succeed(job.claim, {}, {}, [])
    end = records["a"].get(job.id)
    assert (end.state, end.summary, end.starts) == ("succeeded", {"by": "the taker"}, 2)


def test_the_same_request_to_two_servers_at_once_is_one_job(database: Database) -> None:
    accepted = []

    def ask(name: str) -> None:
        accepted.append(InferenceRecords(database, name).accept(order(2), False, 10))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in accepted}) == 1
    assert sum(is_new for _, is_new in accepted) == 1


def test_the_limit_of_jobs_holds_for_all_servers_together(database: Database) -> None:
    refused = []

    def ask(number: int) -> None:
        try:
            InferenceRecords(database, f"server-{number}").accept(order(number), False, 5)
        except TooManyJobs as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7


def test_only_time_in_which_one_could_hear_is_silence() -> None:
    listener = Listener()
    at = 0.0
    listener.hear({"a": 1, "b": 1}, at)
    # nothing can be heard for an hour (this computer slept, the database was away): nobody is silent
    listener.hear({"a": 1, "b": 1}, at := at + 3600)
    assert listener.alive() == {"a", "b"}
    beats = 1
    while at < 3600 + SILENT_S + 2 * LOOK_S:
        beats += 1
        listener.hear({"a": 1, "b": beats}, at := at + LOOK_S)
    assert listener.alive() == {"b"}
    listener.hear({"a": 2, "b": beats}, at := at + LOOK_S)
    assert listener.alive() == {"a", "b"}
    listener.hear({"b": beats}, at + LOOK_S)
    assert listener.alive() == {"b"}


def test_servers_with_names_share_a_folder_but_not_with_one_that_would_have_it_alone(tmp_path: Path) -> None:
    with DataFolder(tmp_path, "server-a.lock"), DataFolder(tmp_path, "server-b.lock"):
        with pytest.raises(DataFolderInUse, match="same name"), DataFolder(tmp_path, "server-a.lock"):
            pass
        with pytest.raises(DataFolderInUse), DataFolder(tmp_path):
            pass
    with DataFolder(tmp_path), pytest.raises(DataFolderInUse), DataFolder(tmp_path, "server-a.lock"):
        pass


def test_a_server_name_is_held_once(postgresql: PostgreSQL, tmp_path: Path) -> None:
    url = postgresql.new_database()
    shared = {"database_url": url, "data_dir": str(tmp_path / "data"), "server_name": "one"}
    first = ServerProcess(tmp_path / "first", environment=shared).start()
    try:
        second = ServerProcess(tmp_path / "second", environment=shared)
        with pytest.raises(AssertionError, match="MAHTAI_SERVER_NAME"):
            second.start()
    finally:
        first.kill()


def test_a_command_on_the_right_database_and_a_mistyped_folder_makes_none(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    given = {"MAHTAI_DATABASE_URL": postgresql.new_database(), "MAHTAI_DATA_DIR": str(tmp_path / "mistyped")}
    for _ in range(2):
        done = CliRunner().invoke(main, ["audit", "verify"], env=given)
        assert done.exit_code == 1 and "There are no MahtAI data in" in done.output, done.output
        assert not (tmp_path / "mistyped").exists()
        opened = Database(given["MAHTAI_DATABASE_URL"])
        upgrade(opened)
        opened.close()
