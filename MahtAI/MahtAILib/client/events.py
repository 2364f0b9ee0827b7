"""Server-sent events (WHATWG HTML, section 9.2), parsed from the bytes as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAX_LINE_BYTES = 2**20


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its name (``message`` if the server gave none) and its data."""

    name: str
    data: str


def server_sent_events(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent | None]:
    """The events of a stream; None for each comment, which is a server's sign of life.

    Args:
        pieces: of the body, cut anywhere.

    Raises:
        ValueError: a line goes on for ever, so this is no event stream.
    """
    name, data = "", list[str]()
    for line in _lines(pieces):
        if not line:
            if data:
                yield ServerSentEvent(name or "message", "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            yield None
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines that are complete; one that the connection cuts off is dropped, as the standard says."""
    pending = b""
    for piece in pieces:
        # a lone CR ends a line too by the standard; MahtAI's server writes LF or CR LF
        *complete, pending = (pending + piece).split(b"\n")
        if len(pending) > _MAX_LINE_BYTES:
            raise ValueError("A line of the event stream does not end.")
        for line in complete:
            yield line.removesuffix(b"\r").decode(errors="replace")
