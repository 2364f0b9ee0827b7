"""A blob as an answer: straight from the disk where it lies plain, else decrypted piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import FileResponse, Response, StreamingResponse

from mahtai.volumes.store import StoredBlob

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""For a file that may be somebody's scan: no cache keeps it, no browser guesses what it is."""

PIECE_BYTES = 1 << 20


class LargePieces(FileResponse):
    """Reads a scan by the megabyte: each piece is a turn through a thread."""

    chunk_size = PIECE_BYTES


def blob_response(blob: StoredBlob, media_type: str, file_name: str | None = None) -> Response:
    """The plain bytes of a blob; private, so that no cache keeps it and no browser guesses what it is.

    Args:
        file_name: under which a browser saves it.

    Raises:
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    headers = private_headers(blob.sha256)
    path = blob.plain_path
    if path is not None:
        return LargePieces(path, media_type=media_type, filename=file_name, headers=headers)
    if file_name is not None:
        headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(file_name)}"
        if quote(file_name) == file_name:
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    stream = blob.open()
    headers["Content-Length"] = str(stream.seek(0, 2))
    stream.seek(0)
    return StreamingResponse(_pieces(stream), media_type=media_type, headers=headers)


def private_headers(sha256: str) -> dict[str, str]:
    """``PRIVATE``, and what tells the file from others."""
    return {"ETag": f'"{sha256}"', **PRIVATE}


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece
