"""What an entry is called in the standards; the table is ``codes.json``."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahtai.security.audit.reading import Entry

OWN = "99MAHTAI"
"""DICOM's form of the name of a private coding scheme (PS3.16, 99...)."""

APPLICATION = "110150"

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("codes.json").read_text("utf-8"))
_OTHER_OBJECT = {"type": "2"}


@dataclass(frozen=True)
class Codes:
    """Codes of an entry; ``type`` and ``lifecycle`` are None where nothing fits."""

    id: str
    type: str | None
    lifecycle: str | None
    outcome: str


def codes_of(entry: Entry) -> Codes:
    """Codes of what happened."""
    known = _TABLE["what"].get(entry.detail.get("what")) or _TABLE["what"].get(entry.detail.get("call"))
    row = known or _TABLE["kinds"].get(entry.kind) or _TABLE["kinds"]["server"]
    return Codes(row["id"], row.get("type"), row.get("lifecycle"), _TABLE["outcomes"].get(entry.outcome, "8"))


def name_of(code: str) -> str:
    """Meaning of a DICOM code."""
    return str(_TABLE["names"][code])


def lifecycle_name(code: str) -> str:
    """Meaning of a code of ISO 21089."""
    return str(_TABLE["lifecycles"][code])


def object_codes(about: str) -> tuple[str, str | None]:
    """Type and role of the object ``kind/id``."""
    row = _TABLE["objects"].get(about.partition("/")[0], _OTHER_OBJECT)
    return row["type"], row.get("role")


def role_name(code: str) -> str:
    """Meaning of an object's role."""
    return str(_TABLE["roles"][code])


def network_type(address: str) -> str:
    """``2`` for an IP address, ``1`` for the name of a machine."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "1"
    return "2"
