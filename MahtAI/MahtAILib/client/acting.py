"""Who asks a server for something, as its requests say."""

from __future__ import annotations

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
