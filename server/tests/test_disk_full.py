"""A full disk, for real: the server's data folder is a small file system of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from MahtAILib.client import nrrd
from server_process import ServerProcess, finished, job_state, put_volume, sha256, start_job, wait_until
from studies import FAST, SLOW, affine, label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import FIRST, save

SIZE_MIB = 24
MOUNT_AND_RUN = f'mount -t tmpfs -o size={SIZE_MIB}m tmpfs "$0" && exec "$@"'


def own_file_system(folder: Path) -> tuple[str, ...]:
    """Command line in front of a server that gives it a small disk at ``folder``, seen by it alone."""
    folder.mkdir(parents=True, exist_ok=True)
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT_AND_RUN, str(folder))


def possible(folder: Path) -> bool:
    """Whether this computer lets its users mount such a disk."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return False
    return subprocess.run([*own_file_system(folder), "true"], capture_output=True).returncode == 0


class SmallDisk:
    """A server on a small disk, and the disk as the server sees it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    @property
    def folder(self) -> Path:
        """The data folder inside of the server's own file system."""
        assert self.server.process is not None
        return Path(f"/proc/{self.server.process.pid}/root{self.server.data}")

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            for block in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        ballast.write(bytes(block))
                except OSError:
                    continue

    def free(self) -> None:
        """Give the room back."""
        (self.folder / "ballast").unlink()

    def files(self) -> set[Path]:
        """Blobs and partial files."""
        return {path for path in (self.folder / "blobs").rglob("*") if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path, start_server: Callable[..., ServerProcess]) -> Iterator[SmallDisk]:
    """A server whose disk can be filled; it takes work down to the last byte."""
    data = tmp_path / "own" / "data"
    if not possible(data):
        pytest.skip("needs Linux that lets a user mount a file system (unshare)")
    server = start_server(wrapper=own_file_system(data), environment={"min_free_bytes": "0"})
    yield SmallDisk(server)


def large_scan() -> bytes:
    """More than fits on the disk, and not to be compressed."""
    voxels = np.random.default_rng(0).integers(0, 30_000, (256, 256, SIZE_MIB * 10))
    return nrrd.encode(voxels.astype(np.int16), affine(1.0))


def test_an_upload_that_does_not_fit_is_refused_whole(disk: SmallDisk) -> None:
    data = large_scan()
    with disk.server.client() as client:
        before = disk.files()
        for body in (data, (data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20))):
            problem(client.put(f"/v1/volumes/{sha256(data)}", content=body), 507, "storage-full")
            assert disk.files() == before
            assert client.head(f"/v1/volumes/{sha256(data)}").status_code == 404
        put_volume(client, label_file())


def test_what_cannot_be_saved_is_refused_and_what_was_saved_is_still_there(disk: SmallDisk) -> None:
    with disk.server.client() as client:
        study = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
        case = str(make_case(client, study)["id"])
        first = save(client, case, label_file([(10, 20)]))
        edited = label_file([(10, 22)])
        put_volume(client, edited)
        disk.fill()
        refused = [
            send_known(client, case, edited),
            client.post("/v1/cases", json={"name": "y" * 200, "task": "t", "volumes": study}),
            client.put(f"/v1/volumes/{sha256(label_file([(1, 2)]))}", content=label_file([(1, 2)])),
            client.post("/v1/inferences", json={"model": "tiny", "inputs": study, "options": FAST}),
        ]
        for answer in refused:
            problem(answer, 507, "storage-full")
        assert client.get(f"/v1/cases/{case}/labels").json()["labels"] == [first]
        assert len(client.get("/v1/cases").json()["cases"]) == 1
        assert client.get(f"/v1/cases/{case}/labels/{first['id']}/content").content == label_file([(10, 20)])
        disk.free()
        assert save(client, case, edited, first["id"])["number"] == 2
        assert finished(client, start_job(client, "tiny", study, options=FAST)["id"])["state"] == "succeeded"


def send_known(client: httpx.Client, case: str, data: bytes) -> httpx.Response:
    """Ask to save a label whose file is on the server."""
    wanted = {"segmentation": sha256(data), "author": "reader-1", "role": "radiologist", "comment": "z" * 9000}
    return client.post(f"/v1/cases/{case}/labels", json=wanted, headers=FIRST)


def test_a_job_whose_result_does_not_fit_is_reported_failed_and_the_next_one_works(disk: SmallDisk) -> None:
    with disk.server.client() as client:
        study = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
        job = start_job(client, "tiny", study, options=SLOW)["id"]
        wait_until(lambda: job_state(client, job)["stage"] == "predicting", 120, "the job to run")
        disk.fill()
        end = finished(client, job)
        assert (end["state"], end["kind"]) == ("failed", "storage-full")
        assert end["reason"] and end["hint"]
        disk.free()
        again = start_job(client, "tiny", study, options=FAST)["id"]
        assert finished(client, again)["state"] == "succeeded"
        wait_until(lambda: start_job(client, "tiny", study, options=SLOW)["id"] != job, 30, "the failure on record")


def test_a_server_with_little_room_says_so_before_it_takes_anything(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server(environment={"min_free_bytes": str(2**50)})
    with server.client() as client:
        state = client.get("/readyz")
        assert state.status_code == 503 and state.json()["disk"]["ok"] is False
        data = label_file()
        document = problem(client.put(f"/v1/volumes/{sha256(data)}", content=data), 507, "storage-full")
        assert "almost full" in document["detail"]
        assert not [path for path in (server.data / "blobs").rglob("*") if path.is_file()]
