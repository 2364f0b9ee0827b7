"""Writes the record: one thread, and all entries that wait go to the disk together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, Full, Queue

from sqlalchemy import select
from sqlalchemy.orm import Session

from mahtai.db.engine import Database
from mahtai.db.trust_tables import AuditRow
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keys import Keys
from mahtai.security.audit.chain import BEGINNING, Link, append, end_of
from mahtai.security.audit.checkpoints import ANCHOR_FILE, AnchorBroken, Anchors, Checkpoint, add_checkpoint
from mahtai.security.audit.event import AuditEvent, cleaned
from mahtai.security.audit.reading import Entry, Wanted, newest_first
from mahtai.security.audit.signing import SigningKey, open_signing_key

CHECKPOINT_EVENTS = 100
CHECKPOINT_S = 60.0
MOST_AT_ONCE = 100
"""Entries in one transaction at most: with ``CHECKPOINT_EVENTS`` no more than 199 lie between two checkpoints."""

MOST_WAITING = 20_000

CHANGED = "record changed"
"""What an entry says (``what``) if the server found that the record is not the one that it wrote."""

_log = logging.getLogger("mahtai.audit")

_Waiting = tuple[AuditEvent, "Future[None]"]


class RecordClosed(MahtaiError):
    """Entries come faster than the database takes them, or the record is closed."""

    kind = "audit"
    title = "The server cannot keep its record"
    status = 503

    def __init__(self) -> None:
        super().__init__("The server cannot put more on record at the moment.", "Try again in a few seconds.")


class AuditTrail:
    """The record of a server; several servers and commands may add to the same one.

    Args:
        config_dir: gets the public key and the anchor.
        secrets_dir: gets the key that signs.
        keys: of data at rest; None where there are none.
    """

    def __init__(
        self, database: Database, config_dir: Path, secrets_dir: Path, server_name: str, keys: Keys | None = None
    ) -> None:
        self.database = database
        self._config_dir = config_dir
        self._secrets_dir = secrets_dir
        self._server_name = server_name
        self._keys = keys
        self._anchors = Anchors(config_dir / ANCHOR_FILE)
        self._waiting: Queue[_Waiting | None] = Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._closing = threading.Lock()
        self._key: SigningKey | None = None
        self._end = BEGINNING
        self._signed = 0
        self._signed_at = time.monotonic()

    def start(self) -> None:
        """Take up the record where it ended, and sign that.

        Raises:
            MahtaiError: the key or the database cannot be used.
        """
        doubts = self._doubts()
        has_record = self._end.number > 0
        self._key = open_signing_key(self._secrets_dir, self._config_dir, self._keys, has_record)
        self._commit([cleaned(event) for event in doubts], sign=True)
        self._thread = threading.Thread(target=self._write_on, name="audit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, sign the end, and take no more."""
        with self._closing:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def record(self, event: AuditEvent) -> Future[None]:
        """Add an entry. The future is done as soon as it is on the disk; it has a ``MahtaiError`` if it is not."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # what was done stays on record though nobody waits for it any more
        with self._closing:
            try:
                if self._thread is None:
                    raise RecordClosed
                self._waiting.put_nowait((cleaned(event), future))
            except (Full, RecordClosed):
                future.set_exception(RecordClosed())
        return future

    def record_now(self, event: AuditEvent) -> None:
        """Add an entry and wait until it is on the disk.

        Raises:
            MahtaiError: it is not.
        """
        self.record(event).result()

    def page(self, wanted: Wanted, limit: int) -> list[Entry]:
        """Entries, the newest first; see ``reading.newest_first``."""
        return newest_first(self.database, wanted, limit)

    def _doubts(self) -> list[AuditEvent]:
        """Entries about what is not as this server's settings folder remembers it; also finds the end."""
        data = str(self._secrets_dir)
        try:
            anchor = self._anchors.of(data)
        except AnchorBroken as error:  # it stays as evidence, and verify tells of it
            _log.error("%s %s", error.reason, error.hint)
            anchor = None
        with self.database.read() as session:
            self._end = end_of(session)
            at_anchor = None if anchor is None else _sha256_of(session, anchor.number)
        if anchor is None:
            return [_alert("no anchor", self._end.number)] if self._end.number else []
        if anchor.number > self._end.number:
            _log.error("the record ends at %d, and %d was signed: it was cut", self._end.number, anchor.number)
            # the numbers that are missing stay missing
            self._end = Link(anchor.number, anchor.sha256)
            return [_alert(CHANGED, anchor.number)]
        if at_anchor != anchor.sha256:
            _log.error("entry %d of the record is not the one that was signed", anchor.number)
            return [_alert(CHANGED, anchor.number)]
        return []

    def _write_on(self) -> None:
        closing = False
        while not closing:
            batch: list[_Waiting] = []
            closing = self._take(batch)
            is_late = self._end.number > self._signed and time.monotonic() - self._signed_at >= CHECKPOINT_S
            if batch or closing or is_late:
                self._write(batch, sign=closing or is_late)

    def _take(self, batch: list[_Waiting]) -> bool:
        """Wait for entries and take all that are there; whether that was the end."""
        try:
            taken = self._waiting.get(timeout=self._patience_s())
            while taken is not None:
                batch.append(taken)
                if len(batch) == MOST_AT_ONCE:
                    return False
                taken = self._waiting.get_nowait()
        except Empty:
            return False
        return True

    def _patience_s(self) -> float | None:
        if self._end.number <= self._signed:
            return None
        return max(self._signed_at + CHECKPOINT_S - time.monotonic(), 0.001)

    def _write(self, batch: list[_Waiting], sign: bool) -> None:
        try:
            self._commit([event for event, _ in batch], sign, [future for _, future in batch])
        except MahtaiError as error:
            _log.error("%d entries could not be put on record: %s", len(batch), error.kind)
            self._signed_at = time.monotonic()
            _fail(batch, error)
        except Exception as error:  # a mistake of the program must not end the thread
            _log.exception("%d entries could not be put on record", len(batch))
            self._signed_at = time.monotonic()
            _fail(batch, error)

    def _commit(self, events: Sequence[AuditEvent], sign: bool, futures: Sequence[Future[None]] = ()) -> None:
        """One transaction; the futures are done before the anchor follows."""
        assert self._key is not None
        checkpoint = None
        with self.database.write() as session:
            end = self._last(session)
            events = [*self._replaced(session), *events]
            if events:
                end = append(session, end, events, self._key, self._server_name)
            if end.number and (sign or end.number - self._signed >= CHECKPOINT_EVENTS):
                checkpoint = add_checkpoint(session, end, self._key)
                sign = True
        self._end = end
        for future in futures:
            future.set_result(None)
        if sign:
            self._signed, self._signed_at = end.number, time.monotonic()
        if checkpoint is not None:
            self._announce(checkpoint)

    def _last(self, session: Session) -> Link:
        """The end: the table's, unless this server has seen more, whose numbers then stay missing."""
        end = end_of(session)
        if end.number >= self._end.number:
            return end
        if self._end.number > self._signed:
            _log.error("the record ends at %d, and this server wrote %d: it was cut", end.number, self._end.number)
        return self._end

    def _replaced(self, session: Session) -> list[AuditEvent]:
        """An entry about the last one that this server wrote or saw, if another one stands in its place."""
        last = self._end
        if last.number == 0 or last.number > end_of(session).number or _sha256_of(session, last.number) == last.sha256:
            return []
        _log.error("entry %d of the record is not the one that this server wrote", last.number)
        return [_alert(CHANGED, last.number)]

    def _announce(self, checkpoint: Checkpoint) -> None:
        _log.info("checkpoint %d sha256 %s", checkpoint.number, checkpoint.sha256)
        try:
            self._anchors.put(str(self._secrets_dir), checkpoint)
        except (OSError, AnchorBroken) as error:
            _log.error("the anchor of the record could not be written: %s", error)


def _sha256_of(session: Session, number: int) -> str | None:
    return session.scalar(select(AuditRow.sha256).where(AuditRow.number == number))


def _alert(what: str, number: int) -> AuditEvent:
    return AuditEvent("security", "E", "failed", None, None, "", "", {"what": what, "entry": str(number)})


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
