"""What every answer says to browsers, and under which names the server answers at all.

No answer allows another site's pages to read it (there are no Access-Control headers). A page could still reach this
computer's server under a name of its own that leads to 127.0.0.1; so requests for foreign names are refused.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mahtai.api.problems import MEDIA_TYPE, problem_body, problem_response
from mahtai.errors import MahtaiError
from mahtai.settings import LOOPBACK, Settings

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
"""Where a route says nothing else."""

ON_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def _bare_refusal() -> bytes:
    body = json.dumps(
        problem_body(
            "bad-request",
            "Bad Request",
            400,
            "This is no HTTP request that the server understands.",
            "Send the request again; if it happens again, update the program that sends it.",
            "",
        )
    )
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close", **ALWAYS}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n{body}".encode("ascii")


BARE_REFUSAL = _bare_refusal()
"""The whole answer to bytes that are no request."""


class UnknownName(MahtaiError):
    """The request is for a name that is not this server's."""

    kind = "unknown-host-name"
    title = "The server does not go by this name"
    status = 421

    def __init__(self) -> None:
        super().__init__(
            "The address of this request holds a name that is not this server's.",
            "Use the server's own name or number, or let those who look after it add the name to MAHTAI_NAMES.",
        )


def names_of_server(settings: Settings, certified: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names under which the server answers, in lower case; numbers need none, as no foreign page can have one."""
    own = (*LOOPBACK, settings.host, socket.gethostname(), *settings.names)
    return certified | frozenset(name.lower().rstrip(".") for name in own)


class StrictHeaders:
    """Outermost layer of the application.

    Args:
        names: gives the names under which it answers; None lets all in, where the application only describes itself.
    """

    def __init__(self, app: ASGIApp, names: Callable[[], frozenset[str]] | None) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse foreign names; add the headers to whatever is answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {**ALWAYS, **ON_TLS} if scope["scheme"] == "https" else ALWAYS

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in headers.items():
                    sent.setdefault(name, value)
            await send(message)

        if self._names is not None and not is_ours(Headers(scope=scope).get("host", ""), self._names()):
            await problem_response(UnknownName(), scope["path"])(scope, receive, strict)
        else:
            await self.app(scope, receive, strict)


def is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header (``name``, ``name:port``, ``[v6]:port``) is a number or one of the names."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    name = name.lower().rstrip(".")
    if not name or name in names or f"*.{name.partition('.')[2]}" in names:
        return True  # none at all is no browser
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
