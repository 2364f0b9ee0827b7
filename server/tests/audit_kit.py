"""A record with entries of all kinds, and somebody who may write its tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mahtai.db.engine import Database
from mahtai.security.audit.chain import canonical, entry_sha256, sha256_of
from mahtai.security.audit.event import AuditEvent
from mahtai.security.audit.trail import AuditTrail
from mahtai.security.audit.verify import Report, verify

KINDS = tuple(
    json.loads((Path(__file__).parents[1] / "mahtai" / "security" / "audit" / "retention.json").read_text("utf-8"))[
        "days"
    ]
)

CASE = "case/2f1c6c1e-5d0b-4a53-9f5e-0f6f2a1d7b3c"

COLUMNS = ("number", "at", "kind", "who", "body", "body_sha256", "previous", "sha256")


def event(number: int = 0, kind: str = "", **other: Any) -> AuditEvent:
    """One that can be told from others by its detail ``n``."""
    values: dict[str, Any] = {
        "kind": kind or KINDS[number % len(KINDS)],
        "action": "CRUDE"[number % 5],
        "outcome": ("success", "refused", "failed")[number % 3],
        "who": None if number % 4 == 3 else f"reader {number % 7}",
        "role": "radiologist",
        "address": ("10.0.0.7", "", "fe80::1", "ward-3.example")[number % 4],
        "object": (CASE, "account/1", "", "inference/9")[number % 4],
        "detail": {"call": "GET /v1/x", "n": str(number)},
    }
    return AuditEvent(**{**values, **other})


@dataclass
class Record:
    """The record of a data folder."""

    database: Database
    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def secrets(self) -> Path:
        return self.root / "data" / "secrets"

    @contextmanager
    def trail(self, name: str = "one") -> Iterator[AuditTrail]:
        """A server's, from its start to its stop."""
        trail = AuditTrail(self.database, self.config, self.secrets, name)
        trail.start()
        yield trail
        trail.stop()

    def write(self, count: int, first: int = 0) -> None:
        """A server that writes so many entries and stops."""
        with self.trail() as trail:
            for each in [trail.record(event(first + number)) for number in range(count)]:
                each.result()

    def verify(self, anchor: Path | None = None, with_seals: bool = True) -> Report:
        """What ``mahtai audit verify`` finds; without seals it is somebody with the public key only."""
        if with_seals:
            return verify(self.database, self.config, self.secrets, anchor_file=anchor)
        own = self.config / "audit-anchor.json"
        return verify(
            self.database, self.config, self.root / "nowhere", anchor_file=anchor or (own if own.is_file() else None)
        )

    def rows(self, table: str = "audit_events") -> list[dict[str, Any]]:
        """All rows, as they are."""
        with self.database.read() as session:
            return [dict(row._mapping) for row in session.execute(text(f"SELECT * FROM {table} ORDER BY number"))]

    def tamper(self, *statements: str | tuple[str, dict[str, Any]]) -> None:
        """As somebody who owns the database: its own refusals are taken away first."""
        with self.database.write() as session:
            for drop in self._refusals(session.execute):
                session.execute(text(drop))
            for statement in statements:
                words, values = statement if isinstance(statement, tuple) else (statement, {})
                session.execute(text(words), values)

    def _refusals(self, execute: Callable[..., Any]) -> list[str]:
        if self.database.is_sqlite:
            names = execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'audit_%'"))
            return [f"DROP TRIGGER {name}" for (name,) in names]
        return [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in ("audit_events", "audit_checkpoints")]

    def put_row(self, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Statement that adds a row."""
        return f"INSERT INTO audit_events VALUES ({', '.join(f':{name}' for name in COLUMNS)})", row


def recomputed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose hashes fit again, made by somebody without the key."""
    previous = "0" * 64
    made = []
    for row in rows:
        body_sha256 = row["body_sha256"] if row["body"] is None else sha256_of(row["body"])
        digest = entry_sha256(previous, row["number"], row["at"], row["kind"], body_sha256)
        made.append({**row, "previous": previous, "body_sha256": body_sha256, "sha256": digest})
        previous = digest
    return made


def edited_body(body: str, **values: Any) -> str:
    """A body that tells something else, in the same form."""
    return canonical({**json.loads(body), **values})
