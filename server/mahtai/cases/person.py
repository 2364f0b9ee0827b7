"""Who acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["viewer", "annotator", "radiologist", "admin", "service"]

ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Person:
    """Somebody, by the name under which their work is kept, and what they are."""

    name: str
    role: str


NOBODY_NAMED = Person("local", "radiologist")
"""On one computer nobody signs in."""
