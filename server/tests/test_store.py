"""The content-addressed store: whole or not at all, and nothing a client says is a path."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from mahtai.volumes.store import BlobStore, HashMismatch, InvalidHash, StorageFull, UnknownBlob


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_bytes_come_back_as_they_were_stored(store: BlobStore) -> None:
    name = store.put_bytes(b"voxels")
    assert name == sha256(b"voxels")
    assert store.has(name)
    assert store.size(name) == 6
    assert store.read_bytes(name) == b"voxels"
    with store.open(name) as stream:
        assert stream.read() == b"voxels"


def test_a_file_is_stored_by_its_content(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert store.put_file(source) == sha256(b"x" * 3_000_000)


def test_a_blob_is_not_there_before_it_is_committed(store: BlobStore) -> None:
    with store.receive(sha256(b"ab")) as reception:
        reception.write(b"a")
        reception.write(b"b")
        assert not store.has(sha256(b"ab"))
        assert reception.verify().read_bytes() == b"ab"
        assert not store.has(sha256(b"ab"))
        assert reception.commit() == sha256(b"ab")
    assert store.has(sha256(b"ab"))


def test_leaving_without_commit_keeps_nothing(store: BlobStore) -> None:
    def upload() -> None:
        with store.receive(sha256(b"ab")) as reception:
            reception.write(b"a")
            raise ConnectionError("client gone in mid-upload")

    with pytest.raises(ConnectionError):
        upload()
    assert files_below(store.root) == []


def test_other_bytes_than_announced_are_refused_and_nothing_is_kept(store: BlobStore) -> None:
    with store.receive(sha256(b"announced")) as reception:
        reception.write(b"something else")
        with pytest.raises(HashMismatch, match="not those that were announced") as caught:
            reception.commit()
    assert caught.value.status == 422
    assert files_below(store.root) == []


@pytest.mark.parametrize(
    "name",
    ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "../" + "a" * 61, "é" * 64, "０" * 64],
)
def test_only_64_hexadecimal_digits_reach_the_file_system(store: BlobStore, name: str) -> None:
    for call in (store.has, store.path, store.open, store.size, store.remove, store.receive):
        with pytest.raises(InvalidHash):
            call(name)
    assert files_below(store.root) == []


def test_asking_for_what_is_not_there_says_so(store: BlobStore) -> None:
    with pytest.raises(UnknownBlob, match="Upload them again") as caught:
        store.path("0" * 64)
    assert caught.value.status == 404


def test_storing_the_same_bytes_twice_leaves_one_blob(store: BlobStore) -> None:
    assert store.put_bytes(b"same") == store.put_bytes(b"same")
    assert len(files_below(store.root)) == 1


def test_two_clients_may_send_the_same_blob_at_once(store: BlobStore) -> None:
    data = os.urandom(2_000_000)
    barrier = threading.Barrier(8)
    answers: list[str] = []

    def send() -> None:
        with store.receive(sha256(data)) as reception:
            reception.write(data[:1_000_000])
            barrier.wait(timeout=30)
            reception.write(data[1_000_000:])
            answers.append(reception.commit())

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == [sha256(data)] * 8
    assert store.read_bytes(sha256(data)) == data
    assert len(files_below(store.root)) == 1


def test_what_interrupted_uploads_left_behind_is_swept(store: BlobStore) -> None:
    kept = store.put_bytes(b"kept")
    left = store.root / "partial" / "leftover"
    left.write_bytes(b"half a vol")
    assert store.sweep_partials(older_than_s=3600) == 0
    assert store.sweep_partials() == 1
    assert not left.exists()
    assert store.read_bytes(kept) == b"kept"


def test_a_removed_blob_is_gone_and_removing_it_again_is_no_error(store: BlobStore) -> None:
    name = store.put_bytes(b"x")
    store.remove(name)
    store.remove(name)
    assert not store.has(name)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_blobs_are_readable_by_their_owner_only(store: BlobStore) -> None:
    name = store.put_bytes(b"a patient's head")
    assert store.path(name).stat().st_mode & 0o077 == 0
    assert (store.root / "partial").stat().st_mode & 0o077 == 0


class FullDiskStore(BlobStore):
    """Writes its partial files to the kernel's own full disk."""

    def _open_partial(self) -> tuple[Path, int]:
        path, descriptor = super()._open_partial()
        os.close(descriptor)
        return path, os.open("/dev/full", os.O_WRONLY)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path: Path, size: int) -> None:
    store = FullDiskStore(tmp_path)
    with pytest.raises(StorageFull, match="no room left") as caught:
        store.put_bytes(b"x" * size)
    assert caught.value.status == 507
    assert caught.value.hint
    assert files_below(tmp_path) == []
