"""Keys are changed while a server works and is used, and the change is killed at random moments: nothing is lost.

``MAHTAI_KILL_ROUNDS`` (6 by default) says how often it is killed, ``MAHTAI_KILL_SEED`` at which moments.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from at_rest_kit import keys_command, marks_of, plain_in, refused_start, with_key
from killed_commands import Commands
from mahtai.security.at_rest.keyring import is_under
from mahtai.security.at_rest.master_key import key_from_file, new_key_file
from server_process import ServerProcess, finished, put_volume, start_job
from studies import FAST, label_file, synthetic_study
from test_cases import make_case
from test_cases_labels import FIRST, save

ROUNDS = int(os.environ.get("MAHTAI_KILL_ROUNDS", "6"))
SEED = int(os.environ.get("MAHTAI_KILL_SEED", "0"))
BLOBS_BEFORE = 60

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")


@dataclass
class Accepted:
    """What the server has said yes to."""

    case: str
    study: dict[str, str]
    volumes: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)


class Clients:
    """Three clients at work: they upload, save labels with comments, run jobs, and read what was accepted before."""

    def __init__(self, server: ServerProcess, accepted: Accepted) -> None:
        self.accepted = accepted
        self.faults: list[BaseException] = []
        self._server = server
        self._over = threading.Event()
        works = (self._upload, self._label, self._read, self._run)
        self._threads = [threading.Thread(target=self._work, args=(work,)) for work in works]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def _work(self, work: Any) -> None:
        chance = random.Random(work.__name__)
        try:
            with self._server.client() as client:
                while not self._over.is_set():
                    work(client, chance)
                    self._over.wait(0.02)
        except BaseException as fault:
            self.faults.append(fault)
            raise

    def _upload(self, client: httpx.Client, chance: random.Random) -> None:
        data = synthetic_study(chance.randrange(2**31))["t1"]
        self.accepted.volumes[put_volume(client, data)] = data
        self._over.wait(0.1)

    def _label(self, client: httpx.Client, chance: random.Random) -> None:
        first = chance.randrange(2, 20)
        data = label_file([(first, first + chance.randrange(1, 20))])
        comment = f"WATERMARK {chance.random()}"
        wanted = {"segmentation": put_volume(client, data), "author": "a", "role": "annotator", "comment": comment}
        answer = client.post(f"/v1/cases/{self.accepted.case}/labels", json=wanted, headers=FIRST)
        assert answer.status_code in (200, 201), answer.text
        self.accepted.labels[answer.json()["id"]] = (comment, data)
        self._over.wait(0.2)

    def _read(self, client: httpx.Client, chance: random.Random) -> None:
        name = chance.choice(list(self.accepted.volumes))
        answer = client.get(f"/v1/volumes/{name}")
        assert answer.status_code == 200 and answer.content == self.accepted.volumes[name], answer.text[:500]

    def _run(self, client: httpx.Client, chance: random.Random) -> None:
        job = start_job(client, "tiny", self.accepted.study, options=FAST, rerun=True)["id"]
        done = finished(client, job)
        assert done["state"] == "succeeded", done
        assert client.get(f"/v1/inferences/{job}/result/segmentation").content[:4] == b"NRRD"
        self.accepted.jobs.append(job)


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    """A server with a key of its own."""
    process = with_key(tmp_path / "server", (models,)).start()
    yield process
    if process.process is not None and process.process.poll() is None:
        process.kill()


def begin(client: httpx.Client) -> Accepted:
    """A case, and enough blobs that changing them all takes a moment."""
    study = {channel: put_volume(client, data) for channel, data in synthetic_study(0).items()}
    accepted = Accepted(make_case(client, study, source={"uid": "WATERMARK-UID"})["id"], study)
    for number in range(BLOBS_BEFORE):
        data = synthetic_study(1000 + number)["t2"]
        accepted.volumes[put_volume(client, data)] = data
    job = start_job(client, "tiny", study, options=FAST)["id"]
    assert finished(client, job)["state"] == "succeeded"
    return accepted


def all_there(client: httpx.Client, accepted: Accepted) -> None:
    """Everything that was accepted is there, byte for byte."""
    for name, data in accepted.volumes.items():
        assert client.get(f"/v1/volumes/{name}").content == data
    listed = {one["id"]: one for one in client.get(f"/v1/cases/{accepted.case}/labels").json()["labels"]}
    for version, (comment, data) in accepted.labels.items():
        assert listed[version]["comment"] == comment
        assert client.get(f"/v1/cases/{accepted.case}/labels/{version}/content").content == data
    for job in accepted.jobs:
        assert client.get(f"/v1/inferences/{job}/result/confidence").status_code == 200
    assert client.get(f"/v1/cases/{accepted.case}/source").json()["source"] == {"uid": "WATERMARK-UID"}


def test_keys_are_changed_and_the_change_is_killed_while_a_server_is_used(
    server: ServerProcess, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(SEED)
    first, keyring = tmp_path / "first.key", server.data / "keyring.json"
    current = Path(server.environment["key_file"])
    first.write_bytes(current.read_bytes())
    first.chmod(0o600)
    statuses: list[int] = []
    with server.client() as client:
        accepted = begin(client)
    rotating = Commands(server)
    try:
        with Clients(server, accepted) as clients:
            began = time.monotonic()
            assert rotating.run(current, "keys rotate --re-encrypt", None) == 0
            longest = time.monotonic() - began
            for number in range(ROUNDS):
                words, new = "keys rotate --re-encrypt", tmp_path / f"{number}.key"
                if number % 3 == 2:
                    new_key_file(new)
                    words += f" --new-key-file {new}"
                statuses.append(rotating.run(current, words, chance.uniform(0, 1.1 * longest)))
                if new.exists() and is_under(keyring, key_from_file(new)):
                    os.replace(new, current)  # as the one who looks after the server does
                assert is_under(keyring, key_from_file(current))
                assert not clients.faults, clients.faults
            assert rotating.run(current, "keys encrypt", None) == 0
        assert not clients.faults, clients.faults
        last = tmp_path / "last.key"
        new_key_file(last)
        assert rotating.run(current, f"keys rotate --new-key-file {last}", None) == 0
    finally:
        rotating.end()
    record_property("killed", statuses.count(-9))
    assert statuses.count(-9) >= ROUNDS // 2 and len(accepted.labels) > 3 and len(accepted.jobs) >= 1
    with server.client() as client:
        all_there(client, accepted)
    server.stop()
    for old in (first, current):
        with refused_start(replace(server, environment={"key_file": str(old)})) as lines:
            assert "is not the one that this data folder is encrypted with" in lines[0]
    again = replace(server, environment={"key_file": str(last)}).start()
    try:
        with again.client() as client:
            all_there(client, accepted)
        assert "All is under the current key" in keys_command(again, "status").stdout
        marks = [b"WATERMARK", *(mark for data in list(accepted.volumes.values())[:20] for mark in marks_of(data)[:5])]
        assert plain_in(again.data, marks) == []
    finally:
        again.stop()
    print(f"\nkilled {statuses.count(-9)} of {ROUNDS}; {len(accepted.volumes)} volumes, {len(accepted.labels)} labels")


def test_a_change_goes_on_where_it_was_interrupted(server: ServerProcess) -> None:
    with server.client() as client:
        accepted = begin(client)
        assert keys_command(server, "rotate").returncode == 0
        left = keys_command(server, "status").stdout
        assert "are not under the current key" in left
        save(client, accepted.case, label_file([(4, 9)]), comment="after", author="a")
        assert keys_command(server, "encrypt").returncode == 0
        again = keys_command(server, "encrypt")
        assert again.returncode == 0 and "Encrypted 0 blobs and 0 values" in again.stdout
        assert "All is under the current key" in keys_command(server, "status").stdout
        all_there(client, accepted)


def test_a_damaged_blob_stays_as_it_is_and_is_named(server: ServerProcess) -> None:
    with server.client() as client:
        name = put_volume(client, synthetic_study(3)["t1"])
        other = put_volume(client, synthetic_study(4)["t1"])
        path = server.data / "blobs" / name[:2] / name[2:4] / name
        broken = path.read_bytes()[:-1]
        path.write_bytes(broken)
        done = keys_command(server, "rotate", "--re-encrypt")
        assert done.returncode == 1 and f"blob {name}" in done.stderr and other not in done.stderr
        assert path.read_bytes() == broken
        assert client.get(f"/v1/volumes/{other}").content == synthetic_study(4)["t1"]


def test_one_change_at_a_time(server: ServerProcess) -> None:
    from mahtai.security.at_rest.file_lock import held

    with held(server.data / "rotation.lock", 0.0):
        refused = keys_command(server, "rotate")
        assert refused.returncode == 1 and "is changing keys already" in refused.stderr
        assert keys_command(server, "status").returncode == 0


def test_no_data_key_is_made_that_a_server_with_the_former_master_key_could_not_read(
    server: ServerProcess, tmp_path: Path
) -> None:
    new = tmp_path / "new.key"
    new_key_file(new)
    with server.client() as client:
        accepted = begin(client)
        assert keys_command(server, "rotate", "--new-key-file", str(new)).returncode == 0
        renewed = replace(server, environment={"key_file": str(new)})
        refused = keys_command(renewed, "rotate")
        assert refused.returncode == 1 and "still works with the former one" in refused.stderr, refused.stderr
        all_there(client, accepted)
    server.stop()
    renewed.start()
    try:
        assert keys_command(renewed, "rotate").returncode == 0
        with renewed.client() as client:
            all_there(client, accepted)
            save(client, accepted.case, label_file([(4, 9)]), comment="after", author="a")
    finally:
        renewed.stop()
