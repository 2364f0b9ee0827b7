"""A server that is killed while it brings older tables up to date: they are old or new, and nothing of them is lost.

``MAHTAI_KILL_ROUNDS`` (12 by default) says how often, ``MAHTAI_KILL_SEED`` which moments.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from mahtai.db.engine import Database
from mahtai.db.migrate import HEAD, alembic_config
from server_process import ServerProcess, StartServer

ROUNDS = int(os.environ.get("MAHTAI_KILL_ROUNDS", "12"))
SEED = int(os.environ.get("MAHTAI_KILL_SEED", "0"))
OLD = "0006"
CASES = 400
LONGEST_LIFE_S = 2.5


def make_old_tables(file: Path) -> None:
    """Tables as the release before had them, with cases that tell where they are from."""
    file.parent.mkdir(parents=True, exist_ok=True)
    database = Database(f"sqlite:///{file.as_posix()}")
    config = alembic_config()
    with database.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLD)
    with database.connect() as connection:
        for number in range(1, CASES + 1):
            values = {"id": f"{number:036}", "source": json.dumps({"number": number})}
            connection.execute(
                text(
                    "INSERT INTO cases (id, name, task, reference, state, priority, removed, revision, created_at) "
                    "VALUES (:id, 'Case', 'brain-tumour', 't1c', 'new', 0, 0, 1, '2026-01-01 00:00:00')"
                ),
                values,
            )
            connection.execute(text("INSERT INTO case_sources (case_id, source) VALUES (:id, :source)"), values)
    database.close()


def kill_at_start(server: ServerProcess, after_s: float) -> None:
    """Start the server and end it and all of its processes, wherever it is by then."""
    with (server.root / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mahtai.app"],
            env=server.variables(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    time.sleep(after_s)
    server.process = process
    server.kill()


def revision(file: Path) -> Any:
    """Which form the tables have."""
    with closing(sqlite3.connect(file)) as tables:
        assert tables.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return tables.execute("SELECT version_num FROM alembic_version").fetchone()[0]


@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_tables_are_old_or_new_and_whole_whenever_the_migration_is_killed(start_server: StartServer) -> None:
    chance = random.Random(SEED)
    server = start_server("migrating", begin=False)
    file = server.data / "mahtai.sqlite"
    seen = []
    for _ in range(ROUNDS):
        for old in server.data.glob("mahtai.sqlite*"):
            old.unlink()
        make_old_tables(file)
        kill_at_start(server, chance.uniform(0.0, LONGEST_LIFE_S))
        seen.append(revision(file))
        assert seen[-1] in (OLD, HEAD)
    server.start()
    with server.client() as client:
        found = {
            int(case["id"]): client.get(f"/v1/cases/{case['id']}/source").json()["source"]
            for case in client.get("/v1/cases").json()["cases"]
        }
    assert found == {number: {"number": number} for number in range(1, CASES + 1)}
    print(f"killed {ROUNDS} times; left old {seen.count(OLD)}, new {seen.count(HEAD)}")
