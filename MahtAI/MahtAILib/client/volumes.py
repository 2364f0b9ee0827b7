"""Files to the server and back: only what is lacking travels, several at a time, and every hash is checked."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray

from MahtAILib.client import nrrd
from MahtAILib.client.background import Task, run_parallel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import CancelledError, DamagedTransferError, NotMahtAIError

AT_ONCE = 4
"""Uploads under way at the same time: the four sequences of a study."""

_PIECE_BYTES = 2**16
_LOCAL_PIECE_BYTES = 2**20
"""Each piece costs a round through Python with its lock held; on this computer none takes long."""

_FASTEST = 1
_GZIP = 31
_WORTH_COMPRESSING = 0.9

Bytes = bytes | memoryview

OnBytes = Callable[[int], None]
"""Called with the bytes that are there."""

OnSent = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes of all volumes, uncompressed."""


class Blob:
    """A file in memory and its identity.

    Attributes:
        pieces: the file in parts that need not be put together; for a volume an uncompressed NRRD, for a
            segmentation a ``.seg.nrrd``.
        sha256: of the whole, 64 hexadecimal digits.
    """

    def __init__(self, data: Bytes | Sequence[Bytes], sha256: str = "") -> None:
        self.pieces: tuple[Bytes, ...] = (data,) if isinstance(data, bytes | memoryview) else tuple(data)
        self.sha256 = sha256 or _sha256(self.pieces)

    def __len__(self) -> int:
        """Its size in bytes."""
        return sum(len(piece) for piece in self.pieces)

    @property
    def data(self) -> bytes:
        """The whole file; a copy where it is in several pieces."""
        only = self.pieces[0] if len(self.pieces) == 1 else None
        return only if isinstance(only, bytes) else b"".join(self.pieces)


@dataclass(frozen=True)
class Upload:
    """What an upload came to.

    Attributes:
        sent: SHA-256 of the files that travelled; the others were there already.
        wire_bytes: size of what travelled, as it travelled.
    """

    sent: tuple[str, ...] = ()
    wire_bytes: int = 0


def pack(array: NDArray[Any], ijk_to_ras: ArrayLike) -> Blob:
    """A volume as the NRRD file whose SHA-256 is the volume's identity on every server; its voxels are not copied.

    Args:
        array: [i, j, k], not to be changed while the file is in use.
        ijk_to_ras: 4×4, voxel index → RAS in mm.

    Raises:
        NrrdError: the array or the matrix cannot be written.
    """
    return Blob(nrrd.encode_raw(array, ijk_to_ras))


def missing(connection: Connection, sha256: Iterable[str], task: Task | None = None) -> set[str]:
    """Which of these files the server does not have, in one round trip."""
    asked = sorted(set(sha256))
    answer = connection.json("POST", "/v1/volumes/missing", {"sha256": asked}, retry=True, task=task)
    try:
        return set(answer["missing"]) & set(asked)
    except (TypeError, KeyError) as error:
        raise NotMahtAIError("The server's answer about missing volumes cannot be understood.") from error


def upload(
    connection: Connection, blobs: Sequence[Blob], on_sent: OnSent | None = None, task: Task | None = None
) -> Upload:
    """Send those files that the server lacks, and no others.

    Args:
        connection: to the server.
        blobs: the files; the same one given twice is sent once.
        on_sent: progress.
        task: stops the upload between two pieces when it is stopped.

    Raises:
        CancelledError: ``task`` was stopped.
        RequestRefusedError: the server cannot use a file; its reason says why.
        ClientError: it could not be reached, or failed.
    """
    task = task or Task()
    lacking = missing(connection, (blob.sha256 for blob in blobs), task)
    wanted = list({blob.sha256: blob for blob in blobs if blob.sha256 in lacking}.values())
    tally = _Tally({blob.sha256: len(blob) for blob in wanted}, on_sent)

    def sender(blob: Blob) -> Callable[[threading.Event], int]:
        return lambda failed: _send(connection, blob, tally, task, failed)

    wire_bytes = run_parallel([sender(blob) for blob in wanted], AT_ONCE)
    return Upload(tuple(blob.sha256 for blob in wanted), sum(wire_bytes))


def fetch(
    connection: Connection,
    path: str,
    sha256: str,
    max_bytes: int,
    on_bytes: OnBytes | None = None,
    task: Task | None = None,
) -> bytes:
    """Download a file of known hash; fetched once more if it arrives damaged.

    Raises:
        NotMahtAIError: it goes on after ``max_bytes``.
        DamagedTransferError: it was damaged both times.
    """
    for _ in range(2):
        data = connection.download(path, max_bytes, on_bytes, task)
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    raise DamagedTransferError(
        "The file that arrived is not the one that the server sent (its hash differs). Nothing was lost.",
        "Try again. If it stays so, a proxy or scanner on the network changes what passes through it.",
    )


def _send(connection: Connection, blob: Blob, tally: _Tally, task: Task, failed: threading.Event) -> int:
    """Put one file; its size on the wire."""
    wire = blob.pieces if connection.is_local else _compressed(blob.pieces)
    size = sum(map(len, wire))
    headers = {"Content-Type": "application/octet-stream"}
    if wire is not blob.pieces:
        headers["Content-Encoding"] = "gzip"

    def on_piece(sent: int) -> None:
        task.check()
        if failed.is_set():
            raise CancelledError()
        tally.set(blob.sha256, sent / max(size, 1))

    piece_bytes = _LOCAL_PIECE_BYTES if connection.is_local else _PIECE_BYTES
    connection.put(f"/v1/volumes/{blob.sha256}", _Body(wire, piece_bytes, on_piece), headers, task)
    return size


def _sha256(pieces: Iterable[Bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _compressed(pieces: tuple[Bytes, ...]) -> tuple[Bytes, ...]:
    """gzip of all pieces together, or the pieces themselves where that saves next to nothing."""
    packer = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP)
    packed = tuple(filter(None, [*(packer.compress(piece) for piece in pieces), packer.flush()]))
    return packed if sum(map(len, packed)) < _WORTH_COMPRESSING * sum(map(len, pieces)) else pieces


class _Body:
    """A request body in small pieces, so that progress shows and a cancel takes effect between two."""

    def __init__(self, pieces: Sequence[Bytes], piece_bytes: int, on_piece: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._piece_bytes = piece_bytes
        self._on_piece = on_piece

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def __iter__(self) -> Iterator[memoryview]:
        sent = 0
        for piece in self._pieces:
            view = memoryview(piece)
            for start in range(0, len(view), self._piece_bytes):
                self._on_piece(sent)
                part = view[start : start + self._piece_bytes]
                yield part
                sent += len(part)
        self._on_piece(sent)


class _Tally:
    """How much of several files has been sent, from several threads."""

    def __init__(self, sizes: dict[str, int], on_sent: OnSent | None) -> None:
        self._sizes = sizes
        self._fractions = dict.fromkeys(sizes, 0.0)
        self._total = sum(sizes.values())
        self._percent_told = -1
        self._on_sent = on_sent
        self._lock = threading.Lock()

    def set(self, sha256: str, fraction: float) -> None:
        """Note how much of one file is sent; tell at each whole percent of all."""
        with self._lock:
            self._fractions[sha256] = fraction
            done = round(sum(size * self._fractions[name] for name, size in self._sizes.items()))
            percent = 100 * done // max(self._total, 1)
            if self._on_sent is not None and percent != self._percent_told:
                self._percent_told = percent
                self._on_sent(done, self._total)
