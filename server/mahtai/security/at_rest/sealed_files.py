"""Files that are encrypted where there is a key, and plain where there is none, read in the same way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import (
    HEADER_BYTES,
    MAGIC,
    Header,
    SealBroken,
    is_sealed,
    open_sealed,
    seal_bytes,
    sealed_key_id,
)
from mahtai.security.at_rest.keys import Keys, not_set


class BlobDamaged(MahtaiError):
    """What lies on the disk is not what was stored."""

    kind = "damaged-blob"
    title = "A stored file is damaged"
    status = 500


def blob_place(sha256: str) -> str:
    """Where a blob belongs."""
    return f"blob/{sha256}"


def work_place(path: Path) -> str:
    """Where a file of a running job belongs: ``path`` is in the job's own folder."""
    return f"work/{path.parent.name}/{path.name}"


def open_file(path: Path, place: str, keys: Keys | None) -> BinaryIO:
    """A file for reading: its plain bytes, seekable.

    Raises:
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    stream = path.open("rb")
    try:
        if not is_sealed(stream.read(len(MAGIC))):
            stream.seek(0)
            return stream
    except BaseException:
        stream.close()
        raise
    stream.close()
    if keys is None:
        raise not_set("What is stored here is")
    return open_sealed(path, keys.key, place)


def read_file(path: Path, place: str, keys: Keys | None) -> bytes:
    """All plain bytes of a file.

    Raises:
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    if keys is None:
        content = path.read_bytes()
        if is_sealed(content):
            raise not_set("What is stored here is")
        return content
    with open_file(path, place, keys) as stream:
        return stream.read()


def read_blob(path: Path, sha256: str, keys: Keys | None) -> bytes:
    """All plain bytes of a blob; they are hashed, so that they are those that were stored.

    Raises:
        BlobDamaged: they are not.
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    content = read_file(path, blob_place(sha256), keys)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BlobDamaged(
            "A file of this study is damaged on the server's disk. It was not used.",
            "Tell the person who runs the server: `mahtai doctor` names the damaged files.",
        )
    return content


def write_file(path: Path, data: bytes, place: str, keys: Keys | None) -> None:
    """Write a small file; neither synced nor whole at once."""
    if keys is not None:
        name, key = keys.current()
        data = seal_bytes(data, key, name, place)
    path.write_bytes(data)


def plain_size(path: Path) -> int:
    """Plain bytes of a file, as far as its length tells; reading it tells whether that is true.

    Raises:
        SealBroken: it begins as an encrypted file and is none.
    """
    with path.open("rb") as stream:
        beginning = stream.read(HEADER_BYTES)
        size = os.fstat(stream.fileno()).st_size
    return Header.parse(beginning).plain_size(size) if is_sealed(beginning) else size


def needed_keys(paths: list[Path]) -> set[str]:
    """Ids of the data keys that these files are encrypted under; a damaged file needs none, its reader says so."""
    found = set()
    for path in paths:
        try:
            found.add(sealed_key_id(path))
        except (SealBroken, OSError):
            continue
    return {name for name in found if name is not None}
