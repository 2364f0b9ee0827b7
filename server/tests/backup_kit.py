"""What the tests of backup and restore share: a server with something of everything, and all that it keeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from at_rest_kit import with_key
from mahtai.db.engine import Database
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import open_keyring
from mahtai.security.at_rest.master_key import new_key_file
from mahtai.settings import Settings
from mahtai.upkeep.backup.table_rows import kept_tables, lines_of
from server_process import ServerProcess, finished, put_volume, start_job
from studies import FAST, SLOW, label_file, synthetic_study
from test_cases import make_case
from test_cases_labels import save
from test_reviews import review

COMMENT = "seen by ÄÖÜ 日本, size ×2"
SOURCE = {"study_uid": "1.2.826.0.1.3680043.8.498.1"}
ANNA = {"MahtAI-User": "anna", "MahtAI-Role": "radiologist"}


@dataclass
class Filled:
    """A server and what it was given.

    Attributes:
        key: of the backups, not the server's own.
        unfinished: a job that runs or waits.
    """

    server: ServerProcess
    key: Path
    case: str
    version: str
    job: str
    unfinished: str
    volumes: Mapping[str, bytes]
    label: bytes


def fill(server: ServerProcess, key: Path) -> Filled:
    """Give a running server a case with versions, a review, a draft, results, a version of a model, and work to do."""
    new_key_file(key)
    label = label_file([(10, 20)])
    with server.client() as client:
        study = synthetic_study(41)
        inputs = {channel: put_volume(client, data) for channel, data in study.items()}
        case = str(make_case(client, inputs, source=SOURCE)["id"])
        first = save(client, case, label, comment=COMMENT, tools={"Paint": 2})
        second = save(client, case, label_file([(9, 22)]), first["id"], submit=True)
        said = review(client, case, second["id"], ANNA, comment=COMMENT)
        assert said.status_code == 201, said.text
        draft = {"segmentation": put_volume(client, label_file([(8, 9)]))}
        assert client.put(f"/v1/cases/{case}/drafts/{uuid4()}", json=draft).status_code == 200
        job = start_job(client, "tiny", inputs, options=FAST)["id"]
        finished(client, job)
        unfinished = start_job(client, "tiny", inputs, options=SLOW)["id"]
    learnt = server.data / "models" / "tiny@1"
    (learnt / "models").mkdir(parents=True)
    (learnt / "lineage.json").write_text("{}", "utf-8")
    (learnt / "models" / "model.pt").write_bytes(bytes(range(256)) * 5000)
    fetching = server.data / "models" / ".pull-other-12ab"
    fetching.mkdir()
    (fetching / "half.zip").write_bytes(b"half of a model")
    volumes = {inputs[channel]: data for channel, data in study.items()}
    return Filled(server, key, case, str(first["id"]), job, unfinished, volumes, label)


def mahtai(server: ServerProcess, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``mahtai …`` on a server's folders; ``more`` are variables without their prefix."""
    done = subprocess.run(
        [sys.executable, "-m", "mahtai.cli", *words],
        env=environment(server, more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def environment(server: ServerProcess, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The server's environment with other ``MAHTAI_*`` variables."""
    return {**server.variables(), **{f"MAHTAI_{name.upper()}": value for name, value in (more or {}).items()}}


def settings_of(server: ServerProcess) -> Settings:
    """As the server reads them."""
    return Settings.from_environment(server.variables())


def all_rows(server: ServerProcess) -> dict[str, list[bytes]]:
    """Every row that is kept, decrypted, by table."""
    settings = settings_of(server)
    keyring = open_keyring(settings)
    damaged: list[str] = []
    with (
        closing(Database(settings.database_url, None if keyring is None else Columns(keyring))) as database,
        database.read() as session,
    ):
        found = {table.name: list(lines_of(session, table, damaged)) for table in kept_tables()}
    assert not damaged
    return found


def answers(server: ServerProcess, case: str, job: str) -> dict[str, Any]:
    """What a server says of a case and a job."""
    with server.client() as client:
        paths = [
            f"/v1/cases/{case}",
            f"/v1/cases/{case}/labels",
            f"/v1/cases/{case}/reviews",
            f"/v1/cases/{case}/events",
            f"/v1/cases/{case}/source",
            f"/v1/cases/{case}/drafts",
            f"/v1/inferences/{job}",
        ]
        found: dict[str, Any] = {path: client.get(path) for path in paths}
        assert {path: answer.status_code for path, answer in found.items()} == dict.fromkeys(paths, 200)
        found = {path: answer.json() for path, answer in found.items()}
        found["result"] = client.get(f"/v1/inferences/{job}/result/segmentation").content
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Filled]:
    """A server with a key that runs, and has something of everything."""
    root = tmp_path_factory.mktemp("filled")
    (root / "server").mkdir()
    server = with_key(root / "server", (models,))
    yield fill(server.start(), root / "backup.key")
    server.kill()


@pytest.fixture(scope="module")
def made(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, made while it runs."""
    file = tmp_path_factory.mktemp("backups") / "one.mahtai"
    done = mahtai(filled.server, "backup", str(file), "--key-file", str(filled.key))
    assert done.returncode == 0 and "read it again" in done.stdout, done.stderr
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    return file


@pytest.fixture
def empty(tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    """A server that has nothing, not even a start."""
    (tmp_path / "new").mkdir()
    server = ServerProcess(tmp_path / "new", (models,))
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def restore(server: ServerProcess, file: Path, key: Path, *words: str) -> None:
    """Restore, which must be done; what was encrypted lies plain where the server has no key."""
    plain = () if "key_file" in server.environment else ("--plain",)
    done = mahtai(server, "restore", str(file), "--key-file", str(key), *plain, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def same_rows(restored: ServerProcess, origin: ServerProcess) -> None:
    """Every row is there; at the running server more come, as a job ends and entries of the record are made."""
    found, wanted = all_rows(restored), all_rows(origin)
    for table in ("inferences", "audit_events", "audit_checkpoints", "volumes"):
        ours, theirs = found.pop(table), wanted.pop(table)
        assert len(ours) > 0 and (table != "volumes" or set(ours) <= set(theirs))
    assert found == wanted
