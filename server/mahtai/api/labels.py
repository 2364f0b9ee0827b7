"""Label versions of a case: saved once, never changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field

from mahtai.api.acting import Acting, is_about
from mahtai.api.blob_response import blob_response
from mahtai.api.forms import Answer, Form, Identifier, Text
from mahtai.api.label_forms import (
    ComparisonOut,
    LabelIn,
    LabelVersionOut,
    LabelVersionsOut,
    PointComparisonOut,
    parent_of,
)
from mahtai.api.openapi import FILE, problems
from mahtai.api.services import Called

router = APIRouter(prefix="/v1/cases/{case}/labels", tags=["labels"], responses=problems(401))


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": LabelVersionOut, "description": "Saved before, with the same key."},
        **problems(404, 409, 422, 428, 503, 507),
    },
)
def add_label(
    case: str,
    wanted: LabelIn,
    request: Request,
    response: Response,
    services: Called,
    person: Acting,
    if_match: Annotated[str | None, Header(description="The edited version's id in quotes.")] = None,
    if_none_match: Annotated[str | None, Header(description="`*` for a first version.")] = None,
) -> LabelVersionOut:
    """Save a label version. Two versions of one parent are both kept; the second one says `sibling_of`.

    What was answered with 201 or 200 survives whatever happens to the server.
    """
    parent = parent_of(if_match, if_none_match, wanted.parent)
    draft = wanted.draft(parent)
    if person.account is not None and not person.may("labels.of-others"):
        draft = replace(draft, author=person.name, role=person.role)  # who signed in is who answers for it
    services.visibility.require_volumes(person, [draft.content])
    version, is_new = services.labels.add(case, draft)
    is_about(request, "version", version.id)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/cases/{case}/labels/{version.id}"
    response.headers["ETag"] = f'"{version.id}"'
    return LabelVersionOut.of(version)


@router.get("", responses=problems(404))
def list_labels(case: str, services: Called) -> LabelVersionsOut:
    """All versions of a case, the oldest first."""
    return LabelVersionsOut(labels=[LabelVersionOut.of(version) for version in services.labels.list(case)])


@router.get("/{version}", responses=problems(404))
def get_label(case: str, version: str, response: Response, services: Called) -> LabelVersionOut:
    """One version."""
    found = services.labels.get(case, version)
    response.headers["ETag"] = f'"{found.id}"'
    return LabelVersionOut.of(found)


@router.get("/{version}/content", response_class=FileResponse, responses={**FILE, **problems(404)})
def get_label_content(case: str, version: str, services: Called) -> Response:
    """The .seg.nrrd or .mrk.json file of a version, byte for byte as it was saved."""
    found, stored = services.labels.content(case, version)
    kind = services.labels.kind_of(found)
    return blob_response(stored, kind.media_type, kind.file_name.format(found.number))


class DifferenceOut(Answer):
    """Two versions, and how the second differs from the first."""

    first: LabelVersionOut
    second: LabelVersionOut
    change: ComparisonOut | PointComparisonOut


class MergeIn(Form):
    """Two versions to make one of."""

    first: Identifier = Field(description="Becomes the parent; parts that are not named come from here.")
    second: Identifier
    take: dict[Identifier, Literal["first", "second"]] = Field(
        max_length=1000, description="Segment or landmark id → the version that it comes from."
    )
    comment: Annotated[Text, Field(max_length=10_000)] = ""
    client_key: Identifier | None = None


@router.get("/{version}/comparison", responses=problems(404, 422))
def compare_labels(
    case: str,
    version: str,
    services: Called,
    other: Annotated[str, Query(alias="with", max_length=64, description="The second version.")],
) -> DifferenceOut:
    """How two versions of a case differ."""
    found = services.merging.compare(case, version, other)
    return DifferenceOut.model_validate(
        {"first": LabelVersionOut.of(found.first), "second": LabelVersionOut.of(found.second), "change": found.change}
    )


@router.post(
    "/merges",
    status_code=201,
    responses={
        200: {"model": LabelVersionOut, "description": "Saved before, with the same key."},
        **problems(404, 409, 422, 503, 507),
    },
)
def merge_labels(
    case: str, wanted: MergeIn, request: Request, response: Response, services: Called, person: Acting
) -> LabelVersionOut:
    """Save a version of two others, segment by segment or landmark by landmark."""
    made, is_new = services.merging.merge(
        case, wanted.first, wanted.second, wanted.take, person, wanted.comment, wanted.client_key
    )
    response.status_code = 201 if is_new else 200
    response.headers["ETag"] = f'"{made.id}"'
    is_about(request, "version", made.id)
    return LabelVersionOut.of(made)
