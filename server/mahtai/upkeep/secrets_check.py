"""Whether the keyring and the secrets that the server made for itself can be read, and none is gone."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mahtai.cases.patients import KEY_FILE
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import sealed_key_id
from mahtai.security.at_rest.keyring import (
    BLOBS_TO_LOOK_AT,
    FILE_NAME,
    Keyring,
    KeyringDamaged,
    has_sealed_files,
    open_keyring,
)
from mahtai.security.at_rest.keyring_file import FORMAT
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.secret_file import load_or_create, read_secret, secret_files
from mahtai.security.audit.signing import BRING_BACK, PRIVATE_FILE, open_signing_key
from mahtai.settings import Settings
from mahtai.upkeep.backup.archive import FILES, KEYRING
from mahtai.upkeep.finding import Finding
from mahtai.upkeep.tables_check import sealed_values

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
    path = settings.data_dir / FILE_NAME
    try:
        if path.exists():
            keyring = open_keyring(settings)
            return Finding("ok", "keys", "The keyring opens."), keyring
        if has_sealed_files(settings) or _has_sealed_values(settings):
            return Finding("error", "keys", "The keyring is gone.", _BRING_BACK, lost=KEYRING), None
    except KeyringDamaged as error:
        lost = KEYRING if _is_broken(path) else ""
        return Finding("error", "keys", error.reason, _BRING_BACK if lost else error.hint or "", lost=lost), None
    except (MahtaiError, OSError) as error:
        hint = error.hint if isinstance(error, MahtaiError) else None
        return Finding("error", "keys", str(error), hint or "See who may read it."), None
    return Finding("ok", "keys", "Nothing is encrypted."), None


def _has_sealed_values(settings: Settings) -> bool:
    try:
        return next(sealed_values(settings), None) is not None
    except (sqlite3.Error, MahtaiError):
        return False  # the tables have a line of their own


def key_ids_in_use(settings: Settings) -> set[str]:
    """Ids of the data keys that secrets, some blobs and all columns are encrypted under."""
    blobs = islice(settings.blobs_dir.glob("??/??/*"), BLOBS_TO_LOOK_AT)
    found = {sealed_key_id(path) for path in (*_secret_files(settings), *blobs)}
    with suppress(sqlite3.Error, MahtaiError):  # the tables have a line of their own
        found |= {value.split(":")[1] for _, value in sealed_values(settings)}
    return {key_id for key_id in found if key_id}


def _is_broken(path: Path) -> bool:
    """Whether a keyring can be read, and is none: neither a newer one, nor one that somebody may not read."""
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        return False
    except ValueError:
        return True
    return not isinstance(content, dict) or content.get("format") == FORMAT


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
                anew = _makers(settings, keys)[path]
                yield Finding("error", "secrets", f"{path.name} is gone.", BRING_BACK, lost=lost, anew=anew)
        except (MahtaiError, OSError) as error:
            sound = False
            yield Finding("error", "secrets", f"{path.name} cannot be read ({error}).", _BRING_BACK, lost=lost)
    if sound:
        yield Finding("ok", "secrets", "All can be read.")


def _makers(settings: Settings, keys: Keys | None) -> dict[Path, Callable[[], object]]:
    """How each is made anew, which somebody has to want: what was known by the former one is not known any more."""
    patients = settings.data_dir / KEY_FILE
    return {
        patients: lambda: load_or_create(patients, keys),
        settings.secrets_dir / PRIVATE_FILE: lambda: open_signing_key(settings.secrets_dir, settings.config_dir, keys),
    }


def _secret_files(settings: Settings) -> list[Path]:
    own = settings.data_dir / KEY_FILE
    return [*([own] if own.is_file() else []), *secret_files(settings.secrets_dir)]
