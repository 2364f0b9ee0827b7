"""Inferences: start, look, watch, cancel, fetch the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ConfigDict, Field

from mahtai.api.acting import Acting, is_about
from mahtai.api.blob_response import PRIVATE, blob_response
from mahtai.api.forms import EXAMPLE_HASH, Answer, Form, Sha256, Slug, Text
from mahtai.api.openapi import EVENTS, FILE, FILE_BODY, problems
from mahtai.api.services import Called
from mahtai.cases.intake import TooLarge
from mahtai.cases.person import requested_by
from mahtai.errors import MahtaiError
from mahtai.jobs.inference import Inference
from mahtai.jobs.progress import Watcher
from mahtai.jobs.service import Jobs

HEARTBEAT_S = 10.0
QUIET_S = 0.05
"""Pause after an event, so that a stage that reports a thousand times a second sends twenty events."""

MOST_REGION_BYTES = 32 << 20

_NRRD = "application/x-nrrd"

PartName = Literal["segmentation", "confidence", "landmarks", "measurements"]

_ENDINGS: dict[PartName, str] = {
    "segmentation": ".seg.nrrd",
    "confidence": ".nrrd",
    "landmarks": ".mrk.json",
    "measurements": ".json",
}

router = APIRouter(prefix="/v1/inferences", tags=["inferences"], responses=problems(401))


class InferenceIn(Form):
    """A wish for an inference."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "brats_segresnet",
                "inputs": {"t1c": EXAMPLE_HASH, "t1": "1" * 64, "t2": "2" * 64, "flair": "3" * 64},
                "options": {"register": "auto"},
                "rerun": False,
            }
        }
    )

    model: Annotated[Text, Field(min_length=1, max_length=128)]
    inputs: dict[Slug, Sha256] = Field(max_length=32, description="Channel id → SHA-256 of an uploaded volume.")
    options: dict[Slug, Any] = Field(default_factory=dict, max_length=64)
    rerun: bool = Field(False, description="Do it again even if the same was done before.")
    priority: Literal["reader", "unattended"] = Field(
        "reader", description="`unattended` jobs keep the engine busy and make room whenever a reader waits."
    )


class InferenceOut(Answer):
    """A job at this moment."""

    id: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    place: int | None = Field(description="Unfinished jobs before this one, while it is queued.")
    stage: str | None = Field(description="What a running job does.")
    fraction: float | None = Field(description="How much of the stage is done, 0 to 1.")
    preview: int | None = Field(description="Of a running job: a coarse result is there; grows when it is replaced.")
    kind: str | None = Field(description="Slug of the cause, of a failed job.")
    reason: str | None = Field(description="Why it failed.")
    hint: str | None = Field(description="What to do about it.")
    model: str
    model_version: str
    model_sha256: str
    inputs: dict[str, str]
    options: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Inference) -> InferenceOut:
        """From the service's view of the job."""
        problem = {} if job.problem is None else asdict(job.problem)
        return cls(
            id=job.id,
            state=job.state,
            place=job.place,
            stage=job.stage,
            fraction=job.fraction,
            preview=job.preview,
            kind=problem.get("kind"),
            reason=problem.get("reason"),
            hint=problem.get("hint"),
            model=job.model,
            model_version=job.model_version,
            model_sha256=job.model_sha256,
            inputs=dict(job.inputs),
            options=dict(job.options),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class PartOut(Answer):
    """A file of a result."""

    sha256: Sha256
    bytes: int
    media_type: str


class ResultOut(Answer):
    """What a succeeded inference made; the files are at ``…/result/{part}``."""

    segmentation: PartOut | None = None
    confidence: PartOut | None = None
    landmarks: PartOut | None = None
    measurements: PartOut | None = None
    summary: dict[str, Any] = Field(
        description="Volumes in ml or landmarks, confidence, warnings, steps, timings, model, labels."
    )


@router.post(
    "",
    status_code=202,
    responses={
        200: {"model": InferenceOut, "description": "The same was asked for before."},
        **problems(404, 422, 503, 507),
    },
)
def start_inference(
    wish: InferenceIn, request: Request, response: Response, services: Called, person: Acting
) -> InferenceOut:
    """Accept an inference. The same model, inputs and options give the same job, unless it failed, was cancelled,
    or `rerun` is set. What is accepted is finished or reported as failed, also if the server dies meanwhile.
    """
    services.visibility.require_volumes(person, wish.inputs.values())
    job, is_new = services.jobs.submit(
        wish.model, wish.inputs, wish.options, wish.rerun, wish.priority, requested_by(person)
    )
    is_about(request, "inference", job.id)
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = f"/v1/inferences/{job.id}"
    return InferenceOut.of(job)


@router.get("/{inference}", responses=problems(404))
def get_inference(inference: str, services: Called) -> InferenceOut:
    """How the job stands."""
    return InferenceOut.of(services.jobs.get(inference))


@router.delete("/{inference}", responses=problems(404, 503))
def cancel_inference(inference: str, services: Called, person: Acting) -> InferenceOut:
    """Cancel the job. One that is finished stays as it is; the answer says how the job stands now."""
    return InferenceOut.of(services.jobs.cancel(inference, requested_by(person)))


@router.get("/{inference}/events", response_class=StreamingResponse, responses={**EVENTS, **problems(404)})
async def watch_inference(inference: str, services: Called) -> StreamingResponse:
    """Server-sent events: `progress` whenever the job has news, `done` once at its end; data as in the job itself.
    A comment every ten seconds shows that the line is alive.
    """
    first = await to_thread.run_sync(services.jobs.get, inference)
    return StreamingResponse(
        _events(services.jobs, first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/{inference}/preview", response_class=Response, responses={**FILE, **problems(404, 409)})
def get_preview(inference: str, services: Called) -> Response:
    """A coarse segmentation (.seg.nrrd, marked `Status: preview`) of a job that runs and takes long."""
    return Response(services.jobs.preview(inference), media_type=_NRRD, headers=PRIVATE)


@router.post(
    "/{inference}/corrections",
    response_class=Response,
    responses={**FILE, **problems(404, 409, 413, 422, 503)},
    openapi_extra=FILE_BODY,
)
async def correct_region(inference: str, request: Request, services: Called) -> Response:
    """Correct a region around what a reader painted. Nothing is stored.

    The body is a NRRD file on a box of the reference grid with two components of bytes: the labels as they are now,
    and the strokes (0 none, 1 the reader says background, 1 + v the reader says label v). The answer is a NRRD file
    with the new labels of the box, in which every stroke has the label that the reader gave it.
    """
    region = await _body(request)
    return Response(
        await to_thread.run_sync(services.jobs.correct, inference, region), media_type=_NRRD, headers=PRIVATE
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_REGION_BYTES:
            raise TooLarge(
                f"The region is larger than {MOST_REGION_BYTES >> 20} MB. Nothing was changed.",
                "Paint closer to where the model is wrong.",
            )
    return bytes(body)


@router.get("/{inference}/result", responses=problems(404, 409), response_model_exclude_none=True)
def get_result(inference: str, services: Called) -> ResultOut:
    """The parts of the result and the summary."""
    job = services.jobs.result(inference)
    parts = {name: asdict(part) for name, part in (job.parts or {}).items()}
    summary = dict(job.summary or {})
    remark = services.trials.remark(job.model, job.model_sha256)
    if remark is not None:
        summary["warnings"] = [*summary.get("warnings", []), remark]
    return ResultOut.model_validate({**parts, "summary": summary})


@router.get("/{inference}/result/{part}", response_class=FileResponse, responses={**FILE, **problems(404, 409)})
def get_result_file(inference: str, part: PartName, services: Called) -> Response:
    """One file of the result: `segmentation` (.seg.nrrd) and `confidence` (.nrrd) of a model that segments,
    `landmarks` (.mrk.json) and `measurements` (.json) of one that places landmarks.
    """
    found, stored = services.jobs.result_file(inference, part)
    return blob_response(stored, found.media_type, part + _ENDINGS[part])


async def _events(jobs: Jobs, first: Inference) -> AsyncIterator[str]:
    with jobs.watch(first.id) as watcher:
        async for text in _news(jobs, first.id, watcher):
            yield text


async def _news(jobs: Jobs, job: str, watcher: Watcher) -> AsyncIterator[str]:
    sent = ""
    # a look without waiting first: the watcher may have come after the last change
    async for changed in watcher.changes(HEARTBEAT_S, at_once=True):
        if not changed:
            yield ": still here\n\n"
            continue
        try:
            now = await to_thread.run_sync(jobs.get, job)
        except MahtaiError:
            return  # the client comes back and asks, and is told then
        data = InferenceOut.of(now).model_dump_json()
        if now.is_final:
            yield f"event: done\ndata: {data}\n\n"
            return
        if data != sent:
            yield f"event: progress\ndata: {data}\n\n"
            sent = data
        await asyncio.sleep(QUIET_S)
