"""The access log: one line a request, which tells nothing of anybody."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

QUIET_PATHS = frozenset({"/healthz", "/readyz"})
"""Monitors ask every few seconds; that is of no interest to anybody."""

_log = logging.getLogger("mahtai.access")


class AccessLog:
    """One line a request: method, route template, status, milliseconds. No address, no id, no name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        started = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            template = getattr(scope.get("route"), "path", "-")
            level = logging.DEBUG if scope["path"] in QUIET_PATHS else logging.INFO
            milliseconds = 1000 * (time.perf_counter() - started)
            _log.log(level, "%s %s %d %.1f ms", scope["method"], template, status, milliseconds)
