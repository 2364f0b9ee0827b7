"""The offline spool: label versions and decisions that wait on this computer until the server has them.

A folder with four rooms. ``pending`` holds one folder an item, ``sent`` one receipt an item that the
server has, ``refused`` the items that the server will not take, with its reason. An item is written
in ``incoming`` and renamed into ``pending``, so it is there wholly or not at all; it leaves ``pending``
only after its receipt is on disk. Sending twice is harmless, because the server knows its ``client_key``.
"""

from __future__ import annotations

import errno
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from MahtAILib.client.address import clean_url
from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable
from MahtAILib.client.cases import NewCase, NewLabel
from MahtAILib.client.connection import Connection
from MahtAILib.client.durable import move_folder, sync_folder, try_lock
from MahtAILib.client.errors import ClientError, ForbiddenError, RequestRefusedError, ServerFaultError, SpoolError
from MahtAILib.client.reviews import Decision
from MahtAILib.client.spool_item import (
    AnyItem,
    DamagedItemError,
    RefusedLabel,
    SpooledDecision,
    SpooledLabel,
    read_item,
    read_refusal,
    utc_now,
    write_item,
    write_refusal,
)
from MahtAILib.client.spool_receipt import Receipt, read_receipt, write_receipt
from MahtAILib.client.spool_sending import is_of_another, send_item
from MahtAILib.client.volumes import Blob

_UNFINISHED_KEPT_S = 86400.0


@dataclass(frozen=True)
class FlushReport:
    """What sending came to.

    Attributes:
        sent: in the order in which it went.
        refused: moved to ``refused``, with the reason.
        kept: how many items still wait, those for other servers among them.
        of_others: names of those whose items wait until they sign in themselves.
        error: why some still wait, or None.
        elsewhere: another process is sending at this moment; nothing was done.
    """

    sent: tuple[Receipt, ...] = ()
    refused: tuple[RefusedLabel, ...] = ()
    kept: int = 0
    of_others: tuple[str, ...] = ()
    error: ClientError | None = None
    elsewhere: bool = False


class Spool:
    """A folder of unsent work; any number of processes may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made if it is not there, readable by its owner only.

        Raises:
            SpoolError: it cannot be made.
        """
        self._folder = folder
        self._incoming, self._pending, self._refused, self._sent, self._done = (
            folder / room for room in ("incoming", "pending", "refused", "sent", "done")
        )
        with _explained("The folder for unsent work cannot be used."):
            for room in (folder, self._incoming, self._pending, self._refused, self._sent, self._done):
                if not room.is_dir():
                    room.mkdir(mode=0o700, parents=True, exist_ok=True)
                    sync_folder(room.parent)

    def add(
        self,
        server: str,
        case: str | NewCase,
        content: bytes,
        label: NewLabel,
        *,
        parent_key: str | None = None,
        volumes: Sequence[Blob] = (),
        client_key: str | None = None,
    ) -> str:
        """Keep a label version; once this returns it survives a crash or a power cut.

        Args:
            server: address of the server that it is meant for.
            case: id of the case on that server, or the case to be created.
            content: a ``.seg.nrrd`` or ``.mrk.json`` file.
            label: what is said about it.
            parent_key: key of the spooled version that was edited, where ``label.parent`` is not known yet.
            volumes: files that the server may lack when the case is created.
            client_key: the key of an earlier attempt to send this version; a new one by default.

        Returns:
            the item's ``client_key``.

        Raises:
            SpoolError: it could not be written; nothing is kept then.
            BadAddressError: ``server`` cannot be read.
        """
        blobs = list({blob.sha256: blob for blob in (Blob(content), *volumes)}.values())
        key = str(uuid.UUID(client_key)) if client_key else str(uuid.uuid4())
        item = SpooledLabel(
            folder=self._new_folder(),
            client_key=key,
            server=clean_url(server),
            case=case,
            label=label,
            parent_key=parent_key,
            content=blobs[0].sha256,
            files=tuple(blob.sha256 for blob in blobs),
            saved_at=utc_now(),
        )
        self._put_down(item, blobs)
        return key

    def add_decision(self, server: str, case: str, decision: Decision, parent_key: str | None = None) -> str:
        """Keep what a reader decided about a label version; once this returns it survives a crash.

        Args:
            case: id of the case on the server.
            parent_key: key of the version, where ``decision.version`` is not known yet.

        Returns:
            the item's ``client_key``.

        Raises:
            SpoolError: it could not be written; nothing is kept then.
        """
        item = SpooledDecision(
            folder=self._new_folder(),
            client_key=str(uuid.uuid4()),
            server=clean_url(server),
            case=case,
            parent_key=parent_key,
            saved_at=utc_now(),
            decision=decision,
        )
        self._put_down(item)
        return item.client_key

    def pending(self) -> list[AnyItem]:
        """What waits to be sent, the oldest first.

        Raises:
            SpoolError: the folder cannot be read.
        """
        return [item for item in map(_readable, self._folders(self._pending)) if item is not None]

    def refused(self) -> list[RefusedLabel]:
        """What the server would not take, the oldest first.

        Raises:
            SpoolError: the folder cannot be read.
        """
        folders = self._folders(self._refused)
        with _explained("The versions that the server refused cannot be read."):
            return [read_refusal(folder) for folder in folders]

    def receipt(self, client_key: str) -> Receipt | None:
        """The server's version of an item, if it has been sent."""
        return read_receipt(self._sent, client_key)

    def send_again(self, refused: RefusedLabel) -> None:
        """Put a refused item back among those that wait, in its old place.

        Raises:
            SpoolError: it could not be moved.
        """
        with _explained("The label version could not be put back. It is still among the refused ones."):
            move_folder(refused.folder, self._pending / refused.folder.name)

    def flush(
        self, connection: Connection, on_progress: OnProgress | None = None, cancelled: Cancelled | None = None
    ) -> FlushReport:
        """Send what waits for this server, the oldest first; what cannot be sent now is kept.

        An item that the server refuses for good is moved to ``refused``, never deleted. To be called from
        a worker thread.

        Args:
            connection: to the server; items for other servers stay where they are.
            on_progress: told the stage ``sending`` and how much of it is done.
            cancelled: says when to stop.

        Raises:
            CancelledError: ``cancelled`` said so; what was sent by then is sent, the rest is kept.
            SpoolError: the folder cannot be read or written.
        """
        return run_cancellable(lambda task: self._flush_alone(connection, task), on_progress, cancelled)

    def _flush_alone(self, connection: Connection, task: Task) -> FlushReport:
        with _explained("The folder for unsent work cannot be used."), try_lock(self._folder / "lock") as alone:
            if not alone:
                return FlushReport(kept=len(self._folders(self._pending)), elsewhere=True)
            self._sweep()
            report = self._send_all(connection, task)
            return replace(report, kept=len(self._folders(self._pending)))

    def _send_all(self, connection: Connection, task: Task) -> FlushReport:
        report = FlushReport()
        folders = self._folders(self._pending)
        for number, folder in enumerate(folders):
            task.check()
            task.report("sending", number / len(folders))
            try:
                with _explained("A saved version could not be noted as sent. It will be sent again."):
                    report = self._settle(connection, folder, report, task)
            except (ServerFaultError, ForbiddenError) as error:
                report = replace(report, error=report.error or error)  # perhaps only this item is too much for it
            except ClientError as error:
                task.check()
                return replace(report, error=error)
        return report

    def _settle(self, connection: Connection, folder: Path, report: FlushReport, task: Task) -> FlushReport:
        """Bring one item to its end, sent or refused, or leave it where it is."""
        try:
            item = read_item(folder)
            if item.server != connection.url or self._waits_for_parent(item):
                return report
            connection.require_mahtai()
            if is_of_another(connection, item):
                return replace(report, of_others=tuple(dict.fromkeys((*report.of_others, item.author))))
            receipt = self._send(connection, item, task)
            self._drop(folder)
            return replace(report, sent=(*report.sent, receipt))
        except (RequestRefusedError, DamagedItemError) as error:
            return replace(report, refused=(*report.refused, self._refuse(folder, error)))

    def _waits_for_parent(self, item: AnyItem) -> bool:
        if item.parent_key is None or self.receipt(item.parent_key) is not None:
            return False
        return any(other.client_key == item.parent_key for other in self.pending())

    def _send(self, connection: Connection, item: AnyItem, task: Task) -> Receipt:
        known = self.receipt(item.client_key)
        if known is not None and known.content == item.content:
            return known  # the last run ended between its receipt and its removal
        parent = "" if item.parent_key is None else self._parent(item.parent_key)
        receipt = send_item(connection, item, parent, task)
        write_receipt(self._sent, receipt)
        return receipt

    def _parent(self, parent_key: str) -> str:
        receipt = self.receipt(parent_key)
        if receipt is None:
            raise RequestRefusedError(
                "The version that this one was made from is not on the server.",
                "Send that one first; it is among the refused ones.",
                problem="parent-not-sent",
            )
        return receipt.version_id

    def _refuse(self, folder: Path, error: RequestRefusedError | DamagedItemError) -> RefusedLabel:
        hint = error.hint if isinstance(error, RequestRefusedError) else "The files that are left are kept."
        reason = error.reason if isinstance(error, RequestRefusedError) else str(error)
        write_refusal(folder, reason, hint)
        move_folder(folder, self._refused / folder.name)
        return read_refusal(self._refused / folder.name)

    def _drop(self, folder: Path) -> None:
        """Remove an item whose receipt is on disk; in two steps, so that no half of it is ever pending."""
        move_folder(folder, self._done / folder.name)
        shutil.rmtree(self._done / folder.name, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what crashes left: items that are sent, and beginnings of items that nobody was told were saved."""
        for folder in self._folders(self._done):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._folders(self._incoming):
            if time.time() - folder.stat().st_mtime > _UNFINISHED_KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)

    def _put_down(self, item: AnyItem, blobs: Sequence[Blob] = ()) -> None:
        """Write an item where nobody looks, and make it one of those that wait when it is whole."""
        unfinished = self._incoming / item.folder.name
        with _explained("It could not be saved on this computer. It is still open in front of you."):
            try:
                unfinished.mkdir()
                write_item(unfinished, item, blobs)
                sync_folder(unfinished)
                move_folder(unfinished, item.folder)
            except OSError:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise

    def _new_folder(self) -> Path:
        """Its name sorts after all that wait, even when the clock was set back."""
        waiting = [int(folder.name[:20]) for folder in self._folders(self._pending) if folder.name[:20].isdigit()]
        stamp = max([time.time_ns(), *(stamp + 1 for stamp in waiting)])
        return self._pending / f"{stamp:020d}-{uuid.uuid4()}"

    def _folders(self, room: Path) -> list[Path]:
        with _explained("The folder for unsent work cannot be read."):
            return sorted(path for path in room.iterdir() if path.is_dir())


@contextmanager
def _explained(reason: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise SpoolError(
            f"{reason} {'The disk is full.' if full else f'({error.strerror or error})'}",
            "Free some space and try again." if full else "Check that the folder exists and that you may write there.",
        ) from error


def _readable(folder: Path) -> AnyItem | None:
    try:
        return read_item(folder)
    except DamagedItemError:
        return None  # sent or moved by another process a moment ago, or for flush() to set aside
    except OSError as error:
        raise SpoolError(f"A saved version cannot be read ({error.strerror or error}).") from error
