"""Which call a request is, and what the table of permissions says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.routing import Match, Route
from starlette.types import Scope

from mahtai.security.permissions import CALLS, Call

OPENAPI = "/openapi.json"


@dataclass(frozen=True)
class Found:
    """A call and the parameters of its path; ``call`` is None where a route is not in the table."""

    name: str
    call: Call | None
    parameters: dict[str, str]


class Calls:
    """Finds the call of a request among the routes of the API."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes = [*(route for router in routers for route in routes_of(router))]

    def names(self) -> list[str]:
        """``METHOD /path/{template}`` of every route."""
        return [f"{method} {route.path}" for route in self._routes for method in sorted(route.methods or ())]

    def find(self, scope: Scope) -> Found | None:
        """The call, or None where no route takes the request: then there is nothing to allow."""
        if scope["path"] == OPENAPI and scope["method"] in ("GET", "HEAD"):
            return Found(f"GET {OPENAPI}", CALLS[f"GET {OPENAPI}"], {})
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                name = f"{scope['method']} {route.path}"
                parameters = {key: str(value) for key, value in child.get("path_params", {}).items()}
                return Found(name, CALLS.get(name), parameters)
        return None


def routes_of(router: Any) -> Iterator[Route]:
    """The routes of a router and of those that it includes."""
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included)
        elif isinstance(route, Route):
            yield route
