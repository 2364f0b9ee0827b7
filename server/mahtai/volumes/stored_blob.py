"""A blob that is in the store, for those who read it: encrypted or not makes no difference to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mahtai.security.at_rest.envelope import MAGIC, is_sealed
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.sealed_files import blob_place, open_file, plain_size, read_blob


@dataclass(frozen=True)
class StoredBlob:
    """A blob that is here.

    Attributes:
        path: where it lies, encrypted or not; never to be written to.
        keys: of the server; None where it has none.
    """

    sha256: str
    path: Path
    keys: Keys | None = None

    @property
    def size(self) -> int:
        """Plain bytes."""
        return plain_size(self.path)

    @property
    def plain_path(self) -> Path | None:
        """Where the plain bytes can be read without this class; None where nothing is said of that."""
        if self.keys is not None:
            return None  # it may be encrypted in the next moment
        with self.path.open("rb") as stream:
            return None if is_sealed(stream.read(len(MAGIC))) else self.path

    def open(self) -> BinaryIO:
        """For reading: plain bytes, seekable.

        Raises:
            SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
        """
        return open_file(self.path, blob_place(self.sha256), self.keys)

    def read_bytes(self) -> bytes:
        """All of it, as it was stored.

        Raises:
            BlobDamaged: it is not what was stored.
            SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
        """
        return read_blob(self.path, self.sha256, self.keys)
