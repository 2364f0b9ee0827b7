"""Content encodings of an upload, undone piece by piece, so that a small body cannot fill the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from mahtai.errors import MahtaiError

ENCODINGS = ("identity", "gzip", "zstd")

_PIECE = 1 << 20
_ZSTD_INPUT = 2048
"""A block of 4 bytes can stand for 128 KiB, so this much input makes 64 MiB at most."""

_ZSTD_WINDOW = 1 << 27


class UnknownEncoding(MahtaiError):
    """A content encoding that the server does not undo."""

    kind = "unknown-encoding"
    title = "Unknown content encoding"
    status = 415


class DamagedEncoding(MahtaiError):
    """The body is not what its content encoding says."""

    kind = "damaged-encoding"
    title = "The compressed data are damaged"
    status = 422


class Decoder(Protocol):
    """Undoes one content encoding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of the next bytes of the body.

        Raises:
            DamagedEncoding: they do not fit.
        """

    def finish(self) -> None:
        """The body has ended.

        Raises:
            DamagedEncoding: too early.
        """


def decoder_for(encoding: str) -> Decoder:
    """The decoder of a ``Content-Encoding``; nothing or ``identity`` takes the bytes as they are.

    Raises:
        UnknownEncoding: naming those that there are.
    """
    name = encoding.strip().lower() or "identity"
    if name == "identity":
        return _Identity()
    if name == "gzip":
        return _Gzip()
    if name == "zstd":
        return _Zstd()
    raise UnknownEncoding(f"The content encoding {encoding[:50]!r} is not read here.", f"Use {', '.join(ENCODINGS)}.")


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Any end is a good one; the hash tells."""


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        full = False  # a full piece means that zlib may hold more, even with no input left
        try:
            while data or full:
                if self._stream.eof:  # another gzip member follows
                    self._stream = zlib.decompressobj(wbits=31)
                piece = self._stream.decompress(data, _PIECE)
                data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
                full = len(piece) == _PIECE and not self._stream.eof
                yield piece
        except zlib.error as error:
            raise _damaged("gzip") from error

    def finish(self) -> None:
        if not self._stream.eof:
            raise _damaged("gzip")


class _Zstd:
    def __init__(self) -> None:
        self._frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._stream = self._frames.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._stream.eof:
                    self._stream = self._frames.decompressobj()
                piece, data = data[:_ZSTD_INPUT], data[_ZSTD_INPUT:]
                yield self._stream.decompress(piece)
                if self._stream.eof:
                    data = self._stream.unused_data + data
        except zstandard.ZstdError as error:
            raise _damaged("zstd") from error

    def finish(self) -> None:
        if not self._stream.eof:
            raise _damaged("zstd")


def _damaged(name: str) -> DamagedEncoding:
    return DamagedEncoding(
        f"The {name} data are damaged or end too early. Nothing was stored.", "Send the volume again."
    )
