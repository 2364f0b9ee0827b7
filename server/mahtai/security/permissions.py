"""Reads the table of who may do what; the table itself is ``permissions.json``, and nothing else grants anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

TABLE = Path(__file__).with_name("permissions.json")


@dataclass(frozen=True)
class Call:
    """One call of the API.

    Attributes:
        name: such as ``GET /v1/cases/{case}``.
        needs: the permission.
        record: kind of the entry that the record gets; None for none.
        idle: sent by programs of their own accord, so that it does not keep a session awake.
    """

    name: str
    needs: str
    record: str | None = None
    idle: bool = False

    @property
    def is_open(self) -> bool:
        """Whether nobody has to sign in for it."""
        return self.needs == OPEN


def _read() -> dict[str, Any]:
    return dict(json.loads(TABLE.read_text("utf-8")))


_TABLE = _read()

OPEN: str = _TABLE["anybody"]
"""The permission that everybody has who can reach the server."""

EVERYTHING: frozenset[str] = frozenset(_TABLE["permissions"])

MEANING: Mapping[str, str] = MappingProxyType(_TABLE["meaning"])
"""Permission → what it allows, in words."""

CALLS: Mapping[str, Call] = MappingProxyType(
    {name: Call(name, row["needs"], row.get("record"), row.get("idle", False)) for name, row in _TABLE["calls"].items()}
)
"""``METHOD /path/{template}`` → what it needs. A call that is not in it is nobody's."""


def permissions_of(role: str) -> frozenset[str]:
    """What a role may do; nothing for a role that is unknown."""
    return frozenset(name for name, roles in _TABLE["permissions"].items() if isinstance(roles, list) and role in roles)
