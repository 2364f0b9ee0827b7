"""The way of a volume into the server: decoded, hashed, checked, and only then kept and known."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from mahtai.cases.blob import BlobRecord
from mahtai.cases.blob_check import check_file
from mahtai.cases.decoding import Decoder, decoder_for
from mahtai.data_folder import require_room
from mahtai.db.blobs import add_blob, find_blob, find_blobs
from mahtai.db.engine import Database
from mahtai.errors import MahtaiError
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore, Reception, StoredBlob, UnknownBlob

_BLOBS = 0x4D616874_00000002
"""Key of the lock that keeps servers from removing a file that another one is just adding."""


class TooLarge(MahtaiError):
    """More bytes than the server takes for one volume."""

    kind = "too-large"
    title = "The volume is too large"
    status = 413


class Intake:
    """Receives volumes and label files. Safe to use from several threads."""

    def __init__(self, settings: Settings, database: Database, store: BlobStore) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._keeping = threading.Lock()

    def find(self, sha256: str) -> BlobRecord | None:
        """An accepted blob whose file is there."""
        if not self._store.has(sha256):
            return None
        with self._database.read() as session:
            return find_blob(session, sha256)

    def get(self, sha256: str) -> tuple[BlobRecord, StoredBlob]:
        """An accepted blob and its content.

        Raises:
            UnknownBlob: it is not here.
        """
        record = self.find(sha256)
        if record is None:
            raise UnknownBlob("The server has no volume with this hash.", "Upload it first.")
        return record, self._store.get(sha256)

    def missing(self, hashes: Iterable[str]) -> list[str]:
        """Those of ``hashes`` that would have to be uploaded, each once, in their order."""
        wanted = list(dict.fromkeys(hashes))
        with self._database.read() as session:
            known = find_blobs(session, wanted)
        return [sha256 for sha256 in wanted if sha256 not in known or not self._store.has(sha256)]

    def begin(self, sha256: str | None, encoding: str, announced_bytes: int | None) -> Upload:
        """Begin to take a blob.

        Args:
            sha256: of the decoded content; None where the client does not say.
            announced_bytes: length of the body, if the client says.

        Raises:
            InvalidHash, UnknownEncoding, TooLarge, StorageFull: before a byte is read.
        """
        self.check_size(announced_bytes or 0)
        decoder = decoder_for(encoding)
        require_room(self._settings.data_dir, self._settings.min_free_bytes + (announced_bytes or 0))
        return Upload(self, self._store.receive(sha256), decoder)

    def take_bytes(self, data: bytes) -> str:
        """Keep a file that the server itself made; its SHA-256.

        Raises:
            VolumeError, GeometryError, LandmarkFileError, StorageFull: and nothing is kept.
        """
        upload = self.begin(hashlib.sha256(data).hexdigest(), "identity", len(data))
        try:
            upload.write(data)
            return upload.finish()[0].sha256
        finally:
            upload.close()

    def discard_unknown(self, hashes: Iterable[str]) -> None:
        """Remove files that were stored for something which then could not be recorded."""
        wanted = list(hashes)
        with self._keeping, self._database.held(_BLOBS):
            with self._database.read() as session:
                known = find_blobs(session, wanted)
            for sha256 in wanted:
                if sha256 not in known:
                    self._store.remove(sha256)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """From the naming of a file to the commit of its row: no other server takes the file for one without a row."""
        with self._database.held(_BLOBS, shared=True):
            yield

    def check_size(self, count: int) -> None:
        """Refuse more than one volume may have.

        Raises:
            TooLarge: naming the limit.
        """
        limit = self._settings.max_upload_bytes
        if count > limit:
            raise TooLarge(
                f"The volume has more than {limit / 2**20:,.0f} MiB, which is the most that this server takes.",
                "Crop it first (Slicer: Crop Volume), or ask who runs the server to raise MAHTAI_MAX_UPLOAD_BYTES.",
            )

    def keep(self, reception: Reception, checked: BlobRecord) -> tuple[BlobRecord, bool]:
        """Name the file, then add the row; if the row cannot be written, the file does not stay either."""
        with self._keeping, self.adding():
            was_here = self.find(checked.sha256)
            if was_here is not None:
                return was_here, False
            reception.commit()
            record = replace(checked, bytes=self._store.size(checked.sha256))
            try:
                with self._database.write() as session:
                    is_new = add_blob(session, record)
            except MahtaiError:
                if self._database.is_sqlite:  # else another server may have added it just now
                    self._store.remove(checked.sha256)
                raise
            return record, is_new


class Upload:
    """One blob on its way in; without ``finish``, ``close`` leaves nothing of it behind."""

    def __init__(self, intake: Intake, reception: Reception, decoder: Decoder) -> None:
        self.reception = reception
        self._intake = intake
        self._decoder = decoder

    def close(self) -> None:
        """Drop what has come, unless it was kept; to be called in every case."""
        self.reception.discard()

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            DamagedEncoding, TooLarge, StorageFull: and nothing is kept.
        """
        for piece in self._decoder.feed(data):
            self._intake.check_size(self.reception.bytes_received + len(piece))
            self.reception.write(piece)

    def finish(self) -> tuple[BlobRecord, bool]:
        """The body has ended: check it, keep it.

        Returns:
            What is known of the blob, and whether it is new.

        Raises:
            HashMismatch, VolumeError, GeometryError, StorageFull: and nothing is kept.
        """
        received = self.received()
        return self._intake.keep(self.reception, check_file(received.read_bytes(), received.sha256))

    def received(self) -> StoredBlob:
        """The body has ended: its file, to be looked at; it is gone after ``close``.

        Raises:
            HashMismatch, DamagedEncoding, StorageFull: and nothing is kept.
        """
        self._decoder.finish()
        return self.reception.verify()
