"""Run a model and wait for its labelmap. The work goes through the same line as everybody's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from mahtai.api.acting import Acting
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.inferences import HEARTBEAT_S
from mahtai.api.monai_label.form import FormError, keep, received
from mahtai.api.monai_label.sessions import session_scan
from mahtai.api.services import Called, Services
from mahtai.cases.monai_label import description
from mahtai.cases.monai_label.inputs import Scan, inputs_of, scans_of
from mahtai.cases.monai_label.labelmaps import contiguous
from mahtai.cases.monai_label.result_files import ResultWriter
from mahtai.cases.person import Person, requested_by
from mahtai.jobs.inference import Inference
from mahtai.models.segmentation_bundle import SegmentationBundle
from mahtai.models.vocabulary import channel_id
from MahtAILib.client.multipart import MultipartBody, Part

router = APIRouter(prefix=f"{MONAI_LABEL}/infer")

_OCTETS = "application/octet-stream"


@router.post("/{model}")
async def infer(
    model: str,
    request: Request,
    services: Called,
    acting: Acting,
    image: str = "",
    session_id: str = "",
    output: Literal["all", "image", "json", "dicom_seg"] = "all",
) -> Response:
    """Run a model on an image, on several (``params.images``), on that of a session, or on one that comes along.

    A client that goes away loses nothing: the result is kept, and the same question is answered at once.
    """
    async with received(request, services, ("file", "label")) as form:
        bundle = await to_thread.run_sync(description.model, services.catalogue, model)
        if "label" in form.files:
            raise FormError(f"The model {model} takes no label or scribbles.", "Ask for its result, then correct that.")
        if output == "dicom_seg":
            raise FormError("DICOM SEG is not written by this protocol.", "Take the labelmap; export it in MahtAI.")
        writer = ResultWriter(form.params)
        if "file" in form.files:
            name = image or form.names["file"]
            scans = [Scan.named(name, await keep(form.file("file"), services, acting))]
        else:
            scans = await to_thread.run_sync(_scans, services, acting, form.params, image, session_id)
    options = form.params.get("options", {})
    if not isinstance(options, dict):
        raise FormError("params.options is no JSON object.", "Leave it out, or send {option: value}.")
    inputs = inputs_of(bundle, scans)
    job, _ = await to_thread.run_sync(
        services.jobs.submit, bundle.id, inputs, options, False, "reader", requested_by(acting)
    )
    if not await _finished(services, request, job.id):
        return Response(status_code=499)  # nobody is there to read it
    return await to_thread.run_sync(_answer, services, bundle, job.id, writer, output)


def _scans(services: Services, person: Person, params: Mapping[str, Any], image: str, session_id: str) -> list[Scan]:
    """What is to go into the model, as the request names it."""
    several = params.get("images")
    if isinstance(several, dict) and several:
        return [
            Scan(str(one), channel_id(str(slot)), services.images.find(str(one), person).sha256)
            for slot, one in several.items()
        ]
    if isinstance(several, list) and several:
        found = [services.images.find(str(one), person) for one in several]
        return [Scan(one.id, one.slot, one.sha256) for one in found]
    if several:
        raise FormError("params.images is no list of image ids.", "Send [id, …] or {sequence: id}.")
    if session_id:
        scan = session_scan(services, person, session_id)
        # clients name the image as well, and its name may tell more than that of their temporary file
        return [Scan.named(image, scan.sha256) if Scan.named(image, "").slot != scan.slot and image else scan]
    if not image:
        raise FormError("The request names no image.", "Send image=ID, a session_id, a file, or params.images.")
    return scans_of(services.images.find(image, person))


async def _finished(services: Services, request: Request, job: str) -> bool:
    """Wait for the job's end without holding up anybody; False if the client went away first."""
    with services.jobs.watch(job) as watcher:
        async for changed in watcher.changes(HEARTBEAT_S, at_once=True):
            if changed and (await to_thread.run_sync(services.jobs.get, job)).is_final:
                return True
            if not changed and await request.is_disconnected():
                return False
    return False


def _answer(services: Services, bundle: SegmentationBundle, job_id: str, writer: ResultWriter, output: str) -> Response:
    """A form with the parts ``params`` and the labelmap's file, as ``MONAI Label`` answers."""
    job = services.jobs.result(job_id)
    _, stored = services.jobs.result_file(job_id, "segmentation")
    labelmap, geometry, names = contiguous(stored.read_bytes(), bundle.labels)
    said = _said(job, names)
    if output == "json":
        return Response(said, media_type="application/json")
    file_name, data = f"{job.id}{writer.ending}", writer.write(labelmap, geometry)
    if output == "image":
        named = {"Content-Disposition": f'attachment; filename="{file_name}"'}
        return Response(data, media_type=_OCTETS, headers=named)
    form = MultipartBody([Part("params", [said], "application/json"), Part("image", [data], _OCTETS, file_name)])
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(b"".join(form), headers=headers, media_type=form.content_type)


def _said(job: Inference, names: Mapping[str, int]) -> bytes:
    summary = job.summary or {}
    timings = summary.get("timings_s", {})
    told = {
        "label_names": dict(names),
        "latencies": dict(timings) if isinstance(timings, dict) else {},
        "mahtai": {"inference": job.id, "model_version": job.model_version, "warnings": summary.get("warnings", [])},
    }
    return json.dumps(told).encode()
