"""Whether the keyring and the secrets that the server made for itself can be read, and none is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mahtai.cases.patients import KEY_FILE
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, KeyringDamaged, open_keyring
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.master_key import read_master_key
from mahtai.security.at_rest.secret_file import read_secret
from mahtai.security.audit.signing import PRIVATE_FILE
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import FILES, KEYRING
from mahtai.upkeep.finding import Finding

_BRING_BACK = "mahtai doctor --repair --from BACKUP"


def check_rights(settings: Settings) -> Iterator[Finding]:
    """Whether others on this computer may read the data folder."""
    if os.name != "posix":
        return
    private = [settings.data_dir, settings.data_dir / FILE_NAME, settings.secrets_dir, *_secret_files(settings)]
    open_ones = [path for path in private if path.exists() and path.stat().st_mode & 0o077]
    for path in open_ones:
        yield Finding(
            "error",
            "rights",
            f"Others on this computer may read {path}.",
            f"chmod {'700' if path.is_dir() else '600'} {path}",
            repair=lambda path=path: path.chmod(0o700 if path.is_dir() else 0o600),  # type: ignore[misc]
        )
    if not open_ones:
        yield Finding("ok", "rights", "Only the server's user may read the data folder and its keys.")


def check_keyring(settings: Settings) -> tuple[Finding, Keyring | None]:
    """What there is to say, and the keyring, if there is one and it opens."""
    try:
        if not (settings.data_dir / FILE_NAME).exists() and read_master_key(settings) is not None:
            if any(_is_lost(path) for path in _secret_files(settings)):
                advice = _BRING_BACK
                return Finding("error", "keys", "The keyring is gone.", advice, lost=KEYRING), None
            return Finding("ok", "keys", "Nothing is encrypted."), None  # opening would make one
        keyring = open_keyring(settings)
    except KeyringDamaged as error:
        return Finding("error", "keys", error.reason, _BRING_BACK, lost=KEYRING), None
    except MahtaiError as error:
        return Finding("error", "keys", error.reason, error.hint or ""), None
    return Finding("ok", "keys", "Nothing is encrypted." if keyring is None else "The keyring opens."), keyring


def check_secrets(settings: Settings, keys: Keys | None, has_patients: bool, has_record: bool) -> Iterator[Finding]:
    """Whether each can be read.

    Args:
        has_patients: whether the tables know keyed hashes of patients.
        has_record: whether there is a record.
    """
    sound = True
    wanted = {settings.data_dir / KEY_FILE: has_patients, settings.secrets_dir / PRIVATE_FILE: has_record}
    for path in dict.fromkeys([*_secret_files(settings), *wanted]):
        lost = f"{FILES}/{path.relative_to(settings.data_dir).as_posix()}"
        try:
            read_secret(path, keys)
        except FileNotFoundError:
            if wanted.get(path):
                sound = False
                yield Finding("error", "secrets", f"{path.name} is gone.", _BRING_BACK, lost=lost)
        except (MahtaiError, OSError) as error:
            sound = False
            yield Finding("error", "secrets", f"{path.name} cannot be read ({error}).", _BRING_BACK, lost=lost)
    if sound:
        yield Finding("ok", "secrets", "All can be read.")


def _secret_files(settings: Settings) -> list[Path]:
    own = [settings.data_dir / KEY_FILE]
    found = sorted(settings.secrets_dir.glob("*")) if settings.secrets_dir.is_dir() else []
    return [path for path in (*own, *found) if path.is_file()]


def _is_lost(path: Path) -> bool:
    """Whether a secret is encrypted, so that there was a keyring."""
    try:
        read_secret(path, None)
    except MahtaiError:
        return True
    return False
