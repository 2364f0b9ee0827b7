"""A server with a key, over HTTP: everything comes back as it was sent, and nothing of it lies plain on the disk."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import nibabel
import numpy as np
import pytest

from at_rest_kit import Sniffer, keys_command, marks_of, plain_in, refused_start, with_key
from image_kit import picture
from mahtai.security.at_rest.envelope import MAGIC
from mahtai.security.at_rest.master_key import new_key_file
from MahtAILib.client import nrrd
from MahtAILib.client.segmentation import decode
from server_process import ServerProcess, StartServer, finished, put_volume, sha256, start_job, wait_until
from studies import FAST, SHAPE, affine, label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import save
from test_corrections import BOX, region
from test_corrections import send as send_region
from test_dicom_series import slices, zipped
from test_reviews import review
from tiny_landmark_bundle import write_landmark_bundle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    """One server with a key."""
    ceph = tmp_path_factory.mktemp("ceph-models")
    write_landmark_bundle(ceph / "points")
    process = with_key(tmp_path_factory.mktemp("with-key"), (models, ceph)).start()
    yield process
    process.kill()


def noise(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Voxels that no compression makes shorter."""
    return np.random.default_rng(seed).integers(-30_000, 30_000, shape, dtype=np.int16)


def nifti(array: np.ndarray) -> bytes:
    """An uncompressed NIfTI file."""
    return bytes(nibabel.Nifti1Image(array, affine()).to_bytes())


FILES = {
    "nrrd": nrrd.encode(noise(SHAPE, 1), affine()),
    "nrrd larger than a chunk": nrrd.encode(noise((128, 128, 100), 2), affine()),
    "nrrd in gzip": nrrd.encode(noise(SHAPE, 3), affine(), encoding="gzip"),
    "nifti": nifti(noise(SHAPE, 4)),
    "dicom": zipped(slices()),
    "png": picture(np.random.default_rng(5).integers(0, 255, (700, 600), dtype=np.uint8), "PNG"),
    "segmentation": label_file([(3, 30), (31, 40)]),
}


@pytest.mark.parametrize("name", FILES)
def test_what_was_uploaded_comes_back_and_is_nowhere_on_the_disk(
    server: ServerProcess, client: httpx.Client, name: str
) -> None:
    data = FILES[name]
    with Sniffer(server.data) as sniffer:
        identity = put_volume(client, data)
        found = client.get(f"/v1/volumes/{identity}")
    assert found.status_code == 200 and found.content == data
    assert found.headers["Content-Length"] == str(len(data)) and found.headers["ETag"] == f'"{identity}"'
    assert found.headers["Cache-Control"] == "no-store"
    assert client.head(f"/v1/volumes/{identity}").headers["Content-Length"] == str(len(data))
    blob = server.data / "blobs" / identity[:2] / identity[2:4] / identity
    assert blob.read_bytes().startswith(MAGIC) and not sniffer.plain
    marks = marks_of(data)
    assert len(marks) >= 20 and plain_in(server.data, marks) == []
    assert put_volume(client, data) == identity
    assert (sha256(data) == identity) and client.post("/v1/volumes/missing", json={"sha256": [identity]}).json() == {
        "missing": []
    }


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """Of the server with a key."""
    with server.client() as connected:
        yield connected


def test_an_upload_is_encrypted_before_it_has_come_to_its_end(server: ServerProcess) -> None:
    data = nrrd.encode(noise((160, 160, 120), 6), affine())
    head = f"PUT /v1/volumes/{sha256(data)} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Authorization: Bearer {server.token}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) * 3 // 4])

        def partial() -> Path | None:
            files = [file for file in (server.data / "blobs" / "partial").iterdir() if file.stat().st_size > 2 << 20]
            return files[0] if files else None

        lies = wait_until(partial, 20, "the upload to reach the disk")
        content = lies.read_bytes()
        assert content.startswith(MAGIC)
        assert plain_in(server.data / "blobs", marks_of(data[: len(content)])) == []
    wait_until(lambda: not lies.exists(), 20, "the partial file to go")


@pytest.mark.parametrize("damage", ["empty", "text", "cut off"])
def test_what_is_refused_leaves_nothing_behind(server: ServerProcess, client: httpx.Client, damage: str) -> None:
    data = {"empty": b"", "text": b"hello" * 100, "cut off": FILES["nrrd"][:-5000]}[damage]
    problem(client.put(f"/v1/volumes/{sha256(data)}", content=data), 422, "volume")
    problem(client.put(f"/v1/volumes/{'0' * 64}", content=FILES["nrrd"]), 422, "hash-mismatch")
    assert not list((server.data / "blobs" / "partial").iterdir())


def test_a_whole_case_leaves_no_plain_byte(server: ServerProcess, client: httpx.Client) -> None:
    study = synthetic_study(11)
    with Sniffer(server.data) as sniffer:
        inputs = {channel: put_volume(client, data) for channel, data in study.items()}
        uid = "1.2.840.99999.WATERMARK-UID.77"
        case = make_case(client, inputs, source={"study_instance_uid": uid})["id"]
        job = start_job(client, "tiny", inputs, options=FAST)["id"]
        assert finished(client, job)["state"] == "succeeded", client.get(f"/v1/inferences/{job}").text
        results = [client.get(f"/v1/inferences/{job}/result/{part}") for part in ("segmentation", "confidence")]
        labels = decode(results[0].content)
        array, moved = region(labels.layers[0], labels.geometry.ijk_to_ras)
        corrected = send_region(client, job, nrrd.encode(array, moved))
        assert corrected.status_code == 200, corrected.text
        label = label_file([(10, 20)])
        version = save(client, case, label, comment="WATERMARK-COMMENT äöü", author="anna", submit=True)
        draft = {"segmentation": put_volume(client, label_file([(5, 9)]))}
        assert client.put(f"/v1/cases/{case}/drafts/{uuid4()}", json=draft).status_code == 200
        boris = {"MahtAI-User": "boris", "MahtAI-Role": "radiologist"}
        said = review(client, case, version["id"], boris, verdict="reject", comment="WATERMARK-REVIEW")
        assert said.status_code == 201, said.text
    assert not sniffer.plain and "work" in sniffer.seen
    assert BOX  # the region that was corrected
    assert client.get(f"/v1/cases/{case}/labels/{version['id']}/content").content == label
    assert client.get(f"/v1/cases/{case}/source").json()["source"] == {"study_instance_uid": uid}
    assert client.get(f"/v1/cases/{case}").json()["last_review"]["comment"] == "WATERMARK-REVIEW"
    (listed,) = client.get(f"/v1/cases/{case}/labels").json()["labels"]
    assert listed["comment"] == "WATERMARK-COMMENT äöü"
    texts = [b"WATERMARK", uid.encode(), "WATERMARK-COMMENT".encode("utf-16-le"), b"volume_ml"]
    files = [*study.values(), label, *(result.content for result in results)]
    assert plain_in(server.data, [*texts, *(mark for data in files for mark in marks_of(data))]) == []
    assert (server.data / "mahtai.sqlite-wal").is_file()  # looked at, too
    assert (server.data / "patients.key").read_bytes().startswith(MAGIC)


def test_a_cephalogram_and_its_landmarks_leave_no_plain_byte(server: ServerProcess, client: httpx.Client) -> None:
    data = picture(np.random.default_rng(7).integers(0, 255, (500, 400), dtype=np.uint8), "PNG")
    with Sniffer(server.data) as sniffer:
        image = put_volume(client, data)
        channel = client.get("/v1/models/points").json()["channels"][0]["id"]
        job = start_job(client, "points", {channel: image})["id"]
        assert finished(client, job)["state"] == "succeeded", client.get(f"/v1/inferences/{job}").text
    parts = [client.get(f"/v1/inferences/{job}/result/{part}").content for part in ("landmarks", "measurements")]
    assert parts[0].startswith(b"{") and parts[1].startswith(b"{")
    assert not sniffer.plain
    # numbers of a result are in the job's summary, too, which is no sealed column; the points are in the file alone
    positions = [line.strip() for line in parts[0].splitlines() if b'"position"' in line]
    assert len(positions) > 5 and plain_in(server.data, [*marks_of(data), *positions]) == []


def test_the_monai_label_protocol_reads_and_writes_through_the_store(
    server: ServerProcess, client: httpx.Client
) -> None:
    scan = FILES["nrrd"]
    base = "/monailabel/datastore"
    made = client.put(f"{base}/?image=one-T1c", files={"file": ("one-T1c.nrrd", scan)})
    assert made.status_code == 200, made.text
    found = client.get(f"{base}/image", params={"image": "one-T1c"})
    assert found.content == scan and "one-T1c.nrrd" in found.headers["Content-Disposition"]
    zipped_image = client.put(f"{base}/?image=two-T1c", files={"file": ("two-T1c.zip", FILES["dicom"])})
    assert zipped_image.status_code == 200, zipped_image.text
    assert nrrd.decode(client.get(f"{base}/image", params={"image": "two-T1c"}).content).array.size
    labelmap = np.zeros(SHAPE, np.uint8)
    labelmap[3:9, 3:9, 3:9] = 1
    label = nrrd.encode(labelmap, affine())
    said = client.put(
        f"{base}/label?image=one-T1c",
        data={"params": '{"label_info": [{"name": "Edema", "idx": 1}]}'},
        files={"label": ("label.nrrd", label)},
    )
    assert said.status_code == 200, said.text
    back = client.get(f"{base}/label", params={"label": "one-T1c", "tag": "final"})
    assert decode(back.content).layers[0].sum() > 0
    assert plain_in(server.data, marks_of(scan)) == []


def test_a_damaged_blob_is_never_answered_as_if_it_were_whole(server: ServerProcess, client: httpx.Client) -> None:
    first, second = (put_volume(client, nrrd.encode(noise((100, 100, 80), seed), affine())) for seed in (21, 22))
    path, other = (server.data / "blobs" / name[:2] / name[2:4] / name for name in (first, second))
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: 1 << 20], other.read_bytes(), whole[:-9] + b"x" + whole[-8:]):
        path.write_bytes(content)
        problem(client.get(f"/v1/volumes/{first}"), 500, "damaged-at-rest")
    changed = bytearray(whole)
    changed[300_000] ^= 1
    path.write_bytes(changed)
    with pytest.raises(httpx.RemoteProtocolError):  # the end of the answer is missing, which no client overlooks
        client.get(f"/v1/volumes/{first}")
    path.write_bytes(whole)
    assert client.get(f"/v1/volumes/{first}").status_code == 200


def test_a_server_starts_with_its_key_and_with_nothing_else(start_server: StartServer, tmp_path: Path) -> None:
    file, other = tmp_path / "key", tmp_path / "other"
    new_key_file(file)
    new_key_file(other)
    server = start_server(environment={"key_file": str(file)})
    with server.client() as client:
        identity = put_volume(client, FILES["nrrd"])
    server.stop()
    key = file.read_text("ascii").strip()
    for environment, said in (
        ({"key_file": str(other)}, "is not the one that this data folder is encrypted with"),
        ({}, "was given no key"),
        ({"key": key, "key_file": str(file)}, "given 2 times"),
        ({"key_command": "false"}, "failed with status 1"),
    ):
        with refused_start(replace(server, environment=environment)) as lines:
            assert len(lines) == 1 and said in lines[0], lines
            assert key not in lines[0]
    keyring = server.data / "keyring.json"
    whole = keyring.read_bytes()
    keyring.write_bytes(whole.replace(b'"made_at": "2', b'"made_at": "3', 1))
    with refused_start(replace(server, environment={"key_file": str(file)})) as lines:
        assert len(lines) == 1 and "changed by something else" in lines[0], lines
    keyring.unlink()
    with refused_start(replace(server, environment={"key_file": str(file)})) as lines:
        assert "is gone" in lines[0]
    keyring.write_bytes(whole)
    for environment in ({"key": key}, {"key_command": f"cat {file}"}):
        again = replace(server, environment=environment).start()
        with again.client() as client:
            assert client.get(f"/v1/volumes/{identity}").content == FILES["nrrd"]
        again.stop()
        assert key not in again.log


def test_the_engine_is_not_given_the_master_key(server: ServerProcess, client: httpx.Client) -> None:
    wait_until(lambda: server.engine_pids(), 60, "the engine")
    environment = Path(f"/proc/{server.engine_pids()[-1]}/environ")
    if not environment.exists():
        pytest.skip("there is no /proc here")
    assert b"MAHTAI_KEY" not in environment.read_bytes()


def test_a_plain_store_becomes_an_encrypted_one(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    data = FILES["nrrd larger than a chunk"]
    with server.client() as client:
        study = {channel: put_volume(client, content) for channel, content in synthetic_study(12).items()}
        identity = put_volume(client, data)
        case = make_case(client, study, source={"uid": "WATERMARK-UID"})["id"]
        label = label_file([(10, 20)])
        version = save(client, case, label, comment="WATERMARK-COMMENT", author="anna")
    marks = [b"WATERMARK", *marks_of(data), *marks_of(label)]
    assert plain_in(server.data, marks)
    file = tmp_path / "key"
    new_key_file(file)
    beside = keys_command(server, "encrypt", key_file=str(file))
    assert beside.returncode == 1 and "started without a key" in beside.stderr
    assert not (server.data / "keyring.json").exists()
    server.stop()
    keyed = replace(server, environment={"key_file": str(file)}).start()
    try:
        with keyed.client() as client:
            assert client.get(f"/v1/volumes/{identity}").content == data
            told = keys_command(keyed, "status").stdout
            assert "Not encrypted" in told and "mahtai keys encrypt" in told
            done = keys_command(keyed, "encrypt")
            assert done.returncode == 0, done.stderr
            assert "Encrypted 6 blobs and " in done.stdout
            assert "All is under the current key" in keys_command(keyed, "status").stdout
            assert plain_in(keyed.data, marks) == []
            assert client.get(f"/v1/volumes/{identity}").content == data
            assert client.get(f"/v1/cases/{case}/labels/{version['id']}/content").content == label
            assert client.get(f"/v1/cases/{case}/source").json()["source"] == {"uid": "WATERMARK-UID"}
            (listed,) = client.get(f"/v1/cases/{case}/labels").json()["labels"]
            assert listed["comment"] == "WATERMARK-COMMENT"
    finally:
        keyed.stop()
