"""``mahtai doctor --repair``: what is safe is mended, what was lost comes back from a backup, all else stays."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from at_rest_kit import with_key
from backup_kit import mahtai
from mahtai.security.at_rest.master_key import new_key_file
from server_process import put_volume
from studies import synthetic_study
from test_cases import make_case


class Kept:
    """A server with a key, what it holds, and a backup of it."""

    def __init__(self, root: Path, models: tuple[Path, ...]) -> None:
        (root / "server").mkdir()
        self.server = with_key(root / "server", models).start()
        self.key, self.file = root / "backup.key", root / "one.mahtai"
        new_key_file(self.key)
        with self.server.client() as client:
            self.volumes = {put_volume(client, data): data for data in synthetic_study(5).values()}
            channels = dict(zip(synthetic_study(5), self.volumes, strict=True))
            self.case = make_case(client, channels, patient="4711")["id"]
        learnt = self.server.data / "models" / "tiny@1"
        learnt.mkdir(parents=True)
        assert mahtai(self.server, "backup", str(self.file), "--key-file", str(self.key)).returncode == 0

    def blob(self, sha256: str) -> Path:
        return self.server.data / "blobs" / sha256[:2] / sha256[2:4] / sha256

    def repair(self) -> tuple[int, str]:
        """Exit code and what it said."""
        done = mahtai(self.server, "doctor", "--repair", "--from", str(self.file), "--key-file", str(self.key))
        return done.returncode, done.stdout + done.stderr

    def require_all(self) -> None:
        """Everything is there for those who ask the server."""
        with self.server.client() as client:
            for name, data in self.volumes.items():
                assert client.get(f"/v1/volumes/{name}").content == data
            assert client.get(f"/v1/cases/{self.case}").status_code == 200


@pytest.fixture
def kept(tmp_path: Path, models: Path) -> Iterator[Kept]:
    """Everything is sound."""
    made = Kept(tmp_path, (models,))
    yield made
    if made.server.process is not None and made.server.process.poll() is None:
        made.server.kill()


def test_lost_and_damaged_blobs_come_back_while_the_server_runs(kept: Kept) -> None:
    first, second, third, _ = kept.volumes
    for name in (first, third):
        content = bytearray(kept.blob(name).read_bytes())
        content[len(content) // 2] ^= 1
        kept.blob(name).write_bytes(content)
    kept.blob(second).unlink()
    before = mahtai(kept.server, "doctor")
    assert before.returncode == 1 and "--repair --from" in before.stdout
    code, said = kept.repair()
    assert code == 0, said
    assert all(f"Mended: blobs/{name}" in said for name in (first, second, third))
    kept.require_all()
    with kept.server.client() as client:
        found = client.get("/v1/audit", params={"kind": "server"})
        assert found.status_code == 404 or "mahtai doctor --repair" in found.text


def test_secrets_come_back_and_what_was_damaged_is_set_aside(kept: Kept) -> None:
    kept.server.stop()
    patients, session = kept.server.data / "patients.key", kept.server.data / "secrets" / "sessions.key"
    before = {path: path.read_bytes() for path in (patients, session)}
    patients.unlink()
    session.write_bytes(before[session][:-1])
    code, said = kept.repair()
    assert code == 0, said
    assert "files/patients.key" in said and "files/secrets/sessions.key" in said
    (aside,) = (kept.server.data / "damaged").iterdir()
    assert aside.read_bytes() == before[session][:-1]
    assert patients.is_file() and patients.stat().st_mode & 0o077 == 0
    kept.server.start()
    with kept.server.client() as client:  # the same number is the same patient
        channels = dict(zip(synthetic_study(5), kept.volumes, strict=True))
        other = make_case(client, channels, patient="4711")
        assert other["split"] == client.get(f"/v1/cases/{kept.case}").json()["split"]
    kept.require_all()


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_the_keyring_comes_back(kept: Kept, damage: str) -> None:
    kept.server.stop()
    keyring = kept.server.data / "keyring.json"
    before = keyring.read_bytes()
    if damage == "gone":
        keyring.unlink()
    else:
        keyring.write_bytes(before[: len(before) // 2])
    assert mahtai(kept.server, "doctor").returncode == 1
    code, said = kept.repair()
    assert code == 0 and "Mended: keyring.json" in said, said
    assert keyring.read_bytes() == before
    kept.server.start()
    kept.require_all()


def test_rights_and_old_leftovers_are_mended_without_a_backup(kept: Kept) -> None:
    partial = kept.server.data / "blobs" / "partial" / "old"
    partial.write_bytes(b"x")
    os.utime(partial, (0, 0))
    kept.server.data.chmod(0o755)
    told = mahtai(kept.server, "doctor")
    assert told.returncode == 1 and "mahtai doctor --repair" in told.stdout and partial.exists()
    done = mahtai(kept.server, "doctor", "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not partial.exists() and kept.server.data.stat().st_mode & 0o777 == 0o700
    kept.require_all()


def test_damaged_indexes_are_made_anew(kept: Kept) -> None:
    """An index that lacks a row: the table itself is whole."""
    kept.server.stop()
    file = kept.server.data / "mahtai.sqlite"
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute("PRAGMA writable_schema = ON")
        name = "ix_cases_state_priority"
        (row,) = tables.execute("SELECT * FROM sqlite_master WHERE name = ?", (name,)).fetchall()
        tables.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute("UPDATE cases SET priority = priority + 7")
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute("PRAGMA writable_schema = ON")
        tables.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    found = mahtai(kept.server, "doctor")
    assert found.returncode == 1 and "damaged indexes" in found.stdout, found.stdout
    done = mahtai(kept.server, "doctor", "--repair")
    assert done.returncode == 0 and "Every page is whole" in done.stdout, done.stdout + done.stderr
    kept.server.start()
    kept.require_all()


def test_a_wrong_backup_mends_nothing(kept: Kept, tmp_path: Path) -> None:
    name = next(iter(kept.volumes))
    kept.blob(name).unlink()
    content = bytearray(kept.file.read_bytes())
    content[len(content) // 2] ^= 1
    kept.file.write_bytes(content)
    code, said = kept.repair()
    assert code == 1 and "one.mahtai was changed" in said
    new_key_file(tmp_path / "other.key")
    done = mahtai(
        kept.server, "doctor", "--repair", "--from", str(kept.file), "--key-file", str(tmp_path / "other.key")
    )
    assert done.returncode == 1 and "was made with the key" in done.stderr
    assert mahtai(kept.server, "doctor", "--from", str(kept.file)).returncode == 2
