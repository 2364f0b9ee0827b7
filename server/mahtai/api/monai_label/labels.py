"""Labels: each one that is saved is a new version; any of them can be fetched."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from mahtai.api.acting import Acting
from mahtai.api.blob_response import blob_response
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.monai_label.form import FormError, received
from mahtai.api.monai_label.people import person_of
from mahtai.api.services import Called, Services
from mahtai.api.volumes import check_limiter
from mahtai.cases.label_version import LabelDraft, LabelVersion, UnknownVersion
from mahtai.cases.monai_label import description
from mahtai.cases.monai_label.images import Image
from mahtai.cases.monai_label.labelmaps import read_label
from mahtai.cases.person import Person
from mahtai.volumes.geometry import Geometry

LONGEST_TAG = 64

router = APIRouter(prefix=f"{MONAI_LABEL}/datastore/label")

Tag = Annotated[str, Query(max_length=LONGEST_TAG)]


@router.put("")
async def save(
    request: Request, services: Called, acting: Acting, image: str, tag: Tag = description.FINAL_TAG
) -> dict[str, Any]:
    """Save a label as a new version of the image's case; it then waits for a review."""
    async with received(request, services, ("label",)) as form:
        if not tag.isprintable():
            raise FormError("The tag has characters that cannot be shown.", "Choose another one. Nothing was saved.")
        found = await to_thread.run_sync(services.images.find, image, acting)
        upload = form.file("label")

        def add() -> LabelVersion:
            data = read_label(
                upload.received().read_bytes(),
                form.params.get("label_info"),
                found.case.task,
                _grid(services, found),
                {"Status": "edited by a reader"},
            )
            return _add(services, found, services.intake.take_bytes(data), tag, person_of(form.params, acting))

        version = await to_thread.run_sync(add, limiter=check_limiter())
    return {"image": found.id, "label": found.id, "version": version.number, "id": version.id}


@router.head("")
def has(services: Called, acting: Acting, tag: Tag, label: str | None = None, image: str | None = None) -> Response:
    """Whether there is such a label."""
    _version(services, acting, label or image or "", tag)
    return Response()


@router.get("")
def fetch(services: Called, acting: Acting, label: str, tag: Tag = description.FINAL_TAG) -> Response:
    """The file of a version: ``final`` is the newest, ``version-N`` is number N, else the newest of that tag."""
    case, version = _version(services, acting, label, tag)
    _, stored = services.labels.content(case, version.id)
    return blob_response(stored, "application/octet-stream", f"label-{version.number}.seg.nrrd")


@router.get("/info")
def info(services: Called, acting: Acting, label: str, tag: Tag = description.FINAL_TAG) -> dict[str, Any]:
    """What is known of a version."""
    _, version = _version(services, acting, label, tag)
    names = [{"name": part.name, "idx": getattr(part, "label_value", 0)} for part in version.parts.values()]
    return {"label_info": names, "number": version.number, "author": version.author, "comment": version.comment}


def _add(services: Services, image: Image, content: str, tag: str, person: Person) -> LabelVersion:
    draft = LabelDraft(
        kind="segmentation",
        content=content,
        author=person.name,
        role=person.role,
        comment="" if tag in ("", description.FINAL_TAG) else tag,
        submit=tag in ("", description.FINAL_TAG),
    )
    return services.labels.add(image.case.id, draft)[0]


def _grid(services: Services, image: Image) -> Geometry:
    info = services.intake.get(image.case.volumes[image.case.reference])[0].info
    return Geometry(info["shape"], info["ijk_to_ras"])


def _version(services: Services, person: Person, image_id: str, tag: str) -> tuple[str, LabelVersion]:
    image = services.images.find(image_id, person)
    versions = [one for one in services.labels.list(image.case.id) if one.kind == "segmentation"]
    tags = description.tagged(versions)
    if tag not in tags:
        raise UnknownVersion(
            f"The image {image.id!r} has no label {tag!r}.", f"It has: {', '.join(tags) or 'none yet'}."
        )
    return image.case.id, tags[tag]
