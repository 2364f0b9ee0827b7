"""Who acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from mahtai.security.permissions import EVERYTHING

Role = Literal["viewer", "annotator", "radiologist", "admin", "service"]

ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Person:
    """Somebody, by the name under which their work is kept, and what they may do.

    Attributes:
        role: what they are; it is kept beside their work.
        account: id of the account that signed in; None on one computer, where nobody signs in.
        teams: whose cases they see.
        permissions: names from ``security/permissions.json``.
    """

    name: str
    role: str
    account: str | None = None
    teams: tuple[str, ...] = ()
    permissions: frozenset[str] = field(default=EVERYTHING, repr=False)

    def may(self, permission: str) -> bool:
        """Whether they have the permission."""
        return permission in self.permissions


NOBODY_NAMED = Person("local", "radiologist")
"""On one computer nobody signs in."""


def requested_by(person: Person) -> str | None:
    """Under whose name a job goes into the line; None where nobody signs in."""
    return None if person.account is None else person.name
