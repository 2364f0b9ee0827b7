"""Starting the server: how fast it listens, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
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
import pytest

from mahtai.app import _bind, create_app
from mahtai.binding import CannotListen
from mahtai.settings import Settings
from server_process import ServerProcess, free_port

LISTEN_LIMIT_S = 5.0


def refusal(server: ServerProcess) -> str:
    """What a server that cannot start tells its user."""
    ended = subprocess.run(
        [sys.executable, "-m", "mahtai.app"], env=server.variables(), capture_output=True, encoding="utf-8", timeout=60
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


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-such-host.invalid", "without brackets"),
        ("[::]", "without brackets"),
        ("203.0.113.7", "This computer has no such address"),  # kept for documentation, RFC 5737
        ("a" * 70 + ".de", "name or address of this computer"),
    ],
)
def test_an_address_that_is_none_of_this_computers_is_told_as_such(host: str, words: str) -> None:
    with pytest.raises(CannotListen) as error:
        _bind(Settings.from_environment({"MAHTAI_HOST": host, "MAHTAI_PORT": "0"}))
    assert words in error.value.hint and "Another program" not in error.value.hint and "MAHTAI_HOST" in error.value.hint


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal")
def test_ctrl_c_ends_it_in_silence_at_any_moment(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "own")
    for after_s in (0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 1.8, 2.5):
        process = subprocess.Popen(
            [sys.executable, "-m", "mahtai", "serve"],
            env=server.variables(),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the engine's process gets it, too
        said = process.communicate(timeout=60)[1]
        if "mahtai" in said or process.returncode != -signal.SIGINT:  # the interpreter itself was up
            assert process.returncode == 130, said
            assert "Traceback" not in said and "Aborted" not in said


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
