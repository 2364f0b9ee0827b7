"""An encrypted file: AES-256-GCM in chunks, so that it can be written and read piece by piece and from any position.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015), with a key of its own for every file (HKDF-SHA256, RFC 5869) as in Tink's streaming
AEAD::

    header   magic (8 bytes) · version (1) · log2 of the chunk size (1) · key id (16, ASCII) · salt (32) · prefix (7)
    chunks   each of 1 MiB of plain bytes, encrypted, and its tag (16); only the last one may be shorter
    key      HKDF(data key, salt, info = "mahtai at rest 1")
    nonce    prefix (7) · number of the chunk (4, big-endian) · 1 for the last chunk, else 0

The header is associated data of every chunk, and ``place`` (such as ``blob/SHA256``) that of the last one, which every
reader looks at first: a file cannot be changed, cut off, lengthened, put together of others, or passed for another one
without being found out.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mahtai.errors import MahtaiError

MAGIC = b"MAHTAI\x00E"
"""How an encrypted file begins; nothing that MahtAI stores begins so by itself."""

KEY_BYTES = 32

KeyOf = Callable[[str], bytes]
"""Key id → data key; a ``MahtaiError`` where there is none of that id."""

_HEADER = struct.Struct(">8sBB16s32s7s")
_VERSION = 1
_CHUNK_LOG2 = 20
_LARGEST_CHUNK_LOG2 = 26
_TAG = 16
_INFO = b"mahtai at rest 1"

HEADER_BYTES = _HEADER.size


class SealBroken(MahtaiError):
    """An encrypted file is not what was written: changed, cut off, of another place, or under another key."""

    kind = "damaged-at-rest"
    title = "Stored data are damaged"
    status = 500


@dataclass(frozen=True)
class Header:
    """How an encrypted file begins.

    Attributes:
        key_id: of the data key, up to 16 ASCII characters.
        chunk: plain bytes of a full chunk.
        raw: all of it, as it lies on the disk.
    """

    key_id: str
    chunk: int
    raw: bytes

    @classmethod
    def new(cls, key_id: str) -> Header:
        """For a file that is about to be written."""
        name = key_id.encode("ascii")
        if not 0 < len(name) <= 16:
            raise ValueError("a key id has 1 to 16 characters")
        raw = _HEADER.pack(MAGIC, _VERSION, _CHUNK_LOG2, name, os.urandom(32), os.urandom(7))
        return cls(key_id, 1 << _CHUNK_LOG2, raw)

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """From the first ``HEADER_BYTES`` of a file.

        Raises:
            SealBroken: they are no header.
        """
        if len(raw) != _HEADER.size or not raw.startswith(MAGIC):
            raise _broken("does not begin as an encrypted file does")
        _, version, log2, name, _, _ = _HEADER.unpack(raw)
        if version != _VERSION or not 10 <= log2 <= _LARGEST_CHUNK_LOG2:
            raise _broken("is of a form that is not known here")
        try:
            return cls(name.rstrip(b"\0").decode("ascii"), 1 << log2, raw)
        except UnicodeDecodeError as error:
            raise _broken("has a damaged beginning") from error

    def plain_size(self, file_size: int) -> int:
        """Plain bytes of an encrypted file of ``file_size`` bytes.

        Raises:
            SealBroken: no encrypted file has that size.
        """
        full, rest = divmod(file_size - _HEADER.size, self.chunk + _TAG)
        # the last chunk is empty only where it is the only one
        if full < 0 or (0 < rest < _TAG) or (rest == _TAG and full) or (not full and not rest):
            raise _broken("is cut off")
        return full * self.chunk + (rest - _TAG if rest else 0)


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins so is encrypted."""
    return beginning.startswith(MAGIC)


def sealed_key_id(path: str | os.PathLike[str]) -> str | None:
    """Id of the data key of a file; None where it is plain.

    Raises:
        SealBroken: it begins as an encrypted file and does not go on as one.
    """
    with open(path, "rb") as stream:
        raw = stream.read(_HEADER.size)
    return Header.parse(raw).key_id if is_sealed(raw) else None


class SealingWriter(io.RawIOBase):
    """Encrypts what is written to it. Used as a context manager, an exception leaves the file without an end, which
    no reader accepts. The sink is neither synced nor closed.

    Args:
        sink: takes the encrypted bytes, from its position on; need not be seekable.
        key: data key, 32 bytes.
        key_id: by which the reader finds the key again.
        place: where the file belongs, such as ``blob/SHA256``; the reader has to name the same. It may be set as late
            as before the end, where it follows from the content.
    """

    def __init__(self, sink: BinaryIO, key: bytes, key_id: str, place: str | None = None) -> None:
        super().__init__()
        self.place = place
        self._sink = sink
        self._header = Header.new(key_id)
        self._chunks = _Chunks(self._header, key)
        self._waiting = memoryview(bytearray(self._header.chunk))
        self._filled = 0
        self._number = 0
        sink.write(self._header.raw)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Take the next plain bytes; all of them."""
        view = memoryview(data).cast("B")
        taken = 0
        # a chunk is written when more follows, because the last one is marked as such
        while taken < len(view):
            if self._filled == self._header.chunk:
                self._put(self._waiting, None)
                self._filled = 0
            piece = view[taken : taken + self._header.chunk - self._filled]
            taken += len(piece)
            if len(piece) == self._header.chunk and taken < len(view):
                self._put(piece, None)  # a full one that is not the last: without a copy
                continue
            self._waiting[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
        return len(view)

    def close(self) -> None:
        """Write the last chunk; without it nobody takes the file for a whole one."""
        if not self.closed:
            if self.place is None:
                raise ValueError("an encrypted file wants a place")
            try:
                self._put(self._waiting[: self._filled], self.place)
            finally:
                super().close()

    def abandon(self) -> None:
        """End without the last chunk."""
        super().close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        # a forgotten writer must not make a whole file of a half one
        self.abandon()

    def _put(self, plain: memoryview, place: str | None) -> None:
        self._sink.write(self._chunks.seal(self._number, place, plain))
        self._number += 1


class UnsealingReader(io.RawIOBase):
    """The plain bytes of an encrypted file; seekable. The length is proven when it is opened, every byte when it is
    read: nothing is handed out that was not written so. ``open_sealed`` puts a buffer in front of it.

    Args:
        source: a file, seekable; closed with the reader.
        key_of: finds the data key by its id.
        place: as it was written with.

    Raises:
        SealBroken: here and while reading.
    """

    def __init__(self, source: BinaryIO, key_of: KeyOf, place: str) -> None:
        super().__init__()
        self._source = source
        self._position = 0
        source.seek(0)
        self.header = Header.parse(source.read(_HEADER.size))
        self.size = self.header.plain_size(source.seek(0, io.SEEK_END))
        self._last = max(0, -(-self.size // self.header.chunk) - 1)
        self._chunks = _Chunks(self.header, key_of(self.header.key_id))
        self._place = place
        self._loaded = -1
        self._plain = b""
        self._load(self._last)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position among the plain bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position among the plain bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Plain bytes from the position on, up to the end of a chunk."""
        view = memoryview(buffer).cast("B")
        if self._position >= self.size or not view:
            return 0
        number, start = divmod(self._position, self.header.chunk)
        self._load(number)
        piece = memoryview(self._plain)[start : start + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """All plain bytes from the position on."""
        pieces = []
        while self._position < self.size:
            number, start = divmod(self._position, self.header.chunk)
            self._load(number)
            pieces.append(self._plain[start:] if start else self._plain)
            self._position += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the file, too."""
        if not self.closed:
            self._source.close()
        super().close()

    def _load(self, number: int) -> None:
        if number == self._loaded:
            return
        self._source.seek(_HEADER.size + number * (self.header.chunk + _TAG))
        sealed = self._source.read(self.header.chunk + _TAG)
        plain = self._chunks.unseal(number, self._place if number == self._last else None, sealed)
        if len(plain) != min(self.header.chunk, self.size - number * self.header.chunk):
            raise _broken("was changed while it was read")
        self._plain, self._loaded = plain, number


def open_sealed(path: str | os.PathLike[str], key_of: KeyOf, place: str) -> BinaryIO:
    """An encrypted file for reading: plain bytes, buffered, seekable.

    Raises:
        SealBroken: it is not what was written at ``place``.
    """
    source = open(path, "rb", buffering=0)  # noqa: SIM115 closed with the reader
    try:
        reader = UnsealingReader(cast(BinaryIO, source), key_of, place)
    except BaseException:
        source.close()
        raise
    return io.BufferedReader(reader, 1 << 16)


def seal_stream(source: BinaryIO, sink: BinaryIO, key: bytes, key_id: str, place: str) -> None:
    """Encrypt all that ``source`` has to give; neither is closed."""
    with SealingWriter(sink, key, key_id, place) as writer:
        shutil.copyfileobj(source, writer, 1 << _CHUNK_LOG2)


def seal_bytes(data: bytes, key: bytes, key_id: str, place: str) -> bytes:
    """The encrypted file of a few bytes."""
    sink = io.BytesIO()
    seal_stream(io.BytesIO(data), sink, key, key_id, place)
    return sink.getvalue()


def unseal_bytes(sealed: bytes, key_of: KeyOf, place: str) -> bytes:
    """The plain bytes of what ``seal_bytes`` made.

    Raises:
        SealBroken: it is not what was written at ``place``.
    """
    return UnsealingReader(io.BytesIO(sealed), key_of, place).readall()


class _Chunks:
    """Encrypts and decrypts the chunks of one file; only the last one has a ``place``."""

    def __init__(self, header: Header, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        *_, salt, self._prefix = _HEADER.unpack(header.raw)
        self._cipher = AESGCM(HKDF(SHA256(), KEY_BYTES, salt, _INFO).derive(key))
        self._header = header.raw

    def seal(self, number: int, place: str | None, plain: memoryview) -> bytes:
        return self._cipher.encrypt(self._nonce(number, place), plain, self._bound(place))

    def unseal(self, number: int, place: str | None, sealed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(number, place), sealed, self._bound(place))
        except InvalidTag as error:
            raise _broken("was changed, or belongs elsewhere") from error

    def _nonce(self, number: int, place: str | None) -> bytes:
        return self._prefix + struct.pack(">IB", number, place is not None)

    def _bound(self, place: str | None) -> bytes:
        return self._header if place is None else self._header + place.encode("utf-8")


def _broken(what: str) -> SealBroken:
    return SealBroken(
        f"A file that the server had encrypted {what}. Its content is not used; nothing else is affected.",
        "Run `mahtai doctor` on the server, and restore the file from a backup.",
    )
