"""What every request passes first: the access log, the limit on its size, the token. Closed unless opened here."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mahtai.api.problems import problem_response
from mahtai.cases.intake import TooLarge
from mahtai.errors import MahtaiError
from mahtai.security.token import is_valid

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""Paths that need no token; everything else does, also what does not exist."""

MAX_JSON_BYTES = 1 << 20

MONAI_LABEL = "/monailabel"
"""Clients of MONAI Label have the token in their address behind this, because they send no header with every call."""

_VOLUMES = "/v1/volumes/"
_FORMS = tuple(f"{MONAI_LABEL}/{resource}/" for resource in ("datastore", "session", "infer"))
_INFERENCES, _CORRECTIONS = "/v1/inferences/", "/corrections"

_log = logging.getLogger("mahtai.access")


class WrongToken(MahtaiError):
    """No token, or another one than this server's."""

    kind = "wrong-token"
    title = "The access token is missing or wrong"
    status = 401


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
            # monitors ask every few seconds; that is of no interest to anybody
            level = logging.DEBUG if scope["path"] in OPEN_PATHS else logging.INFO
            milliseconds = 1000 * (time.perf_counter() - started)
            _log.log(level, "%s %s %d %.1f ms", scope["method"], template, status, milliseconds)


class Gate:
    """Lets through who has the token, and bodies of a size that their route can want."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 413, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            if scope["path"] not in OPEN_PATHS and not _takes_token_out(scope):
                _check_token(scope)
            if not _takes_file(scope):
                receive = await _small_body(scope, receive)
        except MahtaiError as error:
            response = problem_response(error, MONAI_LABEL if _is_monai_label(scope) else scope["path"])
            if error.status == HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = 'Bearer realm="MahtAI"'
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _takes_file(scope: Scope) -> bool:
    """Whether the route reads a body of its own size, which it limits itself."""
    method, path = scope["method"], scope["path"]
    if _is_monai_label(scope):
        return bool(path.startswith(_FORMS))
    if method == "PUT":
        return bool(path.startswith(_VOLUMES))
    return bool(method == "POST" and path.startswith(_INFERENCES) and path.endswith(_CORRECTIONS))


def _is_monai_label(scope: Scope) -> bool:
    return bool(scope["path"].startswith(f"{MONAI_LABEL}/"))


def _takes_token_out(scope: Scope) -> bool:
    """Whether the path holds the token; without it from here on, so that no log and no answer can show it."""
    if not _is_monai_label(scope):
        return False
    presented, slash, rest = scope["path"].removeprefix(f"{MONAI_LABEL}/").partition("/")
    if not is_valid(presented, scope["app"].state.services.token):
        return False
    scope["path"] = MONAI_LABEL + slash + rest
    scope["raw_path"] = quote(scope["path"]).encode("ascii")
    return True


def _check_token(scope: Scope) -> None:
    scheme, _, presented = Headers(scope=scope).get("authorization", "").partition(" ")
    if _is_monai_label(scope) and not presented:
        raise WrongToken(
            "The address does not hold this server's access token.",
            f"The address for clients of MONAI Label is http://HOST:PORT{MONAI_LABEL}/TOKEN; the token lies in the "
            "file `token` of the server's settings folder.",
        )
    if scheme.lower() != "bearer" or not presented:
        raise WrongToken(
            "The request came without an access token.",
            "Paste the server's token into the server settings; it lies in the file `token` of its settings folder.",
        )
    if not is_valid(presented.strip(), scope["app"].state.services.token):
        raise WrongToken(
            "The access token is not the one of this server.",
            "Paste it again; it lies in the file `token` of the server's settings folder.",
        )


async def _small_body(scope: Scope, receive: Receive) -> Receive:
    """Read the body, which must be small, and give it back as one message."""
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > MAX_JSON_BYTES:
        raise _too_large()
    body = bytearray()
    messages: list[Message] = []
    while not messages or messages[-1].get("more_body"):
        message = await receive()
        messages.append(message)
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > MAX_JSON_BYTES:
            raise _too_large()
    read = iter(messages)

    async def replay() -> Message:
        for message in read:
            return message
        return await receive()

    return replay


def _too_large() -> TooLarge:
    return TooLarge(
        f"The request has more than {MAX_JSON_BYTES >> 20} MiB, which no call but the upload of a volume takes.",
        "Send volumes with PUT /v1/volumes/{sha256}.",
    )
