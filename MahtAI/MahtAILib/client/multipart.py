"""Multipart bodies (RFC 2046, RFC 7578): read piece by piece, and written without being put together.

MONAI Label's requests and answers come this way; our server's facade and our client of such servers share it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from MahtAILib.errors import ExplainedError

MAX_PARTS = 32
MAX_HEADER_BYTES = 2**14

_MAX_PADDING = 256
_BOUNDARY = re.compile(r";\s*boundary=(?:\"([^\"]{1,70})\"|([^\s\";,]{1,70}))", re.IGNORECASE)
_NAME = re.compile(r";\s*name=(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)
_FILE_NAME = re.compile(r";\s*filename=(?:\"(.*?)\"(?=\s*(?:;|$))|([^\s;]+))", re.IGNORECASE)
_CODED_FILE_NAME = re.compile(r";\s*filename\*=utf-8''([^\s;]+)", re.IGNORECASE)


class MultipartError(ExplainedError):
    """A body that is no multipart body, is damaged, or has too many or too large parts."""


@dataclass(frozen=True)
class PartHeader:
    """What is said of a part before its content.

    Attributes:
        name: of the form's field.
        file_name: last component of the name that the sender gave; None for a part that is no file.
    """

    name: str
    file_name: str | None = None


class MultipartReader:
    """Takes a body apart as it comes; holds no more of it than was fed last.

    Args:
        content_type: of the body, with its boundary.

    Raises:
        MultipartError: it is none of a multipart body.
    """

    def __init__(self, content_type: str) -> None:
        found = _BOUNDARY.search(content_type)
        if not content_type.strip().lower().startswith("multipart/") or found is None:
            raise MultipartError("What was sent is not a multipart form.", "Send multipart/form-data with a boundary.")
        self._delimiter = b"\r\n--" + (found[1] or found[2]).encode("ascii", "replace")
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very beginning is found like all others
        self._parts = 0
        self._place: Literal["before", "delimiter", "headers", "content", "after"] = "before"

    def feed(self, data: bytes) -> Iterator[PartHeader | bytes]:
        """A ``PartHeader`` where a part begins, then its content in pieces.

        Raises:
            MultipartError: damaged, too many parts, or headers that do not end.
        """
        self._buffer += data
        before = None
        while before != (before := (self._place, len(self._buffer))):
            if self._place == "delimiter":
                self._end_delimiter()
            elif self._place == "headers":
                yield from self._header()
            elif self._place == "after":
                self._buffer.clear()
            else:
                yield from self._content()

    def finish(self) -> None:
        """The body has ended.

        Raises:
            MultipartError: too early.
        """
        if self._place != "after":
            raise MultipartError("The form is cut off before its end.", "Send it again.")

    def _content(self) -> Iterator[bytes]:
        """What is certain to come before the next delimiter; what comes before the first one is nobody's."""
        end = self._buffer.find(self._delimiter)
        ready = end if end >= 0 else max(len(self._buffer) - len(self._delimiter) + 1, 0)
        piece = bytes(self._buffer[:ready])
        del self._buffer[: ready + (len(self._delimiter) if end >= 0 else 0)]
        is_wanted = piece and self._place == "content"
        if end >= 0:
            self._place = "delimiter"
        if is_wanted:
            yield piece

    def _end_delimiter(self) -> None:
        if self._buffer.startswith(b"--"):
            self._place = "after"
            return
        end = self._buffer.find(b"\r\n")
        if self._buffer[: max(end, 0)].strip() or (end < 0 and len(self._buffer) > _MAX_PADDING):
            raise MultipartError("The form is damaged: a part does not begin on a line of its own.", "Send it again.")
        if end >= 0:
            del self._buffer[: end + 2]
            self._place = "headers"

    def _header(self) -> Iterator[PartHeader]:
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer)) > MAX_HEADER_BYTES:
            raise MultipartError("The form is damaged: the headers of a part do not end.", "Send it again.")
        if end < 0:
            return
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MultipartError(f"The form has more than {MAX_PARTS} parts.", "Send fewer at a time.")
        header = _part_header(self._buffer[:end].decode("utf-8", "replace"))
        del self._buffer[: end + 4]
        self._place = "content"
        yield header


@dataclass(frozen=True)
class Part:
    """A part to write; ``file_name`` is ASCII without quotes."""

    name: str
    pieces: Sequence[bytes | memoryview]
    content_type: str
    file_name: str | None = None


class MultipartBody:
    """A form as a request body: known length, may be sent more than once, its parts are not copied."""

    def __init__(self, parts: Sequence[Part]) -> None:
        boundary = f"mahtai-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._pieces: list[bytes | memoryview] = []
        for part in parts:
            file = "" if part.file_name is None else f'; filename="{part.file_name}"'
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"{file}\r\n'
            self._pieces += [f"{head}Content-Type: {part.content_type}\r\n\r\n".encode(), *part.pieces, b"\r\n"]
        self._pieces.append(f"--{boundary}--\r\n".encode())

    def __len__(self) -> int:
        """Its size in bytes."""
        return sum(memoryview(piece).nbytes for piece in self._pieces)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Its pieces, from the beginning each time."""
        return iter(self._pieces)


def _part_header(text: str) -> PartHeader:
    disposition = next(
        (line for line in text.split("\r\n") if line.lower().startswith("content-disposition:")), "content-disposition:"
    )
    name, file, coded = (pattern.search(disposition) for pattern in (_NAME, _FILE_NAME, _CODED_FILE_NAME))
    if name is None:
        raise MultipartError("A part of the form has no name.", "Send it again.")
    given = None if file is None else file[1] if file[1] is not None else file[2]
    given = unquote(coded[1], errors="replace") if coded is not None else given
    # some clients send the whole path on their disk, of whatever system
    return PartHeader(name[1] if name[1] is not None else name[2], given and re.split(r"[\\/]", given)[-1])
