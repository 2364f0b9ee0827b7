"""The content-addressed store: a blob's name is the SHA-256 of its bytes, and it never changes.

A blob appears whole or not at all: bytes go to a partial file on the same file system, are hashed
on the way and synced, and only then get their name. Nothing that a client says becomes part of a
path except 64 hexadecimal digits. Where the server has a key, what lies on the disk is encrypted from
the first byte on; a blob's name stays the hash of its plain bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import SealingWriter, sealed_key_id
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.sealed_files import blob_place
from mahtai.volumes.durable import StorageFull, full_disk_named, sync_folder
from mahtai.volumes.stored_blob import StoredBlob

__all__ = [
    "BlobStore",
    "HashMismatch",
    "InvalidHash",
    "Reception",
    "StorageFull",
    "StoredBlob",
    "UnknownBlob",
    "full_disk_named",
]

PARTIAL_FOLDER = "partial"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class InvalidHash(MahtaiError):
    """What should be a SHA-256 is none."""

    kind = "invalid-hash"
    title = "Not a SHA-256"
    status = 422


class HashMismatch(MahtaiError):
    """The bytes that came are not those that were announced."""

    kind = "hash-mismatch"
    title = "The data were changed on the way"
    status = 422


class UnknownBlob(MahtaiError):
    """Nothing is stored under this hash."""

    kind = "unknown-blob"
    title = "Not on this server"
    status = 404


class BlobStore:
    """Blobs below one folder. Safe to use from several threads and processes.

    Args:
        root: made if it is not there; readable by its owner only.
        keys: that new blobs are encrypted with; None leaves them plain.
    """

    def __init__(self, root: Path, keys: Keys | None = None) -> None:
        self.root = root
        self.keys = keys
        with full_disk_named():
            (root / PARTIAL_FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)

    def receive(self, expected_sha256: str | None = None) -> Reception:
        """Begin to store a blob whose hash is announced (or not known yet).

        Raises:
            InvalidHash: the announced hash is none.
            StorageFull: no file can be made.
        """
        if expected_sha256 is not None:
            _check_sha256(expected_sha256)
        return Reception(self, expected_sha256)

    def put_bytes(self, data: bytes | memoryview) -> str:
        """Store bytes at hand and return their SHA-256."""
        with self.receive() as reception:
            reception.write(data)
            return reception.commit()

    def put_file(self, path: Path) -> str:
        """Store a copy of a file and return its SHA-256."""
        with self.receive() as reception, path.open("rb") as stream:
            while block := stream.read(1 << 20):
                reception.write(block)
            return reception.commit()

    def has(self, sha256: str) -> bool:
        """Whether the blob is here."""
        return self._place(sha256).is_file()

    def get(self, sha256: str) -> StoredBlob:
        """A blob.

        Raises:
            UnknownBlob: it is not here.
        """
        place = self._place(sha256)
        if not place.is_file():
            raise UnknownBlob(f"The server has no data with the hash {sha256}.", "Upload them again.")
        return StoredBlob(sha256, place, self.keys)

    def path(self, sha256: str) -> Path:
        """Where the blob lies, encrypted or not; its content is read through ``get``.

        Raises:
            UnknownBlob: it is not here.
        """
        return self.get(sha256).path

    def size(self, sha256: str) -> int:
        """Plain bytes of the blob."""
        return self.get(sha256).size

    def open(self, sha256: str) -> BinaryIO:
        """The blob for reading."""
        return self.get(sha256).open()

    def read_bytes(self, sha256: str) -> bytes:
        """The whole blob."""
        return self.get(sha256).read_bytes()

    def all(self) -> Iterator[str]:
        """SHA-256 of every blob, in order; what comes or goes meanwhile may be missing."""
        for first in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            for second in sorted(first.glob("[0-9a-f][0-9a-f]")):
                yield from sorted(file.name for file in second.iterdir() if _SHA256.fullmatch(file.name))

    def key_id(self, sha256: str) -> str | None:
        """Id of the data key that a blob is encrypted under; None where it is plain.

        Raises:
            UnknownBlob: it is not here. SealBroken: it is damaged.
        """
        return sealed_key_id(self.path(sha256))

    def reseal(self, sha256: str) -> None:
        """Encrypt a blob under the current data key; whoever reads it meanwhile goes on with what they opened.

        Raises:
            UnknownBlob: it is gone. SealBroken, UnknownDataKey: it cannot be read, and stays as it is.
            HashMismatch: it is not what its name says, and stays as it is. StorageFull: nothing was changed.
        """
        with self.receive(sha256) as reception, self.open(sha256) as stream:
            while block := stream.read(1 << 20):
                reception.write(block)
            if self.has(sha256):  # unless somebody has removed it meanwhile
                stream.close()  # Windows replaces no file that is open
                reception.commit()

    def remove(self, sha256: str) -> None:
        """Forget a blob; nothing happens if it is not here."""
        self._place(sha256).unlink(missing_ok=True)

    def sweep_partials(self, older_than_s: float = 0.0) -> int:
        """Remove what interrupted uploads left behind; to be called when a server starts.

        Returns:
            How many there were.
        """
        swept = 0
        for partial in (self.root / PARTIAL_FOLDER).iterdir():
            # one that a live upload still holds open cannot be removed on Windows
            with suppress(OSError):
                if time.time() - partial.stat().st_mtime >= older_than_s:
                    partial.unlink()
                    swept += 1
        return swept

    def _place(self, sha256: str) -> Path:
        _check_sha256(sha256)
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def _open_partial(self) -> tuple[Path, int]:
        path = self.root / PARTIAL_FOLDER / secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return path, os.open(path, flags, 0o600)


class Reception:
    """One blob on its way in: a context manager; leaving it without ``commit`` leaves nothing behind."""

    def __init__(self, store: BlobStore, expected_sha256: str | None) -> None:
        self.bytes_received = 0
        self._store = store
        self._expected = expected_sha256
        self._digest = hashlib.sha256()
        with full_disk_named():
            self._path, descriptor = store._open_partial()
        self._stream = os.fdopen(descriptor, "wb", buffering=1 << 18)
        self._sealing: SealingWriter | None = None
        self._keys = store.keys
        if self._keys is not None:
            key_id, key = self._keys.current()
            self._sealing = SealingWriter(self._stream, key, key_id)

    def __enter__(self) -> Reception:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises:
            StorageFull: and nothing of the blob is kept.
        """
        try:
            with full_disk_named():
                (self._sealing or self._stream).write(data)
        except StorageFull:
            self.discard()
            raise
        self._digest.update(data)
        self.bytes_received += len(data)

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._digest.hexdigest()

    def verify(self) -> StoredBlob:
        """Close the partial file and check the hash, so that the content can be looked at before it is kept.

        Returns:
            The partial file, which ``commit`` will name.

        Raises:
            HashMismatch, StorageFull: and nothing of the blob is kept.
        """
        try:
            with full_disk_named():
                if not self._stream.closed:
                    if self._sealing is not None:
                        self._sealing.place = blob_place(self._digest.hexdigest())
                        self._sealing.close()
                    self._stream.flush()
                    os.fsync(self._stream.fileno())
                    self._stream.close()
            received = self._digest.hexdigest()
            if self._expected not in (None, received):
                raise HashMismatch(
                    f"The data that came ({self.bytes_received:,} bytes, SHA-256 {received[:12]}…) are not those "
                    f"that were announced ({str(self._expected)[:12]}…). Nothing was stored.",
                    "Send the volume again; if it happens again, the connection changes data.",
                )
        except MahtaiError:
            self.discard()
            raise
        return StoredBlob(self._digest.hexdigest(), self._path, self._keys)

    def commit(self) -> str:
        """Give the blob its name; from now on it is there, even after a power failure.

        Returns:
            Its SHA-256.

        Raises:
            HashMismatch, StorageFull: and nothing of the blob is kept.
        """
        self.verify()
        sha256 = self._digest.hexdigest()
        place = self._store._place(sha256)
        try:
            with full_disk_named():
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _name(self._path, place)
                for folder in (place.parent, place.parent.parent, self._store.root):
                    sync_folder(folder)
        finally:
            self.discard()
        return sha256

    def discard(self) -> None:
        """Drop what has come so far; nothing happens after ``commit``."""
        if self._sealing is not None:
            self._sealing.abandon()
        # closing flushes what is buffered, which fails again where the disk is full
        with suppress(OSError):
            self._stream.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _name(partial: Path, place: Path) -> None:
    try:
        os.replace(partial, place)
    except PermissionError:
        # Windows: somebody reads the same blob at this moment, so it is here already
        if not place.is_file():
            raise


def _check_sha256(text: str) -> None:
    if not isinstance(text, str) or _SHA256.fullmatch(text) is None:
        raise InvalidHash(
            f"{str(text)[:80]!r} is not a SHA-256.", "It is written as 64 hexadecimal digits in lower case."
        )
