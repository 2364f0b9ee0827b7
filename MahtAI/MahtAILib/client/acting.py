"""Who asks a server for something, as its requests say."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Person:
    """A reader.

    Attributes:
        name: up to 200 characters; empty for nobody in particular.
        role: ``viewer``, ``annotator``, ``radiologist``, ``admin`` or ``service``.
    """

    name: str
    role: str = "radiologist"

    def headers(self) -> dict[str, str]:
        """For a request; a header holds ASCII only, so the name is percent-encoded UTF-8."""
        if not self.name:
            return {}
        return {"MahtAI-User": quote(self.name, safe=""), "MahtAI-Role": self.role}


NOBODY = Person("")


@dataclass(frozen=True)
class Account:
    """An account on a server, and what it may do there.

    Attributes:
        name: under which its work is kept.
        permissions: such as ``labels.write``.
        has_codes: whether a code of an authenticator app is wanted with each sign-in.
    """

    id: str
    name: str
    role: str
    permissions: frozenset[str] = frozenset()
    has_codes: bool = False

    @property
    def person(self) -> Person:
        """As a reader."""
        return Person(self.name, self.role)

    def may(self, permission: str) -> bool:
        """Whether it has the permission."""
        return permission in self.permissions

    def is_called(self, name: str) -> bool:
        """Whether this name is its own; the server makes no difference between large and small letters."""
        return plain_name(name) == plain_name(self.name)


def plain_name(name: str) -> str:
    """A name in the form in which the server compares names."""
    return unicodedata.normalize("NFKC", name).strip().casefold()
