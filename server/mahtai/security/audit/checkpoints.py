"""Signed statements of how far the record went, and the newest of them outside of the database.

Each signature also covers the signature before it, so that no checkpoint can be taken out. The newest lies as anchor
in the settings folder; a copy of that file elsewhere shows later whether the end of the record was cut off.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from mahtai.db.clock import moment
from mahtai.db.trust_tables import CheckpointRow
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.file_lock import changing
from mahtai.security.audit.chain import Link, canonical, instant
from mahtai.security.audit.signing import SigningKey, is_signed
from mahtai.volumes.durable import write_whole

ANCHOR_FILE = "audit-anchor.json"


class AnchorBroken(MahtaiError):
    """An anchor file cannot be read."""

    kind = "audit-anchor"
    title = "The anchor of the record cannot be read"
    status = 500


@dataclass(frozen=True)
class Checkpoint:
    """Entry ``number`` has this hash; ``before`` is the signature of the checkpoint before, empty for the first."""

    number: int
    at: str
    sha256: str
    key: str
    before: str
    signature: str

    def is_signed_by(self, keys: Mapping[str, Ed25519PublicKey]) -> bool:
        """Whether one of the keys has signed all of it."""
        if self.key not in keys:
            return False
        try:
            signature = base64.b64decode(self.signature, validate=True)
        except (binascii.Error, ValueError, TypeError):
            return False
        if base64.b64encode(signature).decode() != self.signature:  # the same bytes have several spellings
            return False
        return is_signed(keys[self.key], signature, _message(self.number, self.at, self.sha256, self.key, self.before))


def newest(session: Session) -> CheckpointRow | None:
    """The checkpoint that went farthest."""
    return session.scalars(select(CheckpointRow).order_by(CheckpointRow.number.desc()).limit(1)).first()


def add_checkpoint(session: Session, end: Link, key: SigningKey) -> Checkpoint | None:
    """Sign the end of the record, in a writing transaction; None where that was done before."""
    last = newest(session)
    if last is not None and last.number >= end.number:
        return None
    at = instant(moment(session))
    before = "" if last is None else last.signature
    signature = key.sign(_message(end.number, at, end.sha256, key.fingerprint, before))
    made = Checkpoint(end.number, at, end.sha256, key.fingerprint, before, base64.b64encode(signature).decode())
    session.add(
        CheckpointRow(number=made.number, at=made.at, sha256=made.sha256, key=made.key, signature=made.signature)
    )
    return made


def _message(number: Any, at: Any, sha256: Any, key: Any, before: Any) -> bytes:
    return canonical(["mahtai audit checkpoint", number, at, sha256, key, before]).encode("utf-8", "surrogatepass")


class Anchors:
    """A file with the newest checkpoint of each data folder that is used with these settings."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, data: str) -> Checkpoint | None:
        """The anchor of a data folder.

        Raises:
            AnchorBroken: the file is none of ours.
        """
        return self._all().get(data)

    def only(self) -> Checkpoint | None:
        """The anchor of a file that has just one."""
        known = self._all()
        return next(iter(known.values())) if len(known) == 1 else None

    def put(self, data: str, checkpoint: Checkpoint) -> None:
        """Replace the anchor of a data folder, unless it goes farther.

        Raises:
            OSError: the file cannot be written.
            AnchorBroken: what is there is none of ours, and stays as evidence.
        """
        with changing(self._path):  # servers of several data folders may share the file
            known = self._all()
            if data not in known or known[data].number < checkpoint.number:
                self._write({**known, data: checkpoint})

    def _write(self, anchors: Mapping[str, Checkpoint]) -> None:
        content = {"anchors": {place: asdict(each) for place, each in anchors.items()}}
        write_whole(self._path, (json.dumps(content, indent=1) + "\n").encode("utf-8"))

    def set_aside(self, data: str, why: str) -> Checkpoint | None:
        """Keep the anchor of a data folder under another name, because its record was replaced by a backup's.

        Raises:
            OSError, AnchorBroken: as ``put``.
        """
        with changing(self._path):
            known = self._all()
            before = known.pop(data, None)
            if before is not None:
                self._write({**known, f"{data} before the backup of {why} was restored": before})
            return before

    def _all(self) -> dict[str, Checkpoint]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
            return {str(place): Checkpoint(**fields) for place, fields in content["anchors"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnchorBroken(
                f"The anchor file {self._path} cannot be read.",
                "It may have been changed. Compare it with a copy, or move it away; the record itself was not touched.",
            ) from error
