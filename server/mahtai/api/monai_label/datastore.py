"""Images: list, upload, download. Nothing is ever overwritten or erased."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from mahtai.api.acting import Acting
from mahtai.api.blob_response import blob_response
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.monai_label.form import keep, received
from mahtai.api.monai_label.info import NotByThisProtocol
from mahtai.api.monai_label.people import person_of
from mahtai.api.services import Called, Services
from mahtai.cases.monai_label import description
from mahtai.cases.monai_label.images import UnknownImage, clean_id
from mahtai.cases.person import Person

router = APIRouter(prefix=f"{MONAI_LABEL}/datastore")

ImageId = Annotated[str, Query(alias="image")]


@router.get("/")
def datastore(services: Called, acting: Acting, output: Literal["all", "stats", "train"] = "stats") -> Any:
    """How many images there are; ``all``: each of them with its labels; ``train``: none, they are files of ours."""
    if output == "train":
        return []
    images = services.images.all(acting)
    if output == "stats":
        return description.counts(images)
    endings = {image.id: services.images.ending(image) for image in images}
    labelled = {image.case.id for image in images if image.case.label_count}
    return description.datastore(images, endings, {case: services.labels.list(case) for case in labelled})


@router.put("/")
@router.put("/image")
async def upload(
    request: Request, services: Called, acting: Acting, image: Annotated[str | None, Query()] = None
) -> dict[str, str]:
    """Keep an image under the client's id; another image of that id is left as it is, and 409 is the answer."""
    async with received(request, services, ("file",)) as form:
        name = image if image is not None else form.names.get("file", "").partition(".")[0]
        clean_id(name)
        sha256 = await keep(form.file("file"), services, acting)
        task = description.tasks(services.catalogue)[0]
        person = person_of(form.params, acting)
        made = await to_thread.run_sync(services.images.add, name, sha256, task, person)
    return {"image": made.id}


@router.head("/image")
def has_image(image_id: ImageId, services: Called, acting: Acting, check_sum: str | None = None) -> Response:
    """Whether there is such an image, with such a content."""
    file = services.images.file(services.images.find(image_id, acting))
    if check_sum is not None and check_sum.rpartition(":")[2].lower() != file.sha256:
        raise UnknownImage("The image has another content.", "Fetch it again.")
    return Response()


@router.get("/image")
def image(image_id: ImageId, services: Called, acting: Acting) -> Response:
    """The file of an image."""
    file = services.images.file(services.images.find(image_id, acting))
    return blob_response(file.stored, "application/octet-stream", file.name)


@router.get("/image/info")
def image_info(image_id: ImageId, services: Called, acting: Acting) -> dict[str, Any]:
    """What is known of an image."""
    return sample_of(services, image_id, acting)


@router.delete("/")
@router.delete("/image")
@router.delete("/label")
def remove() -> None:
    """Versions and images are for ever."""
    raise NotByThisProtocol(
        "Nothing is erased by this protocol. Nothing was changed.",
        "A case is taken off the work list in MahtAI's panel, or with DELETE /v1/cases/{id}.",
    )


def sample_of(services: Services, image_id: str, person: Person) -> dict[str, Any]:
    """An image as clients are offered it: its name is that of its file, and no path could be one of theirs."""
    found = services.images.find(image_id, person)
    file = services.images.file(found)
    return {"id": found.id, "name": file.name, "checksum": f"SHA256:{file.sha256}", "sequence": found.slot}
