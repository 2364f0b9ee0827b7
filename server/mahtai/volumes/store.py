"""The content-addressed store: a blob's name is the SHA-256 of its bytes, and it never changes.

A blob appears whole or not at all: bytes go to a partial file on the same file system, are hashed
on the way and synced, and only then get their name. Nothing that a client says becomes part of a
path except 64 hexadecimal digits.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mahtai.errors import MahtaiError

PARTIAL_FOLDER = "partial"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


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


class StorageFull(MahtaiError):
    """No room is left for more data."""

    kind = "storage-full"
    title = "The server's disk is full"
    status = 507


class BlobStore:
    """Blobs below one folder. Safe to use from several threads and processes.

    Args:
        root: made if it is not there; readable by its owner only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
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

    def path(self, sha256: str) -> Path:
        """Where the blob lies; read it, never write to it.

        Raises:
            UnknownBlob: it is not here.
        """
        place = self._place(sha256)
        if not place.is_file():
            raise UnknownBlob(f"The server has no data with the hash {sha256}.", "Upload them again.")
        return place

    def size(self, sha256: str) -> int:
        """Bytes of the blob."""
        return self.path(sha256).stat().st_size

    def open(self, sha256: str) -> BinaryIO:
        """The blob for reading."""
        return self.path(sha256).open("rb")

    def read_bytes(self, sha256: str) -> bytes:
        """The whole blob."""
        return self.path(sha256).read_bytes()

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
                self._stream.write(data)
        except StorageFull:
            self.discard()
            raise
        self._digest.update(data)
        self.bytes_received += len(data)

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._digest.hexdigest()

    def verify(self) -> Path:
        """Close the partial file and check the hash, so that the content can be looked at before it is kept.

        Returns:
            Path of the partial file, which ``commit`` will name.

        Raises:
            HashMismatch, StorageFull: and nothing of the blob is kept.
        """
        try:
            with full_disk_named():
                if not self._stream.closed:
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
        return self._path

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
                    _sync_folder(folder)
        finally:
            self.discard()
        return sha256

    def discard(self) -> None:
        """Drop what has come so far; nothing happens after ``commit``."""
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


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn the operating system's "no space left" into ``StorageFull``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFull(
            "The server has no room left on its disk. What was being stored was not kept; all else is safe.",
            "Free some space there (or ask who looks after the server), then try again.",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power failure; Windows does so by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
