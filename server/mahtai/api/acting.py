"""Who a request comes from, as the gate found it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from mahtai.cases.person import ROLES, Person
from mahtai.security.authentication import Principal


def principal(request: Request) -> Principal:
    """Who acts, and in which session."""
    found = request.scope["mahtai.principal"]
    assert isinstance(found, Principal)
    return found


def acting(
    request: Request,
    mahtai_user: Annotated[
        str | None, Header(description="Name of the reader, percent-encoded UTF-8; only where nobody signs in.")
    ] = None,
    mahtai_role: Annotated[str | None, Header(description=f"One of {', '.join(ROLES)}; likewise.")] = None,
) -> Person:
    """The person who acts. The headers are read by the gate; here they are described."""
    return principal(request).person


def address_of(request: Request) -> str:
    """Where a request came from."""
    return "" if request.client is None else request.client.host[:64]


def is_about(request: Request, kind: str, name: str) -> None:
    """Tell the record what a request was about, where its path does not."""
    request.scope["mahtai.object"] = f"{kind}/{name}"


Acting = Annotated[Person, Depends(acting)]
ActingIn = Annotated[Principal, Depends(principal)]
"""With the session."""
FromAddress = Annotated[str, Depends(address_of)]
