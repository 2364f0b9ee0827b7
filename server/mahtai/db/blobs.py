"""Rows of accepted blobs; a blob without a row does not exist for clients."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from mahtai.cases.blob import BlobRecord
from mahtai.db.tables import VolumeRow


def add_blob(session: Session, blob: BlobRecord) -> bool:
    """Add a row unless there is one; True when it is new."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = {
        "sha256": blob.sha256,
        "bytes": blob.bytes,
        "kind": blob.kind,
        "format": blob.format,
        "info": blob.info,
        "created_at": blob.created_at,
    }
    unless_known = insert(VolumeRow).values(values).on_conflict_do_nothing(index_elements=["sha256"])
    return session.execute(unless_known.returning(VolumeRow.sha256)).first() is not None


def find_blob(session: Session, sha256: str) -> BlobRecord | None:
    """The row of a blob, if it was accepted."""
    row = session.get(VolumeRow, sha256)
    return None if row is None else _record(row)


def find_blobs(session: Session, hashes: Iterable[str]) -> dict[str, BlobRecord]:
    """Those of ``hashes`` that were accepted, by hash."""
    rows = session.scalars(select(VolumeRow).where(VolumeRow.sha256.in_(list(hashes))))
    return {row.sha256: _record(row) for row in rows}


def _record(row: VolumeRow) -> BlobRecord:
    return BlobRecord(row.sha256, row.bytes, row.kind, row.format, row.info, row.created_at)
