"""Brings back from a backup what ``mahtai doctor`` has found to be lost or damaged; nothing else is touched."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, open_keyring
from mahtai.security.at_rest.keyring_file import KeyringContent
from mahtai.security.at_rest.master_key import MasterKey, read_master_key
from mahtai.security.at_rest.secret_file import load_or_create
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import BLOBS, FILES, KEYRING, read_archive
from mahtai.upkeep.backup.restoring import is_model, is_secret, put_file
from mahtai.upkeep.finding import Finding
from mahtai.volumes.durable import write_whole
from mahtai.volumes.store import BlobStore, HashMismatch


class NotMended(MahtaiError):
    """Something that is safe to mend could not be."""

    kind = "not-mended"
    title = "The repair failed"
    status = 500


ASIDE = "damaged"
"""Folder in the data folder that gets what was replaced; whoever looks after the server may remove it."""


def mend(findings: Iterable[Finding]) -> list[str]:
    """Do what the findings themselves know to be safe; what was done."""
    done = []
    for finding in findings:
        if finding.repair is not None:
            try:
                finding.repair()
            except (OSError, sqlite3.Error) as error:
                raise NotMended(
                    f"{finding.text} That could not be mended ({error}).", finding.advice or "See what is in its way."
                ) from error
            done.append(finding.text)
    return done


def bring_back(
    settings: Settings, source: Path, master: MasterKey, lost: Collection[str], report: Callable[[str, float], object]
) -> list[str]:
    """Put back what the backup has of it; what was there is set aside. Servers may run.

    Args:
        master: the one that the backup was made with.
        lost: names of members, or of folders of them.
        report: told the stage and the fraction of it that is done.

    Returns:
        Names of what was brought back.

    Raises:
        WrongBackupKey, BackupBroken: the backup cannot be used.
        MahtaiError: the key or the disk cannot be used.
    """
    returning = _Returning(settings)
    done = []
    with read_archive(source, master) as archive:
        archive.about()
        for name, stream, _ in archive.members():
            report("looking", archive.fraction)
            of = next((wanted for wanted in lost if name == wanted or name.startswith(f"{wanted}/")), None)
            if of is not None and returning.take(of, name, stream):
                done.append(name)
    return done


class _Returning:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring: Keyring | None = None
        self._is_open = False
        self._cleared: set[str] = set()

    def take(self, lost: str, name: str, stream: BinaryIO) -> bool:
        kind, _, rest = name.partition("/")
        if name == KEYRING:
            return self._bring_keyring(stream.read())
        if kind == BLOBS:
            return self._bring_blob(rest, stream)
        if kind == FILES and is_secret(rest):
            content = stream.read()
            path = self._settings.data_dir / rest
            self._set_aside(lost)
            load_or_create(path, self._keys(), lambda: content)
            return True
        if kind == FILES and is_model(rest):
            self._set_aside(lost)
            put_file(self._settings.data_dir / PurePosixPath(rest), stream)
            return True
        return False

    def _bring_keyring(self, raw: bytes) -> bool:
        master = read_master_key(self._settings)
        if master is None:
            return False
        KeyringContent.decode(raw, master)
        self._set_aside(KEYRING)
        write_whole(self._settings.data_dir / FILE_NAME, raw)
        return True

    def _bring_blob(self, sha256: str, stream: BinaryIO) -> bool:
        try:
            with BlobStore(self._settings.blobs_dir, self._keys()).receive(sha256) as reception:
                while block := stream.read(1 << 20):
                    reception.write(block)
                reception.commit()
        except HashMismatch:
            return False
        return True

    def _keys(self) -> Keyring | None:
        if not self._is_open:
            self._keyring, self._is_open = open_keyring(self._settings), True
        return self._keyring

    def _set_aside(self, lost: str) -> None:
        """Move away what is there, once."""
        path = self._settings.data_dir / PurePosixPath(lost.removeprefix(f"{FILES}/"))
        if lost in self._cleared or not path.exists():
            return
        self._cleared.add(lost)
        aside = self._settings.data_dir / ASIDE
        aside.mkdir(mode=0o700, exist_ok=True)
        shutil.move(path, aside / f"{path.name}-{secrets.token_hex(4)}")
