"""Bodies are small, but for calls that take a file and limit it themselves."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from mahtai.cases.intake import TooLarge

MAX_JSON_BYTES = 1 << 20

TAKES_FILE = frozenset(
    {
        "PUT /v1/volumes/{sha256}",
        "POST /v1/inferences/{inference}/corrections",
        "PUT /monailabel/datastore/",
        "PUT /monailabel/datastore/image",
        "PUT /monailabel/datastore/label",
        "PUT /monailabel/session/",
        "POST /monailabel/infer/{model}",
    }
)
"""Calls that read a body of its own size, which they limit themselves."""


async def small_body(scope: Scope, receive: Receive) -> Receive:
    """Read the body, which must be small, and give it back as one message.

    Raises:
        TooLarge: it is not.
    """
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
