"""Examines the data of a server, beside it or without it; it changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mahtai.data_folder import free_bytes
from mahtai.errors import MahtaiError
from mahtai.models.catalogue import Catalogue
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, open_keyring
from mahtai.security.at_rest.master_key import read_master_key
from mahtai.settings import Settings
from mahtai.upkeep.blobs_check import check_blobs, files_of
from mahtai.upkeep.finding import Finding
from mahtai.upkeep.tables_check import check_tables, stored_hashes


def examine(settings: Settings, quick: bool = False) -> Iterator[Finding]:
    """Look at rights, room, models, keys, tables and blobs.

    Args:
        quick: do not read whole files.
    """
    if not settings.data_dir.is_dir():
        advice = "Set MAHTAI_DATA_DIR as the server has it."
        yield Finding("error", "folder", f"There is no data folder {settings.data_dir}.", advice)
        return
    yield from _check_rights(settings)
    yield _check_room(settings)
    for folder, error in Catalogue(settings.models_path, settings.versions_dir).problems():
        yield Finding("error", "models", f"{folder}: {error}", "Fetch the model again with `mahtai models pull`.")
    quick_blobs = quick
    try:
        keyring = _keyring(settings)
    except MahtaiError as error:
        yield Finding("error", "keys", error.reason, error.hint or "")
        keyring, quick_blobs = None, True  # one line says it for all of them
    else:
        yield Finding("ok", "keys", "Nothing is encrypted." if keyring is None else "The keyring opens.")
    yield from check_tables(settings, quick)
    files = files_of(settings.blobs_dir)
    try:
        known = stored_hashes(settings)
    except (sqlite3.Error, MahtaiError):
        yield Finding("error", "blobs", "Not looked at: the tables do not say which there are.", "See database.")
        return
    yield from check_blobs(settings.blobs_dir, files, known, keyring, quick_blobs)


def _check_rights(settings: Settings) -> Iterator[Finding]:
    if os.name != "posix":
        return
    secrets = settings.secrets_dir
    private = [settings.data_dir, settings.data_dir / "patients.key", settings.data_dir / FILE_NAME, secrets]
    private += sorted(secrets.glob("*")) if secrets.is_dir() else []
    open_ones = [path for path in private if path.exists() and path.stat().st_mode & 0o077]
    for path in open_ones:
        advice = f"chmod {'700' if path.is_dir() else '600'} {path}"
        yield Finding("error", "rights", f"Others on this computer may read {path}.", advice)
    if not open_ones:
        yield Finding("ok", "rights", "Only the server's user may read the data folder and its keys.")


def _check_room(settings: Settings) -> Finding:
    free = free_bytes(settings.data_dir)
    said = f"{free / 1e9:,.1f} GB are free."
    if free < settings.min_free_bytes:
        return Finding("error", "room", f"{said} The server takes nothing new.", "Free some space on its disk.")
    return Finding("ok", "room", said)


def _keyring(settings: Settings) -> Keyring | None:
    path: Path = settings.data_dir / FILE_NAME
    if not path.exists() and read_master_key(settings) is not None:
        return None  # opening would make one
    return open_keyring(settings)
