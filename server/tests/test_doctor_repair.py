"""``mahtai doctor --repair``: what is safe is mended, what was lost comes back from a backup, all else stays."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from at_rest_kit import refused_start, with_key
from backup_kit import mahtai
from mahtai.models.catalogue import Catalogue
from mahtai.models.checksums import write_checksum
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
            self.case = make_case(client, channels, patient="4711", source={"uid": "1.2.3"})["id"]
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


def test_a_secret_that_is_another_one_than_in_the_backup_is_told(kept: Kept) -> None:
    kept.server.stop()
    patients = kept.server.data / "patients.key"
    patients.unlink()
    made = mahtai(kept.server, "doctor", "--repair", "--new-secrets")
    assert made.returncode == 0 and "patients.key is gone. Another one was made" in made.stdout, made.stdout
    code, said = kept.repair()
    assert code == 1 and "files/patients.key is another one than in the backup" in said, said
    assert "sessions.key is" not in said
    patients.unlink()
    code, said = kept.repair()
    assert code == 0 and "Mended: files/patients.key" in said and "another one" not in said, said


@pytest.mark.parametrize("name", ["patients.key", "secrets/audit-signing.pem", "mahtai.sqlite"])
def test_what_is_gone_is_not_made_anew_by_a_start_or_a_repair(kept: Kept, name: str) -> None:
    kept.server.stop()
    path = kept.server.data / name
    before = path.read_bytes()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with refused_start(kept.server) as said:
        assert "gone" in said[-1] and "Nothing was changed" in said[-1], said
    if name != "patients.key":  # nothing is done that could not be put on record
        assert mahtai(kept.server, "users", "add", "ada", "--role", "viewer", "--no-password").returncode == 1
    done = mahtai(kept.server, "doctor", "--repair")
    assert done.returncode == 1 and not path.exists(), done.stdout
    if name == "mahtai.sqlite":
        path.write_bytes(before)
    else:
        code, told = kept.repair()
        assert code == 0 and f"Mended: files/{name}" in told, told
    assert "ada" not in mahtai(kept.server, "users", "list").stdout
    kept.server.start()
    kept.require_all()


def test_what_no_backup_has_is_made_anew_if_somebody_wants_it(kept: Kept) -> None:
    kept.server.stop()
    for name in ("patients.key", "secrets/audit-signing.pem"):
        (kept.server.data / name).unlink()
    assert mahtai(kept.server, "doctor", "--repair", "--new-secrets", "--from", str(kept.file)).returncode == 2
    done = mahtai(kept.server, "doctor", "--repair", "--new-secrets")
    assert done.returncode == 0 and done.stdout.count("Another one was made") == 2, done.stdout
    kept.server.start()
    kept.require_all()
    kept.server.stop()
    checked = mahtai(kept.server, "audit", "verify")
    assert checked.returncode == 0 and "their key is not here" in checked.stdout + checked.stderr, checked.stdout


def test_a_keyring_that_opens_nothing_here_is_not_brought_back(kept: Kept, tmp_path: Path, models: Path) -> None:
    """The folder was restored, and with that encrypted anew; the backup is of the time before."""
    kept.server.stop()
    (tmp_path / "restored").mkdir()
    restored = with_key(tmp_path / "restored", (models,))
    restored.environment = kept.server.environment
    done = mahtai(restored, "restore", str(kept.file), "--key-file", str(kept.key))
    assert done.returncode == 0 and "Make a new backup now" in done.stdout, done.stderr
    keyring = restored.data / "keyring.json"
    keyring.unlink()
    done = mahtai(restored, "doctor", "--repair", "--from", str(kept.file), "--key-file", str(kept.key))
    assert done.returncode == 1 and "opens nothing of these data" in done.stderr, done.stderr
    assert not keyring.exists()


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


def test_all_secrets_and_the_keyring_are_gone_together(kept: Kept) -> None:
    """As in a copy of a folder that was not complete; then no new keyring is made in the place of the old one."""
    with kept.server.client() as client:
        assert client.get(f"/v1/cases/{kept.case}/source").json()["source"] == {"uid": "1.2.3"}
    kept.server.stop()
    before = (kept.server.data / "keyring.json").read_bytes()
    for name in ("keyring.json", "patients.key"):
        (kept.server.data / name).unlink()
    shutil.rmtree(kept.server.data / "secrets")
    with refused_start(kept.server) as said:
        assert "is gone" in said[-1]
    code, said_by_doctor = kept.repair()
    if code:  # what the keyring opens is seen only when it is there
        code, said_by_doctor = kept.repair()
    assert code == 0 and "Every encrypted value can be read" in said_by_doctor, said_by_doctor
    assert (kept.server.data / "keyring.json").read_bytes() == before
    kept.server.start()
    kept.require_all()
    with kept.server.client() as client:
        assert client.get(f"/v1/cases/{kept.case}/source").json()["source"] == {"uid": "1.2.3"}


def test_an_older_master_key_is_asked_for_and_a_newer_keyring_stays(kept: Kept, tmp_path: Path) -> None:
    kept.server.stop()
    keyring = kept.server.data / "keyring.json"
    newer = keyring.read_bytes().replace(b"mahtai keyring 1", b"mahtai keyring 2")
    keyring.write_bytes(newer)
    code, said = kept.repair()
    assert code == 1 and keyring.read_bytes() == newer
    keyring.unlink()
    new_key_file(tmp_path / "new.key")
    kept.server.environment = {"key_file": str(tmp_path / "new.key")}
    code, said = kept.repair()
    assert code == 1 and "master key of that time" in said and not keyring.exists(), said


def test_a_damaged_encrypted_value_is_found(kept: Kept) -> None:
    kept.server.stop()
    with closing(sqlite3.connect(kept.server.data / "mahtai.sqlite")) as tables, tables:
        tables.execute("UPDATE case_sources SET source = substr(source, 1, 60)")
    found = mahtai(kept.server, "doctor")
    assert found.returncode == 1 and "case_sources.source cannot be read" in found.stdout


def test_the_tables_of_an_older_server_are_not_brought_up_to_date_by_a_repair(kept: Kept) -> None:
    with closing(sqlite3.connect(kept.server.data / "mahtai.sqlite")) as tables, tables:
        tables.execute("UPDATE alembic_version SET version_num = '0007'")
    kept.server.data.chmod(0o755)
    done = mahtai(kept.server, "doctor", "--repair", "--quick")
    assert "Mended" in done.stdout and "not put on record" in done.stderr
    with closing(sqlite3.connect(kept.server.data / "mahtai.sqlite")) as tables:
        assert tables.execute("SELECT version_num FROM alembic_version").fetchall() == [("0007",)]


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


def test_an_index_that_disagrees_with_its_table_is_told_and_nothing_is_made_of_it(kept: Kept) -> None:
    """Which of the two is right nobody knows."""
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
    before = file.read_bytes()
    for words in (["doctor"], ["doctor", "--repair"]):
        found = mahtai(kept.server, *words)
        assert found.returncode == 1 and "missing from index" in found.stdout, found.stdout
    assert file.read_bytes() == before


@pytest.mark.parametrize("lost", ["weights", "a bit of the weights", "folder"])
def test_a_version_that_serves_comes_back(kept: Kept, tmp_path: Path, lost: str) -> None:
    folder = kept.server.data / "models" / "tiny@1"
    folder.rmdir()
    shutil.copytree(kept.server.models[0] / "tiny", folder)
    weights = folder / "models" / "model.safetensors"
    write_checksum(weights)
    catalogue = Catalogue([*kept.server.models], kept.server.data / "models")
    assert catalogue.serving is not None
    catalogue.serving.change("tiny", lambda serving: replace(serving, active=1, history=(0,)))
    assert mahtai(kept.server, "doctor").returncode == 0
    kept.file = tmp_path / "two.mahtai"
    assert mahtai(kept.server, "backup", str(kept.file), "--key-file", str(kept.key)).returncode == 0
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if lost == "folder":
        shutil.rmtree(folder)
    elif lost == "weights":
        weights.unlink()
    else:
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = mahtai(kept.server, "doctor")
    assert found.returncode == 1 and "tiny@1" in found.stdout, found.stdout
    code, said = kept.repair()
    assert code == 0, said
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


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
