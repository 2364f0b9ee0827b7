"""Volumes in and out: what is taken, what is refused and why, and that a refusal leaves nothing behind."""

from __future__ import annotations

import gzip
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import zstandard

from MahtAILib.client import nrrd
from server_process import ServerProcess, put_volume, sha256, wait_until
from studies import affine, label_file
from test_api_access import problem


def scan(seed: int, shape: tuple[int, int, int] = (24, 20, 16)) -> bytes:
    """A NRRD file that nobody has sent before."""
    return nrrd.encode(np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16), affine())


def files_below(folder: Path) -> set[Path]:
    """All blobs and partial files of a store."""
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_volume_comes_back_byte_for_byte_and_says_what_it_is(client: httpx.Client) -> None:
    data = scan(1)
    identity = sha256(data)
    assert client.head(f"/v1/volumes/{identity}").status_code == 404
    answer = client.put(f"/v1/volumes/{identity}", content=data)
    assert answer.status_code == 201
    info = answer.json()
    assert (info["kind"], info["format"], info["dtype"], info["shape"]) == ("volume", "nrrd", "int16", [24, 20, 16])
    assert np.allclose(info["ijk_to_ras"], affine()) and info["bytes"] == len(data)
    head = client.head(f"/v1/volumes/{identity}")
    assert head.status_code == 200 and int(head.headers["content-length"]) == len(data)
    assert client.get(f"/v1/volumes/{identity}").content == data


def test_sending_a_volume_again_changes_nothing(client: httpx.Client) -> None:
    data = scan(2)
    first = client.put(f"/v1/volumes/{sha256(data)}", content=data)
    second = client.put(f"/v1/volumes/{sha256(data)}", content=data)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:])),
        ("zstd", lambda data: zstandard.ZstdCompressor().compress(data)),
        ("zstd", lambda data: zstandard.compress(data[:5000]) + zstandard.compress(data[5000:])),
        ("identity", bytes),
    ],
)
def test_the_hash_is_that_of_the_decoded_body(
    client: httpx.Client, encoding: str, pack: Callable[[bytes], bytes], request: pytest.FixtureRequest
) -> None:
    data = scan(random.Random(request.node.name).randrange(2**32))
    answer = client.put(f"/v1/volumes/{sha256(data)}", content=pack(data), headers={"Content-Encoding": encoding})
    assert answer.status_code == 201, answer.text
    assert client.get(f"/v1/volumes/{sha256(data)}").content == data


def test_missing_volumes_are_told_in_one_round_trip(client: httpx.Client) -> None:
    here = put_volume(client, scan(3))
    gone = [sha256(b"a"), sha256(b"b")]
    answer = client.post("/v1/volumes/missing", json={"sha256": [gone[0], here, gone[1], gone[0]]})
    assert answer.json() == {"missing": gone}


def test_a_label_file_is_taken_as_a_segmentation(client: httpx.Client) -> None:
    data = label_file()
    assert client.get(f"/v1/volumes/{put_volume(client, data)}").content == data
    assert client.put(f"/v1/volumes/{sha256(data)}", content=data).json()["kind"] == "segmentation"


def cut(data: bytes) -> bytes:
    """A file whose end is missing."""
    return data[: len(data) // 2]


def header_of(array: np.ndarray) -> bytes:
    """The head of a NRRD file, without its voxels."""
    data = nrrd.encode(array, affine())
    return data[: data.index(b"\n\n") + 2]


def constant(value: float) -> bytes:
    """A volume without contrast."""
    return nrrd.encode(np.full((8, 8, 8), value, np.float32), affine())


def with_nan() -> bytes:
    """A volume with one voxel that is no number."""
    voxels = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    voxels[3, 3, 3] = np.nan
    return nrrd.encode(voxels, affine())


def claiming(sizes: str) -> bytes:
    """A header that claims more than follows."""
    return header_of(np.ones((8, 8, 8), np.int16)).replace(b"sizes: 8 8 8", f"sizes: {sizes}".encode()) + b"\0" * 64


def sheared() -> bytes:
    """A grid whose axes are not at right angles."""
    matrix = affine()
    matrix[0, 1] = 0.5
    return nrrd.encode(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32), matrix)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "nothing at all": (b"", "volume"),
    "noise": (random.Random(0).randbytes(5000), "volume"),
    "cut off": (cut(scan(4)), "volume"),
    "20 Gvoxel claimed": (claiming("2714 2714 2714"), "volume"),
    "negative size": (claiming("-8 8 8"), "volume"),
    "empty": (constant(0), "volume"),
    "constant": (constant(7), "volume"),
    "NaN": (with_nan(), "volume"),
    "one voxel": (nrrd.encode(np.ones((1, 1, 1), np.int16), affine()), "volume"),
    "sheared": (sheared(), "geometry"),
    "a damaged label": (cut(label_file()), "volume"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_a_hint_and_nothing_of_it_is_kept(
    client: httpx.Client, server: ServerProcess, name: str
) -> None:
    data, kind = BAD_FILES[name]
    before = files_below(server.data / "blobs")
    document = problem(client.put(f"/v1/volumes/{sha256(data)}", content=data), 422, kind)
    assert len(document["detail"]) > 20
    assert client.head(f"/v1/volumes/{sha256(data)}").status_code == 404
    assert files_below(server.data / "blobs") == before


def test_a_wrong_hash_is_refused(client: httpx.Client, server: ServerProcess) -> None:
    before = files_below(server.data / "blobs")
    problem(client.put(f"/v1/volumes/{'0' * 64}", content=scan(5)), 422, "hash-mismatch")
    assert files_below(server.data / "blobs") == before


@pytest.mark.parametrize(
    ("encoding", "body", "status", "kind"),
    [
        ("br", b"x", 415, "unknown-encoding"),
        ("gzip", b"not gzip", 422, "damaged-encoding"),
        ("gzip", cut(gzip.compress(scan(6))), 422, "damaged-encoding"),
        ("zstd", b"not zstd", 422, "damaged-encoding"),
        ("zstd", cut(zstandard.compress(scan(6))), 422, "damaged-encoding"),
    ],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    client: httpx.Client, encoding: str, body: bytes, status: int, kind: str
) -> None:
    answer = client.put(f"/v1/volumes/{'1' * 64}", content=body, headers={"Content-Encoding": encoding})
    problem(answer, status, kind)


def test_sizes_are_limited_before_and_after_decompression(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(environment={"max_upload_bytes": str(1 << 20)})
    with server.client() as client:
        bombs = {
            "gzip": gzip.compress(bytes(200 << 20)),
            "zstd": zstandard.ZstdCompressor(level=19).compress(bytes(2 << 30)),
        }
        for encoding, bomb in bombs.items():
            assert len(bomb) < 1 << 20
            answer = client.put(f"/v1/volumes/{'2' * 64}", content=bomb, headers={"Content-Encoding": encoding})
            problem(answer, 413, "too-large")
        problem(client.put(f"/v1/volumes/{'2' * 64}", content=bytes(3 << 20)), 413, "too-large")
        assert files_below(server.data / "blobs") == set()
        put_volume(client, scan(7))


def test_a_client_that_goes_away_in_mid_upload_leaves_nothing(client: httpx.Client, server: ServerProcess) -> None:
    data = scan(8, (128, 128, 64))
    partial = server.data / "blobs" / "partial"
    head = (
        f"PUT /v1/volumes/{sha256(data)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + data[: len(data) * 3 // 4])
        wait_until(lambda: files_below(partial), 10, "the upload to begin")
    wait_until(lambda: not files_below(partial), 10, "the partial file to be removed")
    assert client.head(f"/v1/volumes/{sha256(data)}").status_code == 404
    assert put_volume(client, data)


def test_two_clients_may_send_the_same_volume_at_once(server: ServerProcess) -> None:
    data = scan(9, (96, 96, 64))
    codes: list[int] = []

    def send() -> None:
        with server.client() as client:
            codes.append(client.put(f"/v1/volumes/{sha256(data)}", content=data).status_code)

    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(codes) == [200] * 5 + [201]
    with server.client() as client:
        assert client.get(f"/v1/volumes/{sha256(data)}").content == data


def test_a_blob_that_was_deleted_by_hand_is_asked_for_again(client: httpx.Client, server: ServerProcess) -> None:
    data = scan(10)
    identity = put_volume(client, data)
    (server.data / "blobs" / identity[:2] / identity[2:4] / identity).unlink()
    assert client.post("/v1/volumes/missing", json={"sha256": [identity]}).json() == {"missing": [identity]}
    problem(client.get(f"/v1/volumes/{identity}"), 404, "unknown-blob")
    assert put_volume(client, data) == identity
    assert client.get(f"/v1/volumes/{identity}").content == data
