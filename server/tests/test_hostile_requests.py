"""Requests that are made to exhaust a server: each is refused, the server lives, and its memory stays bounded."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from server_process import ServerProcess

MOST_GROWTH_BYTES = 300 << 20
BOMB_BYTES = 3 << 30


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    """A server that takes uploads of 64 MiB, and has taken one, so that its libraries are loaded."""
    process = ServerProcess(tmp_path_factory.mktemp("hostile"), (models,), {"max_upload_bytes": str(64 << 20)}).start()
    for warm in (png(8, 8), nifti((4, 4, 4))):
        put(process, warm)
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def lives_and_stays_small(target: ServerProcess) -> Iterator[None]:
    before = resident(target)
    yield
    with target.client() as client:
        assert client.get("/v1/models").status_code == 200
    assert resident(target) - before < MOST_GROWTH_BYTES


def resident(process: ServerProcess) -> int:
    """Most memory that the server has had, in bytes."""
    if not sys.platform.startswith("linux"):
        return 0
    assert process.process is not None
    status = Path(f"/proc/{process.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def png(width: int, height: int) -> bytes:
    """A grey picture whose header says so much, with one row of content."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * min(height, 8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def nifti(shape: tuple[int, int, int]) -> bytes:
    """A header that says so much, with 64 bytes of content."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(64)


def put(process: ServerProcess, data: bytes, encoding: str = "identity", claimed: bytes | None = None) -> int:
    name = hashlib.sha256(data if claimed is None else claimed).hexdigest()
    with process.client() as client:
        headers = {"Content-Encoding": encoding}
        return client.put(f"/v1/volumes/{name}", content=data, headers=headers).status_code


def raw(process: ServerProcess, data: bytes) -> bytes:
    """The answer's first bytes; empty where the connection was cut."""
    with socket.create_connection(("127.0.0.1", process.port), 20) as connection:
        with contextlib.suppress(OSError):  # cut while sending; an answer may be there all the same
            connection.sendall(data)
        try:
            return connection.recv(200)
        except ConnectionError:
            return b""


@functools.cache
def zeros_gzip() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as stream:
        for _ in range(BOMB_BYTES >> 24):
            stream.write(bytes(1 << 24))
    return packed.getvalue()


def zeros_zstd() -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return b"".join(compressor.compress(bytes(1 << 24)) for _ in range(BOMB_BYTES >> 24)) + compressor.flush()


@pytest.mark.parametrize(("encoding", "make"), [("gzip", zeros_gzip), ("zstd", zeros_zstd)])
def test_compressed_zeros(target: ServerProcess, encoding: str, make: object) -> None:
    assert callable(make)
    assert put(target, make(), encoding) in (413, 415, 422)


def test_nifti_of_compressed_zeros(target: ServerProcess) -> None:
    assert put(target, zeros_gzip()) in (413, 415, 422)


def zip_of(opening: bytes, count: int) -> bytes:
    """A zip of one DICOM file that begins so and goes on with that many zeros."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("1.dcm", "w", force_zip64=True) as member,
    ):
        member.write(bytes(128) + b"DICM" + opening)
        for _ in range(count >> 24):
            member.write(bytes(1 << 24))
    return packed.getvalue()


def lying_zip(data: bytes) -> bytes:
    """The directory says that the file has 64 bytes unpacked."""
    at = data.rindex(b"PK\x01\x02")
    return data[: at + 24] + struct.pack("<I", 64) + data[at + 28 :]


def many_members(count: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            archive.writestr(str(number), b"")
    return packed.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: zip_of(b"", BOMB_BYTES),
        lambda: lying_zip(zip_of(b"", 64 << 20)),
        lambda: zip_of(b"", 48 << 20),  # few enough bytes; six million attributes of no length
        lambda: many_members(6000),
    ],
    ids=["zeros", "lies about its size", "zeros as attributes", "many members"],
)
def test_zip_bombs(target: ServerProcess, make: Callable[[], bytes]) -> None:
    assert put(target, make()) in (413, 415, 422)


def test_a_dicom_file_of_attributes_without_end(target: ServerProcess) -> None:
    assert put(target, bytes(128) + b"DICM" + bytes(40 << 20)) in (413, 415, 422)


@pytest.mark.parametrize("of_known_length", [True, False])
@pytest.mark.parametrize("count", [3 << 20, 2_000_000], ids=["24 MiB", "just below 16 MiB"])
def test_a_dicom_file_of_empty_items(target: ServerProcess, count: int, of_known_length: bool) -> None:
    """Millions of items, each of which would become an object of its own."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    length = len(items) if of_known_length else 0xFFFFFFFF
    sequence = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, length) + items
    assert put(target, bytes(128) + b"DICM" + sequence) in (413, 415, 422)


@pytest.mark.parametrize("claims", [png(100_000, 100_000), nifti((32767, 32767, 1024)), nifti((32767, 32767, 32767))])
def test_headers_of_images_that_claim_too_much(target: ServerProcess, claims: bytes) -> None:
    assert put(target, claims) in (413, 415, 422)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_json(target: ServerProcess, opening: bytes) -> None:
    with target.client() as client:
        body = opening * 100_000
        answer = client.post("/v1/inferences", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413, 422)


def test_a_gibibyte_of_json(target: ServerProcess) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'["'
        for _ in range(1 << 10):
            yield b"a" * (1 << 20)

    with target.client() as client:
        try:
            status = client.post("/v1/cases", content=pieces()).status_code
        except OSError:
            status = 413
        except Exception as error:
            assert "Write" in type(error).__name__ or "Read" in type(error).__name__ or "Remote" in type(error).__name__
            status = 413  # cut while it was sending
    assert status == 413


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1 << 20),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
        b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01" + os.urandom(2000),
        b"POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["long header", "many headers", "long address", "no HTTP", "no chunk size"],
)
def test_heads_that_are_too_much(target: ServerProcess, data: bytes) -> None:
    answer = raw(target, data)
    assert answer == b"" or answer.split()[1][:1] == b"4"


def test_a_chunk_of_2_to_the_60(target: ServerProcess) -> None:
    head = f"POST /v1/cases HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.token}\r\n"
    body = b"a" * (2 << 20)
    answer = raw(target, head.encode() + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n" + body)
    assert answer == b"" or answer.split()[1] == b"413"


def test_a_length_of_2_to_the_60(target: ServerProcess) -> None:
    name = "0" * 64
    head = f"PUT /v1/volumes/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.token}\r\n"
    with socket.create_connection(("127.0.0.1", target.port), 20) as connection:
        connection.sendall(head.encode() + f"Content-Length: {2**60}\r\n\r\n".encode())
        connection.sendall(json.dumps({}).encode())
        connection.settimeout(60)
        answer = connection.recv(200)
    assert answer == b"" or answer.split()[1] == b"413"
