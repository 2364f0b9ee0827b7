"""Backups while a server is used, and backup and restore killed at random moments.

``MAHTAI_KILL_ROUNDS`` (6 by default) says how often, ``MAHTAI_KILL_SEED`` at which moments.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from at_rest_kit import with_key
from backup_kit import all_rows, mahtai, settings_of
from killed_commands import Commands
from mahtai.db.migrate import RestoreUnfinished
from mahtai.errors import MahtaiError
from mahtai.foundation import open_tables
from mahtai.security.at_rest.master_key import key_from_file, new_key_file
from mahtai.upkeep.backup.checking import check_backup
from server_process import ServerProcess
from test_at_rest_rotation import Accepted, Clients, all_there, begin

ROUNDS = int(os.environ.get("MAHTAI_KILL_ROUNDS", "6"))
SEED = int(os.environ.get("MAHTAI_KILL_SEED", "0"))
BACKUPS = 4

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")


def no_report(_stage: str, _fraction: float) -> None:
    """Nobody looks on."""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[tuple[ServerProcess, Accepted]]:
    """A server with a key that has something to back up."""
    root = tmp_path_factory.mktemp("used")
    server = with_key(root, (models,)).start()
    with server.client() as client:
        accepted = begin(client)
    yield server, accepted
    server.kill()


def test_what_was_accepted_before_a_backup_is_in_it_however_busy_the_server_is(
    used: tuple[ServerProcess, Accepted], tmp_path: Path, models: Path
) -> None:
    server, accepted = used
    key = tmp_path / "backup.key"
    new_key_file(key)
    before: list[Accepted] = []
    with Clients(server, accepted) as clients:
        for number in range(BACKUPS):
            time.sleep(0.5)
            before.append(
                Accepted(
                    accepted.case,
                    accepted.study,
                    dict(accepted.volumes),
                    dict(accepted.labels),
                    list(accepted.jobs),
                )
            )
            made = mahtai(server, "backup", str(tmp_path / f"{number}.mahtai"), "--key-file", str(key))
            assert made.returncode == 0, made.stderr
    assert not clients.faults, clients.faults
    assert len(before[-1].labels) > len(before[0].labels)
    for number in range(BACKUPS):
        restored = ServerProcess(tmp_path / f"restored-{number}", (models,))
        restored.root.mkdir()
        words = ("restore", str(tmp_path / f"{number}.mahtai"), "--key-file", str(key), "--plain")
        done = mahtai(restored, *words)
        assert done.returncode == 0, done.stderr
        with closing(sqlite3.connect(restored.data / "mahtai.sqlite")) as tables:
            assert tables.execute("PRAGMA foreign_key_check").fetchall() == []
            assert tables.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        examined = mahtai(restored, "doctor")
        assert examined.returncode == 0, examined.stdout
    restored.start()
    try:
        with restored.client() as client:
            all_there(client, before[-1])
    finally:
        restored.kill()


@pytest.mark.timeout(240 + 20 * ROUNDS)
def test_a_killed_backup_leaves_no_file_that_could_be_taken_for_one(
    used: tuple[ServerProcess, Accepted], tmp_path: Path
) -> None:
    server, _ = used
    chance, key, folder = random.Random(SEED), tmp_path / "backup.key", tmp_path / "backups"
    new_key_file(key)
    folder.mkdir()
    file = folder / "one.mahtai"
    words = f"backup {file} --key-file {key}"
    commands, outcomes = Commands(server), Counter[str]()
    master = Path(server.environment["key_file"])
    try:
        for _ in range(2):  # the second one is as long as those that follow
            file.unlink(missing_ok=True)
            began = time.monotonic()
            assert commands.run(master, words, None) == 0
            longest = time.monotonic() - began
        for _ in range(ROUNDS):
            file.unlink(missing_ok=True)
            status = commands.run(master, words, chance.uniform(0, 1.1 * longest))
            assert status in (0, -9)
            if file.exists():
                check_backup(file, key_from_file(key), no_report)
            outcomes["whole" if file.exists() else "none"] += 1
            assert status == -9 or file.exists()
        file.unlink(missing_ok=True)
        for left in folder.iterdir():
            os.utime(left, (0, 0))  # the next day
        assert commands.run(master, words, None) == 0
    finally:
        commands.end()
    assert [path.name for path in folder.iterdir()] == [file.name]  # what killed runs left is gone
    assert outcomes["none"] > 0
    print(f"\nbackup killed: {dict(outcomes)}")


@pytest.mark.timeout(240 + 30 * ROUNDS)
@pytest.mark.parametrize("tables", ["sqlite", "postgresql"])
def test_a_killed_restore_is_never_taken_for_the_data_and_can_be_done_again(
    used: tuple[ServerProcess, Accepted], tmp_path: Path, models: Path, tables: str, request: pytest.FixtureRequest
) -> None:
    server, _ = used
    chance, file, key = random.Random(SEED), tmp_path / "one.mahtai", tmp_path / "backup.key"
    new_key_file(key)
    assert mahtai(server, "backup", str(file), "--key-file", str(key)).returncode == 0
    (tmp_path / "again").mkdir()
    url = request.getfixturevalue("postgresql").new_database() if tables == "postgresql" else None
    again = with_key(tmp_path / "again", (models,), **({} if url is None else {"database_url": url}))
    wanted = {name: len(rows) for name, rows in all_rows(server).items() if not name.startswith("audit")}
    words, master = f"restore {file} --key-file {key}", Path(again.environment["key_file"])
    commands, outcomes = Commands(again), Counter[str]()
    try:
        began = time.monotonic()
        assert commands.run(master, words, None) == 0
        longest = time.monotonic() - began
        for _ in range(ROUNDS):
            empty(again, url)
            assert commands.run(master, words, chance.uniform(0, 1.1 * longest)) in (0, -9)
            left = state(again)
            outcomes[left] += 1
            if left != "whole":
                assert commands.run(master, words, None) == 0
            assert {name: len(rows) for name, rows in all_rows(again).items() if name in wanted} == wanted
    finally:
        commands.end()
    assert mahtai(again, "doctor").returncode == 0
    assert outcomes["unfinished"] > 0
    print(f"\nrestore into {tables} killed: {dict(outcomes)}")


def empty(server: ServerProcess, url: str | None) -> None:
    """Remove all of its data."""
    shutil.rmtree(server.data)
    if url is not None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")


def state(server: ServerProcess) -> str:
    """What a server would make of its folder."""
    if not server.data.exists() or not (set(os.listdir(server.data)) - {"server.lock"}):
        return "untouched"
    try:
        open_tables(settings_of(server), None).close()
    except RestoreUnfinished:
        return "unfinished"
    except MahtaiError as error:
        raise AssertionError(error) from error
    return "whole"
