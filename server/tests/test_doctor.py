"""``mahtai doctor`` beside a real server: each damage is found, and nothing is changed by looking."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server_process import ServerProcess, StartServer, put_volume
from studies import synthetic_study
from test_cases import make_case


def examine(server: ServerProcess, *arguments: str, **more: str) -> tuple[int, str]:
    """Exit code and what it said."""
    command = [sys.executable, "-m", "mahtai.cli", "doctor", *arguments]
    done = subprocess.run(
        command, env={**server.variables(), **more}, capture_output=True, encoding="utf-8", timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def blob(server: ServerProcess, sha256: str) -> Path:
    return server.data / "blobs" / sha256[:2] / sha256[2:4] / sha256


@pytest.fixture
def filled(start_server: StartServer) -> tuple[ServerProcess, list[str]]:
    """A server that runs, and the blobs that it was given."""
    server = start_server()
    with server.client() as client:
        return server, [put_volume(client, data) for data in synthetic_study().values()]


def test_a_sound_server_that_runs_is_found_sound(filled: tuple[ServerProcess, list[str]]) -> None:
    server, blobs = filled
    code, said = examine(server)
    assert code == 0, said
    assert f"{len(blobs)} are there and what they should be" in said
    assert "error" not in said


def test_flipped_bit_and_lost_file_are_named(filled: tuple[ServerProcess, list[str]]) -> None:
    server, blobs = filled
    content = bytearray(blob(server, blobs[0]).read_bytes())
    content[len(content) // 2] ^= 1
    blob(server, blobs[0]).write_bytes(content)
    blob(server, blobs[1]).unlink()
    code, said = examine(server)
    assert code == 1
    assert f"{blobs[0]} is damaged" in said
    assert f"{blobs[1]} is missing" in said
    assert blobs[2] not in said
    code, said = examine(server, "--quick")
    assert code == 1
    assert blobs[0] not in said
    assert f"{blobs[1]} is missing" in said


def test_old_leftovers_are_counted_and_stay(filled: tuple[ServerProcess, list[str]]) -> None:
    server, _ = filled
    partial, orphan = server.data / "blobs" / "partial" / "old", blob(server, "ab" * 32)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    for file in (partial, orphan):
        file.write_bytes(b"x")
        os.utime(file, (0, 0))
    code, said = examine(server)
    assert code == 0, said
    assert "1 partial files" in said
    assert "1 files are in no table" in said
    assert partial.exists()
    assert orphan.exists()


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_open_folder_is_found(filled: tuple[ServerProcess, list[str]]) -> None:
    server, _ = filled
    server.data.chmod(0o755)
    code, said = examine(server)
    assert code == 1
    assert "Others on this computer may read" in said


@pytest.mark.parametrize(("revision", "expected"), [("0003", 0), ("9999", 1)])
def test_other_revision_is_found(filled: tuple[ServerProcess, list[str]], revision: str, expected: int) -> None:
    server, _ = filled
    server.stop()
    with sqlite3.connect(server.data / "mahtai.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    code, said = examine(server)
    assert code == expected, said
    assert f"form {revision}" in said


def test_damaged_pages_are_found(filled: tuple[ServerProcess, list[str]]) -> None:
    server, _ = filled
    server.stop()
    file = server.data / "mahtai.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 * 4 :] = b"\xa5" * (len(content) - 4096 * 4)
    file.write_bytes(content)
    code, said = examine(server)
    assert code == 1
    assert "error   database" in said


def test_whatever_page_is_damaged_doctor_comes_to_its_end(start_server: StartServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run([sys.executable, "-m", "mahtai.cli", "keys", "new", str(key)], check=True, capture_output=True)
    server = start_server(environment={"key_file": str(key)})
    with server.client() as client:
        inputs = {slot: put_volume(client, data) for slot, data in synthetic_study().items()}
        make_case(client, inputs, source={"a": "b" * 30_000})
    server.stop()
    file = server.data / "mahtai.sqlite"
    whole = file.read_bytes()
    pages = len(whole) // 4096
    codes = set()
    for page in range(1, pages, pages // 12):
        file.write_bytes(whole[: page * 4096] + b"\xa5" * (12 * 4096) + whole[(page + 12) * 4096 :])
        code, said = examine(server)
        codes.add(code)
        assert " blobs " in said, said  # the last line
    assert 1 in codes


def test_lost_database_is_found_and_not_made(filled: tuple[ServerProcess, list[str]]) -> None:
    server, _ = filled
    server.stop()
    (server.data / "mahtai.sqlite").unlink()
    code, said = examine(server)
    assert code == 1
    assert "There is no file mahtai.sqlite" in said
    assert not (server.data / "mahtai.sqlite").exists()


def test_an_emptied_database_and_a_record_that_was_cut_are_no_order(
    start_server: StartServer,
) -> None:
    server = start_server(environment={"audit": "on"})
    with server.client() as client:
        name = put_volume(client, synthetic_study(3)["t1"])
    server.stop()
    old = time.time() - 2 * 86_400
    os.utime(blob(server, name), (old, old))
    code, said = examine(server)
    assert code == 0 and "at least as far as was signed" in said, said
    with sqlite3.connect(server.data / "mahtai.sqlite") as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for table in ("volumes", "audit_events", "audit_checkpoints"):
            connection.execute(f"DELETE FROM {table}")
    code, said = examine(server)
    assert code == 1
    assert "the tables know none of them" in said and "the end is gone" in said, said


def test_encrypted_blobs_want_the_key(start_server: StartServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run([sys.executable, "-m", "mahtai.cli", "keys", "new", str(key)], check=True, capture_output=True)
    server = start_server(environment={"key_file": str(key)})
    with server.client() as client:
        sha256 = put_volume(client, next(iter(synthetic_study().values())))
    code, said = examine(server)
    assert code == 0, said
    assert "The keyring opens" in said
    code, said = examine(server, MAHTAI_KEY_FILE="")
    assert code == 1
    assert "error   keys" in said
    assert sha256 not in said
    content = bytearray(blob(server, sha256).read_bytes())
    content[-100] ^= 1
    blob(server, sha256).write_bytes(content)
    code, said = examine(server)
    assert code == 1
    assert f"{sha256} cannot be read" in said


def test_server_on_postgresql(server_on_postgresql: ServerProcess) -> None:
    with server_on_postgresql.client() as client:
        sha256 = put_volume(client, next(iter(synthetic_study().values())))
    code, said = examine(server_on_postgresql)
    assert code == 0, said
    assert "what they should be" in said
    blob(server_on_postgresql, sha256).unlink()
    code, said = examine(server_on_postgresql)
    assert code == 1
    assert f"{sha256} is missing" in said
    with server_on_postgresql.client() as client:
        put_volume(client, next(iter(synthetic_study().values())))
    assert examine(server_on_postgresql)[0] == 0


def test_the_certificate_is_looked_at(filled: tuple[ServerProcess, list[str]]) -> None:
    server, _ = filled
    assert "TLS" not in examine(server)[1]
    command = [sys.executable, "-m", "mahtai.cli", "tls", "init"]
    subprocess.run([*command, "--days", "5"], env=server.variables(), check=True, capture_output=True)
    code, said = examine(server)
    assert code == 0 and "warning TLS" in said and "mahtai tls renew" in said, said
    key = server.root / "config" / "tls" / "server.key"
    key.chmod(0o644)
    code, said = examine(server)
    assert (code == 1 and "error   TLS" in said) or os.name != "posix", said
