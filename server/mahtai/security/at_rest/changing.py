"""A data folder opened for a change of its keys, beside the servers that use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mahtai.data_folder import LOCK_FILE
from mahtai.db.engine import Database
from mahtai.errors import MahtaiError
from mahtai.foundation import open_tables, require_data
from mahtai.security.at_rest.file_lock import Held, held
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, is_under, open_existing_keyring, open_keyring
from mahtai.security.at_rest.keys import KeyNotSet
from mahtai.security.at_rest.master_key import MasterKey
from mahtai.security.at_rest.rotation import DAMAGED, PLAIN, Encrypted, ReEncryption
from mahtai.security.audit.operator import record_command
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore

NOTICE_S = 3.0
"""After which every server has seen a new data key (``Keyring.watch``), before its master key is taken away."""

ROTATION_LOCK = "rotation.lock"
DAY_S = 86_400.0


class RotationRuns(MahtaiError):
    """Another process changes keys."""

    kind = "rotation-runs"
    title = "Keys are being changed already"
    status = 409


class ServerRuns(MahtaiError):
    """A server works without a key, and would not understand what is encrypted."""

    kind = "server-without-key"
    title = "A server works without the key"
    status = 409


class KeyRoom:
    """What ``mahtai keys`` works on.

    Args:
        has_moved: whether the keyring is under the new master key already, from a run that was killed at its end.
    """

    def __init__(self, settings: Settings, keyring: Keyring, database: Database, has_moved: bool) -> None:
        self.has_moved = has_moved
        self._keyring = keyring
        store = BlobStore(settings.blobs_dir, keyring)
        store.sweep_partials(DAY_S)
        self._re_encryption = ReEncryption(settings, keyring, database, store)

    def status(self) -> Iterator[str]:
        """What is encrypted under which key, line by line."""
        census, content = self._re_encryption.census(), self._keyring.content
        yield f"Master key  {self._keyring.master_fingerprint}"
        for key in content.keys.values():
            mark = "current" if key.id == content.current else ""
            yield _line(f"Data key    {key.id}", census.blobs[key.id], census.values[key.id], key.made_at[:10], mark)
        yield _line("Not encrypted", census.blobs[PLAIN], census.values[PLAIN])
        if census.blobs[DAMAGED]:
            yield f"Damaged: {census.blobs[DAMAGED]:,} blobs"
        old = census.old(content.current)
        yield f"{old:,} are not under the current key: mahtai keys encrypt" if old else "All is under the current key."

    def add_data_key(self) -> str:
        """Make a data key that everything new gets; its id.

        Raises:
            ServersBehind: a server could not read it.
        """
        changed = time.time() - self._keyring.path.stat().st_mtime
        time.sleep(min(max(NOTICE_S - changed, 0.0), NOTICE_S))  # until servers know that they cannot read it
        self._keyring.require_all_read()
        with self._keyring.changing() as content:
            self._keyring.write(content.with_new_key())
        return self._keyring.current()[0]

    def encrypt(self, report: Callable[[str, float], object]) -> Encrypted:
        """Encrypt all that is not under the current data key; see ``ReEncryption.run``."""
        return self._re_encryption.run(report)

    def move_to(self, master: MasterKey) -> None:
        """Have the data keys encrypted under another master key; the one before is of no use from then on."""
        if self.has_moved:
            return
        time.sleep(NOTICE_S)
        with self._keyring.changing() as content:
            self._keyring.write(content, master)


@contextmanager
def open_key_room(settings: Settings, change: str | None, new_master: MasterKey | None = None) -> Iterator[KeyRoom]:
    """Open a data folder.

    Args:
        change: name of the command, if it changes something: one at a time does, and it is put on record.
        new_master: the master key that the keyring shall have; it may have it already.

    Raises:
        NoData: no server has been here; nothing was made.
        MahtaiError: no key is set, it is another one, or keys are being changed already.
    """
    require_data(settings)
    path = settings.data_dir / FILE_NAME
    with _alone(settings, path, change):
        has_moved = new_master is not None and path.exists() and is_under(path, new_master)
        if has_moved and new_master is not None:
            keyring: Keyring | None = Keyring(path, new_master, lambda: new_master)
        else:
            keyring = open_existing_keyring(settings) if change is None else open_keyring(settings)
        if keyring is None:
            raise _no_key()
        database = open_tables(settings, keyring)
        outcome = "failed"
        try:
            yield KeyRoom(settings, keyring, database, has_moved)
            outcome = "success"
        finally:
            try:
                if change is not None:
                    detail = {"call": f"mahtai keys {change}"}
                    record_command(settings, database, keyring, "server", "E", outcome, "", detail)
            finally:
                database.close()


@contextmanager
def _alone(settings: Settings, path: Path, change: str | None) -> Iterator[None]:
    """No other change runs; and where a folder gets its first key, no server either."""
    is_first = change is not None and not path.exists()
    try:
        if is_first and (settings.key_file or settings.key or settings.key_command):
            with held(settings.data_dir / LOCK_FILE, 0.0):
                open_keyring(settings)
    except Held as error:
        raise ServerRuns(
            "A server is running on this data folder, and it was started without a key. Nothing was changed.",
            "Stop it, start it again with the key (MAHTAI_KEY_FILE …), then run this again.",
        ) from error
    with ExitStack() as stack:
        try:
            if change is not None:
                stack.enter_context(held(settings.data_dir / ROTATION_LOCK, 0.0))
        except Held as error:
            raise RotationRuns("Another command is changing keys already.", "Wait until it is done.") from error
        yield


def _no_key() -> KeyNotSet:
    return KeyNotSet(
        "Nothing in this data folder is encrypted.",
        "Make a key with `mahtai keys new FILE`, and name it with MAHTAI_KEY_FILE, to the server and to all commands; "
        "`mahtai keys encrypt` then takes in what is stored.",
    )


def _line(what: str, blobs: int, values: int, *more: str) -> str:
    return f"{what:30}{blobs:10,} blobs {values:10,} values  {'  '.join(more)}".rstrip()
