"""The multipart bodies of MONAI Label's clients: fields in memory, files on the disk as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import to_thread
from fastapi import Request

from mahtai.api.services import Services
from mahtai.api.volumes import CHUNK_BYTES, check_limiter, drain
from mahtai.cases.intake import Upload
from mahtai.cases.person import Person
from mahtai.errors import MahtaiError
from MahtAILib.client.multipart import MultipartError, MultipartReader, PartHeader

MOST_FIELD_BYTES = 1 << 20


class FormError(MahtaiError):
    """A request that is not as MONAI Label's clients send it."""

    kind = "monai-label-form"
    title = "The form cannot be used"
    status = 422


@dataclass
class Received:
    """A form, and its files until the request ends.

    Attributes:
        params: of the field of that name.
        files: field → file. names: field → what the client calls the file.
    """

    params: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Upload:
        """A file that must have come.

        Raises:
            FormError: it did not.
        """
        if name not in self.files:
            raise FormError(f"The form has no file in its field {name!r}.", "Send the file with the form.")
        return self.files[name]


@asynccontextmanager
async def received(request: Request, services: Services, file_fields: tuple[str, ...]) -> AsyncIterator[Received]:
    """Take a form; whatever was not kept is gone afterwards.

    Args:
        file_fields: that may hold a file each; any other file is refused before it is read.

    Raises:
        FormError, TooLarge, StorageFull: and nothing is kept.
    """
    form = Received()
    try:
        try:
            await _Taking(form, services, file_fields).take(request)
        except MultipartError as error:
            await drain(request)
            raise FormError(error.reason, error.hint) from error
        except MahtaiError:
            await drain(request)  # a client that is still sending would not see the answer
            raise
        yield form
    finally:
        with anyio.CancelScope(shield=True):
            for upload in form.files.values():
                await to_thread.run_sync(upload.close)


async def keep(upload: Upload, services: Services, person: Person) -> str:
    """Check a file that came and keep it as a volume; its SHA-256.

    Raises:
        VolumeError, GeometryError, StorageFull: and nothing is kept.
    """
    blob, _ = await to_thread.run_sync(upload.finish, limiter=check_limiter())
    if blob.kind != "volume":
        raise FormError("What was sent is no scan.", "Send the image itself; save labels with datastore/label.")
    await to_thread.run_sync(services.visibility.hold, person, blob.sha256)
    return blob.sha256


def read_params(text: str) -> dict[str, Any]:
    """The JSON object of the field ``params``.

    Raises:
        FormError: it is none.
    """
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormError("The field params is no JSON object.", "Update the program that sent it.")
    return found


class _Taking:
    """One form on its way in."""

    def __init__(self, form: Received, services: Services, file_fields: tuple[str, ...]) -> None:
        self._form = form
        self._services = services
        self._file_fields = file_fields
        self._fields: dict[str, bytearray] = {}
        self._upload: Upload | None = None
        self._field = bytearray()
        self._waiting = bytearray()

    async def take(self, request: Request) -> None:
        reader = MultipartReader(request.headers.get("content-type", ""))
        async for chunk in request.stream():
            for piece in reader.feed(chunk):
                if isinstance(piece, PartHeader):
                    await self._begin(piece)
                else:
                    await self._add(piece)
        await self._write(0)
        reader.finish()
        self._form.params = read_params(self._fields.get("params", b"").decode("utf-8", "replace"))

    async def _begin(self, header: PartHeader) -> None:
        await self._write(0)
        self._upload = None
        if header.file_name is None:
            self._field = self._fields.setdefault(header.name, bytearray())
            return
        if header.name not in self._file_fields or header.name in self._form.files:
            raise FormError(
                f"The form has a file in its field {header.name[:50]!r} that is not expected here.",
                f"It may have one file in each of: {', '.join(self._file_fields)}.",
            )
        self._upload = await to_thread.run_sync(self._services.intake.begin, None, "identity", None)
        self._form.files[header.name] = self._upload
        self._form.names[header.name] = header.file_name

    async def _add(self, piece: bytes) -> None:
        if self._upload is not None:
            self._waiting += piece
            await self._write(CHUNK_BYTES)
            return
        self._field += piece
        if sum(map(len, self._fields.values())) > MOST_FIELD_BYTES:
            raise FormError("The form's fields are too long.", "Send files as files.")

    async def _write(self, least: int) -> None:
        """Hand what waits to the file, off the event loop."""
        if self._upload is not None and len(self._waiting) >= max(least, 1):
            await to_thread.run_sync(self._upload.write, bytes(self._waiting))
            self._waiting.clear()
