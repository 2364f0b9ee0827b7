"""The chain: each entry holds the hash of the one before, so that none can be changed, moved or taken out alone.

``body_sha256 = SHA-256(body)`` and ``sha256 = SHA-256(canonical([previous, number, at, kind, body_sha256]))``. Who it
was stands in the body and is covered with it, so that both can be erased when their time is over and the chain still
holds.
The body also has a seal (HMAC-SHA-256, RFC 2104, by a key that only the servers have) over itself and the hash before:
who can write the tables and compute hashes still cannot add an entry; and nobody can guess what an erased body was.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from mahtai.db.clock import moment
from mahtai.db.trust_tables import AuditRow
from mahtai.security.audit.event import AuditEvent
from mahtai.security.audit.signing import SigningKey

SEAL = "seal"


@dataclass(frozen=True)
class Link:
    """An entry, as the next one refers to it."""

    number: int
    sha256: str


BEGINNING = Link(0, "0" * 64)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def entry_sha256(previous: Any, number: Any, at: Any, kind: Any, body_sha256: Any) -> str:
    """What the next entry refers to."""
    return sha256_of(canonical([previous, number, at, kind, body_sha256]))


def seal_of(body: dict[str, Any], previous: Any, seal_key: bytes) -> str:
    """The seal of a body that has none yet."""
    text = canonical([previous, body])
    return hmac.new(seal_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def instant(time: datetime) -> str:
    """UTC with microseconds, such that later ones sort later: ``2026-01-31T08:15:00.123456Z``."""
    return f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def end_of(session: Session) -> Link:
    """The newest entry."""
    row = session.execute(select(AuditRow.number, AuditRow.sha256).order_by(AuditRow.number.desc()).limit(1)).first()
    return BEGINNING if row is None else Link(row.number, row.sha256)


def append(session: Session, end: Link, events: Sequence[AuditEvent], key: SigningKey, server: str) -> Link:
    """Put events behind ``end``, in a writing transaction.

    Returns:
        the new end.
    """
    at = instant(moment(session))
    rows = []
    for event in events:
        row = _row(event, end, at, key, server)
        rows.append(row)
        end = Link(row["number"], row["sha256"])
    session.execute(insert(AuditRow), rows)
    return end


def _row(event: AuditEvent, end: Link, at: str, key: SigningKey, server: str) -> dict[str, Any]:
    number = end.number + 1
    content = {
        "action": event.action,
        "address": event.address,
        "at": at,
        "detail": dict(event.detail),
        "key": key.fingerprint,
        "kind": event.kind,
        "number": number,
        "object": event.object,
        "outcome": event.outcome,
        "role": event.role,
        "server": server,
        "who": event.who,
    }
    body = canonical({**content, SEAL: seal_of(content, end.sha256, key.seal_key)})
    body_sha256 = sha256_of(body)
    return {
        "number": number,
        "at": at,
        "kind": event.kind,
        "who": event.who,
        "body": body,
        "body_sha256": body_sha256,
        "previous": end.sha256,
        "sha256": entry_sha256(end.sha256, number, at, event.kind, body_sha256),
    }
