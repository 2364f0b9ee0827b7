"""Goes through the whole record and tells what is not as it was written. Memory does not grow with the record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.trust_tables import AuditRow, CheckpointRow
from mahtai.security.at_rest.keys import Keys
from mahtai.security.audit.chain import BEGINNING, SEAL, Link, canonical, entry_sha256, seal_of, sha256_of
from mahtai.security.audit.checkpoints import ANCHOR_FILE, AnchorBroken, Anchors, Checkpoint
from mahtai.security.audit.erasure import Erased
from mahtai.security.audit.signing import SigningKey, existing_signing_key, public_keys
from mahtai.security.audit.trail import CHANGED, CHECKPOINT_EVENTS, MOST_AT_ONCE

MOST_FINDINGS = 1000
LONGEST_UNSIGNED = CHECKPOINT_EVENTS + MOST_AT_ONCE

_CHUNK = 2000


@dataclass(frozen=True)
class Finding:
    """What is wrong; ``number`` of the entry, 0 where it is none in particular."""

    number: Any
    what: str


@dataclass
class Report:
    """What was checked and found; of the findings and remarks the first ``MOST_FINDINGS`` are kept."""

    entries: int = 0
    erased: int = 0
    checkpoints: int = 0
    seconds: float = 0.0
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)

    def add(self, number: Any, what: str) -> None:
        """Keep a finding."""
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(number, what))

    def remark(self, number: Any, what: str) -> None:
        """Keep something that is odd and no proof of a change."""
        if len(self.remarks) < MOST_FINDINGS:
            self.remarks.append(Finding(number, what))


def verify(
    database: Database,
    config_dir: Path,
    secrets_dir: Path,
    keys: Keys | None = None,
    anchor_file: Path | None = None,
) -> Report:
    """Check every entry and checkpoint.

    Args:
        keys: of data at rest; None where there are none.
        anchor_file: a copy of the anchor that was kept elsewhere; by default the one in ``config_dir``.

    Raises:
        MahtaiError: the database, a key or the given anchor cannot be read.
    """
    began = time.perf_counter()
    report = Report()
    # first the anchor, then the tables: a server that writes meanwhile is never behind its anchor
    anchor = _anchor(report, anchor_file or config_dir / ANCHOR_FILE, str(secrets_dir), anchor_file is not None)
    walk = _Walk(report, public_keys(config_dir), existing_signing_key(secrets_dir, keys), anchor)
    try:
        with database.read() as session:
            walk.through(_entries(session), _Ahead(_checkpoints(session)))
    except DatabaseUnavailable as error:
        if "decode" not in str(error.__cause__):
            raise
        report.add(report.entries + 1, "it, or one soon after, holds bytes that are no text: it was changed")
    report.seconds = time.perf_counter() - began
    return report


class _Walk:
    """What is known on the way from the first entry to the last."""

    def __init__(
        self,
        report: Report,
        keys: Mapping[str, Ed25519PublicKey],
        own: SigningKey | None,
        anchor: Checkpoint | None,
    ) -> None:
        self._report = report
        self._keys = keys
        self._own = own
        self._anchor = anchor
        self._last = BEGINNING
        self._last_at = ""
        self._signed = 0
        self._signature = ""
        self._erased = Erased()
        self._unsealed = 0
        self._is_own_time = False

    def through(self, entries: Iterator[Row], signed: _Ahead) -> None:
        """Check all, each checkpoint beside its entry."""
        for row in entries:
            self.entry(row)
            for checkpoint in signed.until(row.number):
                self.checkpoint(checkpoint, row)
        for checkpoint in signed.rest():
            self.checkpoint(checkpoint, None)
        self.end()

    def entry(self, row: Row) -> None:
        """Check one entry against itself and the one before."""
        self._report.entries += 1
        number = row.number
        if not isinstance(number, int) or not _all_text(row.at, row.kind, row.body_sha256, row.previous, row.sha256):
            self._report.add(number, "it holds what is neither number nor text: it was changed")
            return
        if number != self._last.number + 1:
            missing = f"{self._last.number + 1} to {number - 1}" if number > self._last.number else "before it"
            self._report.add(number, f"entries are missing: {missing}")
        if row.previous != self._last.sha256 and (number == self._last.number + 1):
            self._report.add(number, "it does not follow from the entry before: one of them was changed or replaced")
        if row.sha256 != entry_sha256(row.previous, number, row.at, row.kind, row.body_sha256):
            self._report.add(number, "it was changed: its hash does not fit")
        if row.body is None:
            self._no_body(row)
        else:
            self._body(row)
        if row.at < self._last_at:
            self._report.remark(number, f"the clock went back: {self._last_at} was before {row.at}")
        self._last, self._last_at = Link(number, row.sha256), row.at
        if self._anchor is not None and number == self._anchor.number and row.sha256 != self._anchor.sha256:
            self._report.add(number, "it is not the entry that the anchor holds: the record was written anew")
        if number - self._signed > LONGEST_UNSIGNED:
            self._report.add(number, f"checkpoints are missing since {self._signed}")
            self._signed = number

    def checkpoint(self, row: Any, entry: Row | None) -> None:
        """Check one checkpoint; ``entry`` is that of its number or, if there is none, the one after."""
        self._report.checkpoints += 1
        if not isinstance(row.number, int) or not _all_text(row.at, row.sha256, row.key, row.signature):
            self._report.add(row.number, "its checkpoint holds what is neither number nor text: it was changed")
            return
        checkpoint = Checkpoint(row.number, row.at, row.sha256, row.key, self._signature, row.signature)
        if row.key not in self._keys:
            self._report.add(row.number, "its checkpoint was signed by an unknown key")
        elif not checkpoint.is_signed_by(self._keys):
            self._report.add(row.number, "the signature is wrong: its checkpoint was changed, or one before removed")
        if entry is None:
            self._report.add(row.number, "it was signed and is not there: the end of the record was cut off")
        elif entry.number == row.number and entry.sha256 != row.sha256:
            self._report.add(row.number, "it is not the entry that was signed")
        self._signed, self._signature = row.number, row.signature

    def end(self) -> None:
        """What shows only at the end."""
        anchor = self._anchor
        if anchor is not None and anchor.number > self._last.number:
            self._report.add(anchor.number, f"the end of the record was cut off after {self._last.number}")
        if anchor is not None and not anchor.is_signed_by(self._keys):
            self._report.add(anchor.number, "the anchor's signature is wrong")
        for number, what in self._erased.unexplained():
            self._report.add(number, what)
        if self._unsealed:
            self._report.remark(0, f"the seals of {self._unsealed} entries were not checked: their key is not here")

    def _no_body(self, row: Row) -> None:
        self._report.erased += 1
        if row.who is not None:
            self._report.add(row.number, "somebody was written into an entry that was erased")
        self._erased.see(row.number, row.kind, row.at)

    def _body(self, row: Row) -> None:
        if not isinstance(row.body, str) or sha256_of(row.body) != row.body_sha256:
            self._report.add(row.number, "its content was changed")
            return
        try:
            body = dict(json.loads(row.body))
        except (ValueError, TypeError):
            self._report.add(row.number, "its content is not of this program")
            return
        if [body.get(name) for name in ("number", "at", "kind", "who")] != [row.number, row.at, row.kind, row.who]:
            self._report.add(row.number, "its content and its columns tell different things")
        self._seal(row, body)
        detail = body.get("detail")
        if isinstance(detail, dict):
            if detail.get("what") == CHANGED:
                self._report.add(row.number, f"the server found that entry {detail.get('entry')} was changed")
            self._erased.explain(row.kind, detail)

    def _seal(self, row: Row, body: dict[str, Any]) -> None:
        key = body.get("key")
        if self._own is None or key != self._own.fingerprint:
            if key not in self._keys:
                self._report.add(row.number, "it was written by somebody without a key of this server")
            elif self._is_own_time:
                self._report.add(row.number, "it was put there by somebody else: it is under a key of another time")
            self._unsealed += 1
            return
        self._is_own_time = True  # what is before may be of a key that was lost
        seal = body.pop(SEAL, None)
        if seal != seal_of(body, row.previous, self._own.seal_key) or row.body != canonical({**body, SEAL: seal}):
            self._report.add(row.number, "it was put there by somebody else: its seal is wrong")


class _Ahead:
    """Checkpoints in step with the entries."""

    def __init__(self, checkpoints: Iterator[Any]) -> None:
        self._checkpoints = checkpoints
        self._next = next(checkpoints, None)

    def until(self, number: Any) -> Iterator[Any]:
        """Those up to an entry."""
        while self._next is not None and isinstance(number, int) and _number(self._next) <= number:
            yield self._next
            self._next = next(self._checkpoints, None)

    def rest(self) -> Iterator[Any]:
        """Those behind the last entry."""
        if self._next is not None:
            yield self._next
        yield from self._checkpoints


def _all_text(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _number(row: Any) -> int:
    return row.number if isinstance(row.number, int) else 0


def _anchor(report: Report, path: Path, data: str, is_copy: bool) -> Checkpoint | None:
    anchors = Anchors(path)
    if is_copy and not path.is_file():
        raise AnchorBroken(f"There is no anchor file {path}.", "Give the copy of audit-anchor.json that you kept.")
    try:
        anchor = anchors.of(data) or (anchors.only() if is_copy else None)
    except AnchorBroken as error:
        if is_copy:
            raise
        report.add(0, error.reason)
        return None
    if anchor is None:
        if is_copy:
            raise AnchorBroken(f"{path} holds no anchor of this data folder.", "Give the copy that belongs to it.")
        report.remark(0, "there is no anchor: whether the end of the record was cut off cannot be told")
    return anchor


def _entries(session: Session) -> Iterator[Row]:
    statement = select(AuditRow.__table__).order_by(AuditRow.number)
    yield from session.execute(statement.execution_options(yield_per=_CHUNK))


def _checkpoints(session: Session) -> Iterator[Any]:
    statement = select(CheckpointRow.__table__).order_by(CheckpointRow.number)
    yield from session.execute(statement.execution_options(yield_per=_CHUNK))
