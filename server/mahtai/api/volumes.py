"""Volumes and label files by the hash of their content."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse
from pydantic import ConfigDict, Field
from starlette.requests import ClientDisconnect

from mahtai.api.acting import Acting
from mahtai.api.blob_response import blob_response
from mahtai.api.forms import EXAMPLE_HASH, Answer, Form, Sha256
from mahtai.api.openapi import FILE, FILE_BODY, problems
from mahtai.api.services import Called
from mahtai.cases.blob import BlobRecord
from mahtai.cases.intake import Upload
from mahtai.errors import MahtaiError

CHUNK_BYTES = 1 << 20
DRAIN_LIMIT_S = 20.0
CHECKS_AT_ONCE = 2
"""Uploads whose voxels are looked at in the same moment: each holds a whole volume in memory."""

router = APIRouter(prefix="/v1/volumes", tags=["volumes"], responses=problems(401))

Hash = Annotated[Sha256, Path(description="SHA-256 of the decoded content.")]

_checks: CapacityLimiter | None = None


class VolumeOut(Answer):
    """A volume or a label file on the server; a list of landmarks has no voxels."""

    sha256: Sha256
    bytes: int
    kind: Literal["volume", "segmentation", "landmarks", "measurements"]
    format: str
    dtype: str | None = None
    shape: list[int] | None = Field(None, description="Voxels along I, J, K.")
    spacing_mm: list[float] | None = None
    ijk_to_ras: list[list[float]] | None = Field(None, description="4×4, voxel indices to RAS in mm.")
    left_handed: bool | None = None
    points: int | None = Field(None, description="Landmarks with a position.")
    landmark_set: str | None = None
    warnings: list[str]
    created_at: datetime

    @classmethod
    def of(cls, blob: BlobRecord) -> VolumeOut:
        """From the record of a blob."""
        own = {"sha256": blob.sha256, "bytes": blob.bytes, "created_at": blob.created_at}
        return cls.model_validate({**blob.info, **own})


class MissingIn(Form):
    """Hashes to look for."""

    model_config = ConfigDict(json_schema_extra={"example": {"sha256": [EXAMPLE_HASH]}})

    sha256: list[Sha256] = Field(max_length=1000)


class MissingOut(Answer):
    """Those that would have to be uploaded."""

    missing: list[Sha256]


@router.post("/missing", responses=problems(422))
def find_missing(wanted: MissingIn, services: Called, person: Acting) -> MissingOut:
    """Which of these volumes the server does not have from you or for you, in one round trip."""
    seen = services.visibility.seen(person, wanted.sha256)
    missing = {*services.intake.missing(wanted.sha256), *(set(wanted.sha256) - seen)}
    return MissingOut(missing=[sha256 for sha256 in dict.fromkeys(wanted.sha256) if sha256 in missing])


@router.put(
    "/{sha256}",
    responses={201: {"model": VolumeOut, "description": "It was new."}, **problems(413, 415, 422, 503, 507)},
    openapi_extra=FILE_BODY,
)
async def upload_volume(
    sha256: Hash,
    request: Request,
    response: Response,
    services: Called,
    person: Acting,
    content_encoding: Annotated[str, Header(description="`identity`, `gzip` or `zstd`.")] = "identity",
) -> VolumeOut:
    """Upload a volume (NRRD, NIfTI, a zip of one DICOM series), a 2-D image (PNG, JPEG, TIFF, BMP, DICOM CR or DX),
    a segmentation (.seg.nrrd) or landmarks (.mrk.json).

    It is hashed, and its header and voxels are checked; what is refused leaves nothing behind. 200 if the server
    had it already.
    """
    known = await to_thread.run_sync(services.intake.find, sha256)
    # who knows only the hash has to show the content; else the hash of a scan would be enough to get it
    if known is not None and sha256 in await to_thread.run_sync(services.visibility.seen, person, [sha256]):
        await drain(request)
        return VolumeOut.of(known)
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() else None
    try:
        upload = await to_thread.run_sync(services.intake.begin, sha256, content_encoding, announced)
        blob, is_new = await _take(upload, request)
        await to_thread.run_sync(services.visibility.hold, person, sha256)
    except MahtaiError:
        await drain(request)  # a client that is still sending would not see the answer
        raise
    response.status_code = 201 if is_new else 200
    return VolumeOut.of(blob)


@router.head("/{sha256}", responses={200: {"description": "It is here."}, **problems(404)})
def has_volume(sha256: Hash, services: Called) -> Response:
    """Whether the server has a volume."""
    blob, _ = services.intake.get(sha256)
    return Response(headers={"Content-Length": str(blob.bytes), "ETag": f'"{sha256}"'})


@router.get("/{sha256}", response_class=FileResponse, responses={**FILE, **problems(404)})
def get_volume(sha256: Hash, services: Called) -> Response:
    """The bytes as they were uploaded, decoded."""
    _, stored = services.intake.get(sha256)
    return blob_response(stored, "application/octet-stream")


async def _take(upload: Upload, request: Request) -> tuple[BlobRecord, bool]:
    """Write the body as it comes, off the event loop; a client that goes away leaves nothing behind."""
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= CHUNK_BYTES:
                await to_thread.run_sync(upload.write, bytes(waiting))
                waiting.clear()
        await to_thread.run_sync(upload.write, bytes(waiting))
        return await to_thread.run_sync(upload.finish, limiter=check_limiter())
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(upload.close)


async def drain(request: Request) -> None:
    """Read what the client is still sending, for a while, so that it comes to read the answer."""
    with anyio.move_on_after(DRAIN_LIMIT_S):
        try:
            async for _ in request.stream():
                pass
        except (ClientDisconnect, RuntimeError):  # gone, or the body was read to its end before
            return


def check_limiter() -> CapacityLimiter:
    """For those who look at the voxels of an upload."""
    global _checks
    if _checks is None:
        _checks = CapacityLimiter(CHECKS_AT_ONCE)
    return _checks
