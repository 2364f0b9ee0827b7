"""Examines the data of a server, beside it or without it; it changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone

from mahtai.data_folder import free_bytes
from mahtai.db.migrate import RestoreUnfinished
from mahtai.errors import MahtaiError
from mahtai.foundation import MARKER
from mahtai.models.catalogue import Catalogue
from mahtai.security.tls import WARN_BEFORE, certificate_files, checked_certificate, own_files
from mahtai.settings import Settings
from mahtai.upkeep.blobs_check import check_blobs, files_of
from mahtai.upkeep.finding import Finding
from mahtai.upkeep.models_check import check_models
from mahtai.upkeep.record_check import check_record
from mahtai.upkeep.secrets_check import check_keyring, check_rights, check_secrets
from mahtai.upkeep.tables_check import check_sealed, check_tables, has_rows, stored_hashes


def examine(settings: Settings, quick: bool = False) -> Iterator[Finding]:
    """Look at rights, room, certificate, models, keys, tables, secrets and blobs.

    Args:
        quick: do not read whole files.
    """
    if not settings.data_dir.is_dir():
        advice = "Set MAHTAI_DATA_DIR as the server has it."
        yield Finding("error", "folder", f"There is no data folder {settings.data_dir}.", advice)
        return
    if (settings.data_dir / MARKER).exists():
        yield Finding("error", "folder", RestoreUnfinished().reason, RestoreUnfinished().hint or "")
    yield from check_rights(settings)
    yield _check_room(settings)
    yield from _check_certificate(settings)
    yield from check_models(Catalogue(settings.models_path, settings.versions_dir), settings.versions_dir)
    told, keyring = check_keyring(settings)
    yield told
    yield from check_tables(settings, quick)
    files = files_of(settings.blobs_dir)
    try:
        known = stored_hashes(settings)
        has_patients, has_record = (has_rows(settings, table) for table in ("patient_keys", "audit_events"))
    except (sqlite3.Error, MahtaiError):
        yield Finding("error", "blobs", "Not looked at: the tables do not say which there are.", "See database.")
        return
    yield from check_record(settings)
    is_open = told.level == "ok"  # else one line says it for all of them
    if is_open:
        yield from check_secrets(settings, keyring, has_patients, has_record)
    if keyring is not None and not quick:
        try:
            yield from check_sealed(settings, keyring)
        except (sqlite3.Error, MahtaiError):
            yield Finding("error", "database", "Not every encrypted value can be looked at.", "See database, above.")
    yield from check_blobs(settings.blobs_dir, files, known, keyring, quick or not is_open)


def _check_room(settings: Settings) -> Finding:
    free = free_bytes(settings.data_dir)
    said = f"{free / 1e9:,.1f} GB are free."
    if free < settings.min_free_bytes:
        return Finding("error", "room", f"{said} The server takes nothing new.", "Free some space on its disk.")
    return Finding("ok", "room", said)


def _check_certificate(settings: Settings) -> Iterator[Finding]:
    try:
        files = certificate_files(settings) or own_files(settings.config_dir)
        if not files.certificate.exists():
            return
        until = checked_certificate(files).not_valid_after_utc
    except MahtaiError as error:
        yield Finding("error", "TLS", error.reason, error.hint or "")
        return
    is_near = until - datetime.now(timezone.utc) < WARN_BEFORE
    advice = "Replace it (mahtai tls renew)." if is_near else ""
    yield Finding("warning" if is_near else "ok", "TLS", f"The certificate is valid until {until:%Y-%m-%d}.", advice)
