"""Files to the server and back: only what is lacking travels, several at a time, and every hash is checked."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import ArrayLike, NDArray

from MahtAILib.client import nrrd
from MahtAILib.client.background import Task, run_parallel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import CancelledError, DamagedTransferError, NotMahtAIError

AT_ONCE = 4
"""Uploads under way at the same time: the four sequences of a study."""

_PIECE_BYTES = 2**16
_FASTEST = 1
_WORTH_COMPRESSING = 0.9

OnBytes = Callable[[int], None]
"""Called with the bytes that are there."""

OnSent = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes of all volumes, uncompressed."""


@dataclass(frozen=True, eq=False)
class Blob:
    """A file in memory and its identity.

    Attributes:
        data: the file; for a volume an uncompressed NRRD, for a segmentation a ``.seg.nrrd``.
        sha256: of ``data``, 64 hexadecimal digits.
    """

    data: bytes
    sha256: str = field(default="")

    def __post_init__(self) -> None:
        if not self.sha256:
            object.__setattr__(self, "sha256", hashlib.sha256(self.data).hexdigest())


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
    """A volume as the NRRD file whose SHA-256 is the volume's identity on every server.

    Args:
        array: [i, j, k].
        ijk_to_ras: 4×4, voxel index → RAS in mm.

    Raises:
        NrrdError: the array or the matrix cannot be written.
    """
    return Blob(nrrd.encode(array, ijk_to_ras))


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
    tally = _Tally({blob.sha256: len(blob.data) for blob in wanted}, on_sent)

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
    wire = blob.data if connection.is_local else _compressed(blob.data)
    headers = {"Content-Type": "application/octet-stream"}
    if wire is not blob.data:
        headers["Content-Encoding"] = "gzip"

    def on_piece(sent: int) -> None:
        task.check()
        if failed.is_set():
            raise CancelledError()
        tally.set(blob.sha256, sent / len(wire))

    connection.put(f"/v1/volumes/{blob.sha256}", _Pieces(wire, on_piece), headers, task)
    return len(wire)


def _compressed(data: bytes) -> bytes:
    """gzip of ``data``, or ``data`` itself where that saves next to nothing."""
    packed = gzip.compress(data, _FASTEST, mtime=0)
    return packed if len(packed) < _WORTH_COMPRESSING * len(data) else data


class _Pieces:
    """A request body in small pieces, so that progress shows and a cancel takes effect between two."""

    def __init__(self, data: bytes, on_piece: Callable[[int], None]) -> None:
        self._data = memoryview(data)
        self._on_piece = on_piece

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._data), _PIECE_BYTES):
            self._on_piece(start)
            yield self._data[start : start + _PIECE_BYTES]
        self._on_piece(len(self._data))


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
