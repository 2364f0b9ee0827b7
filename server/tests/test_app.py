"""Starting the server: how fast it listens, and what it says when it cannot."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx

from mahtai.app import create_app
from server_process import ServerProcess, free_port

LISTEN_LIMIT_S = 5.0


def refusal(server: ServerProcess) -> str:
    """What a server that cannot start tells its user."""
    ended = subprocess.run(
        [sys.executable, "-m", "mahtai.app"], env=server.variables(), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_server_listens_within_five_seconds_of_its_very_first_start(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "new")
    server.start()
    server.kill()
    assert server.seconds_to_listen < LISTEN_LIMIT_S


def test_small_answers_are_sent_at_once(client: httpx.Client) -> None:
    client.get("/healthz")
    waits = []
    for _ in range(20):
        started = time.perf_counter()
        client.get("/healthz")
        waits.append(time.perf_counter() - started)
    # an answer that waits for the client's acknowledgement takes 40 ms every time
    assert min(waits) < 0.03


def test_a_second_server_does_not_touch_the_folder_of_the_first(server: ServerProcess) -> None:
    second = replace(server, port=free_port(), process=None)
    assert "Another MahtAI server is already using" in refusal(second)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = ServerProcess(tmp_path / "own", port=other.getsockname()[1])
        assert f"127.0.0.1:{server.port}" in refusal(server)


def test_tables_of_a_newer_version_are_not_opened(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    server.kill()
    with closing(sqlite3.connect(server.data / "mahtai.sqlite")) as tables:
        tables.execute("UPDATE alembic_version SET version_num = '9999'")
        tables.commit()
    assert "newer" in refusal(server)


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "own")
    server.data.mkdir(parents=True)
    (server.data / "mahtai.sqlite").write_bytes(b"scrambled" * 1000)
    assert "damaged" in refusal(server)
    assert (server.data / "mahtai.sqlite").read_bytes() == b"scrambled" * 1000


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "own", environment={"log_level": "shouting"})
    assert "MAHTAI_LOG_LEVEL" in refusal(server)


def test_the_api_can_be_described_without_starting_anything() -> None:
    assert "/v1/inferences" in create_app().openapi()["paths"]
