"""The name and role that a request states where nobody signs in."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from mahtai.cases.person import NOBODY_NAMED, ROLES, Person
from mahtai.errors import MahtaiError

LONGEST_NAME = 200


class WrongPerson(MahtaiError):
    """The headers name nobody that can be."""

    kind = "person"
    title = "It is not clear who asks"
    status = 422


def person_named_by(headers: Mapping[str, str]) -> Person:
    """The person that the headers ``MahtAI-User`` (percent-encoded UTF-8) and ``MahtAI-Role`` name.

    Raises:
        WrongPerson: an unknown role, or a name that cannot be stored.
    """
    user, role = headers.get("mahtai-user"), headers.get("mahtai-role", NOBODY_NAMED.role)
    name = NOBODY_NAMED.name if user is None else unquote(user, errors="replace").strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise WrongPerson(
            "The name of the reader is empty, too long, or has characters that cannot be shown.",
            f"Give a name of up to {LONGEST_NAME} characters.",
        )
    if role not in ROLES:
        raise WrongPerson(f"The role {role[:50]!r} is not known.", f"It is one of: {', '.join(ROLES)}.")
    return Person(name, role)
