"""The keyring of a data folder in use: knows the data keys, and notices when another process has changed them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import is_sealed
from mahtai.security.at_rest.file_lock import Held, held, taken
from mahtai.security.at_rest.keyring_file import (
    KeyringContent,
    KeyringDamaged,
    WrongKey,
    damaged,
    master_of,
)
from mahtai.security.at_rest.keys import not_set, unknown
from mahtai.security.at_rest.master_key import MasterKey, read_master_key
from mahtai.settings import Settings
from mahtai.volumes.durable import write_whole

__all__ = [
    "FILE_NAME",
    "Keyring",
    "KeyringBusy",
    "KeyringDamaged",
    "WrongKey",
    "has_sealed_files",
    "open_existing_keyring",
    "open_keyring",
]

FILE_NAME = "keyring.json"
LOCK_NAME = "keyring.lock"
BEHIND_NAME = "keyring-behind.lock"
"""Held by a server as long as it cannot read the keyring because that is under another master key."""

PATIENCE_S = 30.0
LOOK_S = 1.0
LOOKS_TO_INSIST = 30
BLOBS_TO_LOOK_AT = 100

_log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class ServersBehind(MahtaiError):
    """A server works with a former master key, and would not understand what is under a new data key."""

    kind = "servers-behind"
    title = "A server has the former master key"
    status = 409


class KeyringBusy(MahtaiError):
    """Another process changes the keyring at this moment, and does not come to an end."""

    kind = "keyring-busy"
    title = "The keyring is in use"
    status = 503


@dataclass(frozen=True)
class _Read:
    """The file as it was read: what tells that it has changed, the content, and the master key that opened it."""

    stamp: Stamp
    content: KeyringContent
    master: MasterKey


class Keyring:
    """Data keys by id. Safe to use from several threads and processes.

    Args:
        path: of the file, which is there.
        master: opens it.
        again: gives the master key anew, asked when the file is under another one than before, because the key's own
            file may have been replaced, too.

    Raises:
        WrongKey, KeyringDamaged, MasterKeyError: it cannot be used.
    """

    def __init__(self, path: Path, master: MasterKey, again: Callable[[], MasterKey]) -> None:
        self.path = path
        self._again = again
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._refused: Stamp | None = None
        self._behind: int | None = None
        self._read = self._reading(master)

    @staticmethod
    def open(settings: Settings) -> Keyring | None:
        """See ``open_keyring``."""
        return open_keyring(settings)

    def current(self) -> tuple[str, bytes]:
        """Id and data key for everything that is new."""
        content = self._newest()
        return content.current, content.keys[content.current].secret

    def key(self, key_id: str) -> bytes:
        """A data key.

        Raises:
            UnknownDataKey: there is none of that id.
        """
        found = self._read.content.keys.get(key_id) or self._newest(insist=True).keys.get(key_id)
        if found is None:
            raise unknown(key_id)
        return found.secret

    @property
    def content(self) -> KeyringContent:
        """All data keys as they are now."""
        return self._newest()

    @property
    def master_fingerprint(self) -> str:
        """Of the master key that opened the file."""
        return self._read.master.fingerprint

    def watch(self) -> None:
        """Look for changes every second from now on, so that a new data key is known before it is needed."""
        threading.Thread(target=self._look, name="keyring", daemon=True).start()

    def close(self) -> None:
        """End ``watch``."""
        self._closing.set()

    def require_all_read(self) -> None:
        """Make sure that every server on this data folder can read the keyring.

        Raises:
            ServersBehind: one cannot, since the master key was changed.
        """
        try:
            with held(self.path.with_name(BEHIND_NAME), 0.0):
                return
        except Held as error:
            raise ServersBehind(
                "The master key was changed, and a server still works with the former one: it could not read what is "
                "encrypted under a new data key. Nothing was changed.",
                "Restart every server with the new master key, then run this again.",
            ) from error

    @contextmanager
    def changing(self) -> Iterator[KeyringContent]:
        """Hold the file for a change; the block calls ``write``.

        Raises:
            KeyringBusy: somebody else holds it for too long.
            WrongKey, KeyringDamaged: it cannot be used any more.
        """
        with _held(self.path):
            self._read = self._reading(self._read.master)
            yield self._read.content

    def write(self, content: KeyringContent, master: MasterKey | None = None) -> None:
        """Replace the file, within ``changing``.

        Args:
            master: another master key than before, under which all keys are from now on.
        """
        master = self._read.master if master is None else master
        write_whole(self.path, content.encode(master))
        self._read = self._reading(master)

    def _look(self) -> None:
        looks = 0
        while not self._closing.wait(LOOK_S):
            looks += 1
            self._newest(insist=looks % LOOKS_TO_INSIST == 0)
            if self._refused is not None and self._behind is None:  # another server that is behind may have ended
                self._behind = self._say_behind()
        with self._lock:
            self._catch_up()

    def _say_behind(self) -> int | None:
        try:
            return None if is_under(self.path, self._read.master) else taken(self.path.with_name(BEHIND_NAME))
        except (MahtaiError, OSError):
            return None  # the keyring itself is damaged, which is another trouble

    def _catch_up(self) -> None:
        if self._behind is not None:
            os.close(self._behind)
            self._behind = None

    def _newest(self, insist: bool = False) -> KeyringContent:
        """The content, read again if the file was changed; as it was known if it cannot be read any more.

        Args:
            insist: try also what could not be read before; the master key may have come meanwhile.
        """
        try:
            now = _stamp(self.path)
        except OSError:
            now = self._read.stamp  # it is being restored, or its disk has gone: what is known is good enough
        if now != self._read.stamp and (insist or now != self._refused):
            with self._lock:
                if now != self._read.stamp:
                    self._reread(now)
        return self._read.content

    def _reread(self, now: Stamp) -> None:
        try:
            try:
                self._read = self._reading(self._read.master)
            except WrongKey:
                self._read = self._reading(self._again())
        except (MahtaiError, OSError) as error:
            if self._refused != now:  # said once
                _log.error("the keyring was changed and cannot be read; the keys that were known go on: %s", error)
            self._refused = now
        else:
            self._refused = None
            self._catch_up()
            _log.info("the keyring was changed and was read again")

    def _reading(self, master: MasterKey) -> _Read:
        stamp = _stamp(self.path)
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise damaged(f"cannot be read ({error.strerror})") from error
        return _Read(stamp, KeyringContent.decode(raw, master), master)


def open_keyring(settings: Settings) -> Keyring | None:
    """The keyring of a data folder; it is made when the first key is set; None where there is neither.

    Raises:
        KeyNotSet: the folder has a keyring, and no key is set.
        WrongKey, KeyringDamaged, MasterKeyError: it cannot be opened.
    """
    path = settings.data_dir / FILE_NAME
    master = read_master_key(settings)
    if master is None:
        if path.exists() or has_sealed_files(settings):
            raise not_set(f"The data in {settings.data_dir} are")
        return None
    if not path.exists():
        _make(path, master, settings)
    return Keyring(path, master, lambda: read_master_key(settings) or master)


def open_existing_keyring(settings: Settings) -> Keyring | None:
    """As ``open_keyring``, and none is made: for those who look after a folder and do not decide how it is kept.

    Raises:
        KeyNotSet, WrongKey, KeyringDamaged, MasterKeyError: it cannot be opened, or is gone.
    """
    if (settings.data_dir / FILE_NAME).exists():
        return open_keyring(settings)
    if has_sealed_files(settings):
        raise damaged("is gone, and the folder holds encrypted data")
    return None


def has_sealed_files(settings: Settings) -> bool:
    """Whether something in the folder shows that it had a keyring: a secret, or one of the first blobs."""
    secrets_dir, blobs = settings.secrets_dir, settings.blobs_dir
    secret_files = [settings.data_dir / "patients.key", *(secrets_dir.iterdir() if secrets_dir.is_dir() else ())]
    for file in (*secret_files, *islice(blobs.glob("??/??/*"), BLOBS_TO_LOOK_AT)):
        if file.is_file():
            with file.open("rb") as stream:
                if is_sealed(stream.read(64)):
                    return True
    return False


def _make(path: Path, master: MasterKey, settings: Settings) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _held(path):
        if path.exists():
            return
        if has_sealed_files(settings):
            raise damaged("is gone, and the folder holds encrypted data")
        write_whole(path, KeyringContent.new().encode(master))


@contextmanager
def _held(path: Path) -> Iterator[None]:
    try:
        with held(path.with_name(LOCK_NAME), PATIENCE_S):
            yield
    except Held as error:
        raise KeyringBusy(
            "Another process is changing the keyring and does not come to an end. Nothing was changed.",
            "Try again; if that does not help, see which `mahtai keys` command is still running.",
        ) from error


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_under(path: Path, master: MasterKey) -> bool:
    """Whether a keyring file is under this master key.

    Raises:
        KeyringDamaged: it is no keyring.
    """
    return master_of(path.read_bytes()) == master.fingerprint
