"""What is kept of an item that the server has: by which key it went, and what became of it there."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from MahtAILib.client.durable import replace_durably
from MahtAILib.client.spool_item import content_of, utc_now


@dataclass(frozen=True)
class Receipt:
    """The server has this item.

    Attributes:
        client_key: of the item.
        case_id: of the case that it went to.
        version_id: that the server gave it; of a decision, the version that it is about.
        content: SHA-256 of what was sent; empty for a decision.
        sibling_of: id of another version of the same parent, that somebody saved meanwhile; empty for none.
        held_by: who else works on the case now; empty for nobody.
    """

    client_key: str
    case_id: str
    version_id: str
    content: str
    sibling_of: str = ""
    held_by: str = ""


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Put a receipt down.

    Raises:
        OSError: disk full, no permission.
    """
    document = {**asdict(receipt), "at": utc_now()}
    replace_durably(_path(folder, receipt.client_key), json.dumps(document).encode())


def read_receipt(folder: Path, client_key: str) -> Receipt | None:
    """The receipt of an item, if it has been sent."""
    try:
        document = json.loads(_path(folder, client_key).read_bytes())
        known = {item.name: str(document[item.name]) for item in fields(Receipt) if item.name in document}
        return Receipt(**{**known, "client_key": client_key, "content": content_of(document)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: Path, client_key: str) -> Path:
    return folder / f"{uuid.UUID(client_key)}.json"
