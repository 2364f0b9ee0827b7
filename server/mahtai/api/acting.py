"""Who a request comes from."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header

from mahtai.cases.person import NOBODY_NAMED, ROLES, Person
from mahtai.errors import MahtaiError

LONGEST_NAME = 200


class WrongPerson(MahtaiError):
    """The headers name nobody that can be."""

    kind = "person"
    title = "It is not clear who asks"
    status = 422


def acting(
    mahtai_user: Annotated[str | None, Header(description="Name of the reader, percent-encoded UTF-8.")] = None,
    mahtai_role: Annotated[str | None, Header(description=f"One of {', '.join(ROLES)}.")] = None,
) -> Person:
    """The person that the headers name.

    Raises:
        WrongPerson: an unknown role, or a name that cannot be stored.
    """
    name = NOBODY_NAMED.name if mahtai_user is None else unquote(mahtai_user, errors="replace").strip()
    role = NOBODY_NAMED.role if mahtai_role is None else mahtai_role
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise WrongPerson(
            "The name of the reader is empty, too long, or has characters that cannot be shown.",
            f"Give a name of up to {LONGEST_NAME} characters.",
        )
    if role not in ROLES:
        raise WrongPerson(f"The role {role[:50]!r} is not known.", f"It is one of: {', '.join(ROLES)}.")
    return Person(name, role)


Acting = Annotated[Person, Depends(acting)]
