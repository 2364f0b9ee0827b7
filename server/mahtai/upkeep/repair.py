"""Brings back from a backup what ``mahtai doctor`` has found to be lost or damaged; nothing else is touched."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mahtai.cases.patients import KEY_FILE
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, open_existing_keyring
from mahtai.security.at_rest.keyring_file import KeyringContent, WrongKey, key_ids, master_of
from mahtai.security.at_rest.master_key import MasterKey, read_master_key
from mahtai.security.at_rest.secret_file import read_secret, replace_secret
from mahtai.security.audit.signing import PRIVATE_FILE
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import BLOBS, FILES, KEYRING, read_archive
from mahtai.upkeep.backup.restoring import is_model, is_secret, put_file
from mahtai.upkeep.finding import Finding
from mahtai.upkeep.secrets_check import key_ids_in_use
from mahtai.volumes.durable import write_whole
from mahtai.volumes.store import BlobStore, HashMismatch


class NotBroughtBack(MahtaiError):
    """What was lost cannot be brought back so."""

    kind = "not-brought-back"
    title = "The repair failed"
    status = 500


ASIDE = "damaged"
"""Folder in the data folder that gets what was replaced; whoever looks after the server may remove it."""


def mend(findings: Iterable[Finding], new_secrets: bool = False) -> tuple[list[str], list[str]]:
    """Do what the findings themselves know to be safe; what was done, and what could not be.

    Args:
        new_secrets: also make new ones of secrets that are gone.
    """
    done, failed = [], []
    for finding in findings:
        repair = finding.repair or (finding.anew if new_secrets else None)
        if repair is not None:
            try:
                repair()
                done.append(finding.text if finding.repair else f"{finding.text} Another one was made.")
            except OSError as error:
                failed.append(f"{finding.text} ({error.strerror})")
    return done, failed


def is_for_good(name: str) -> bool:
    """Whether a member of a backup is a secret that is never replaced while all is well."""
    return name in (f"{FILES}/{KEY_FILE}", f"{FILES}/secrets/{PRIVATE_FILE}")


def bring_back(
    settings: Settings, source: Path, master: MasterKey, lost: Collection[str], report: Callable[[str, float], object]
) -> tuple[list[str], list[str]]:
    """Put back what the backup has of it; what was there is set aside. Servers may run.

    Args:
        master: the one that the backup was made with.
        lost: names of members, or of folders of them.
        report: told the stage and the fraction of it that is done.

    Returns:
        Names of what was brought back, and of secrets that are there and are other ones than in the backup.

    Raises:
        WrongBackupKey, BackupBroken: the backup cannot be used.
        MahtaiError: the key or the disk cannot be used.
    """
    returning = _Returning(settings)
    done: list[str] = []
    differing: list[str] = []
    with read_archive(source, master) as archive:
        archive.about()
        for name, stream, _ in archive.members():
            report("looking", archive.fraction)
            of = next((wanted for wanted in lost if name == wanted or name.startswith(f"{wanted}/")), None)
            if of is not None and returning.take(of, name, stream):
                done.append(name)
            elif of is None and returning.is_other_secret(name, stream):
                differing.append(name)
    return done, differing


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
            self._set_aside(lost)
            replace_secret(self._settings.data_dir / rest, stream.read(), self._keys())
            return True
        if kind == FILES and is_model(rest):
            self._move_away(lost)
            put_file(self._settings.data_dir / PurePosixPath(rest), stream)
            return True
        return False

    def is_other_secret(self, name: str, stream: BinaryIO) -> bool:
        """As where a server has made itself a new one after the old one was lost."""
        kind, _, rest = name.partition("/")
        if kind != FILES or not is_secret(rest):
            return False
        try:
            return read_secret(self._settings.data_dir / rest, self._keys()) != stream.read()
        except (MahtaiError, OSError):
            return False  # it is gone and not missed, or has a line of its own

    def _bring_keyring(self, raw: bytes) -> bool:
        master = read_master_key(self._settings)
        if master is None:
            return False
        try:
            KeyringContent.decode(raw, master)
        except WrongKey as error:
            raise NotBroughtBack(
                f"The keyring in the backup is under the master key {master_of(raw)}; {master.source} holds "
                f"{master.fingerprint}. Nothing was brought back.",
                "Run this once more with the master key of that time; `mahtai keys rotate --new-key-file` then leads "
                "to the present one.",
            ) from error
        used, held = key_ids_in_use(self._settings), key_ids(raw)
        if used and used.isdisjoint(held):
            raise NotBroughtBack(
                "The keyring in the backup opens nothing of these data: it was made before they were restored or "
                "encrypted anew. Nothing was brought back.",
                "Take a backup that was made of these data later, or restore this one into a new folder "
                "(mahtai restore).",
            )
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
            self._keyring, self._is_open = open_existing_keyring(self._settings), True
        return self._keyring

    def _set_aside(self, lost: str) -> None:
        """Keep a copy of a file that is there; it stays until it is replaced."""
        path = self._place(lost)
        if path.is_file():
            shutil.copy2(path, self._aside(path))

    def _move_away(self, lost: str) -> None:
        """Move away a folder that is there, once."""
        path = self._place(lost)
        if lost not in self._cleared and path.exists():
            shutil.move(path, self._aside(path))
        self._cleared.add(lost)

    def _place(self, lost: str) -> Path:
        return self._settings.data_dir / PurePosixPath(lost.removeprefix(f"{FILES}/"))

    def _aside(self, path: Path) -> Path:
        folder = self._settings.data_dir / ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{path.name}-{secrets.token_hex(4)}"
