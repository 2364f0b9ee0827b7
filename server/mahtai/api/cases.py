"""Cases: the studies that people work on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from mahtai.api.forms import EXAMPLE_HASH, Answer, Form, Identifier, Name, Sha256, Slug, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.cases.studies import Case

PAGE = 1000

router = APIRouter(prefix="/v1/cases", tags=["cases"], responses=problems(401))


class CaseIn(Form):
    """A case to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Case 17",
                "task": "brain-tumour",
                "volumes": {"t1c": EXAMPLE_HASH},
                "client_key": "c1e0b6a2-2c0e-4c42-8f0a-0d1f0f0c9b11",
            }
        }
    )

    name: Name = Field(description="For display; no patient data.")
    task: Annotated[Text, Field(min_length=1, max_length=64)]
    volumes: dict[Slug, Sha256] = Field(max_length=32, description="Slot → SHA-256 of an uploaded volume.")
    client_key: Identifier | None = Field(None, description="The same key again gives the same case.")


class CaseOut(Answer):
    """A case."""

    id: str
    number: int
    name: str
    task: str
    volumes: dict[str, str]
    reference: str = Field(description="Slot whose voxel grid the labels lie on.")
    created_at: datetime
    label_count: int

    @classmethod
    def of(cls, case: Case) -> CaseOut:
        """From the service's view of the case."""
        return cls.model_validate(case)


class CasesOut(Answer):
    """Cases, the newest first."""

    cases: list[CaseOut]
    next: int | None = Field(description="`before` of the next page; null on the last one.")


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": CaseOut, "description": "Made before, with the same key."},
        **problems(409, 422, 503, 507),
    },
)
def create_case(wanted: CaseIn, response: Response, services: Called) -> CaseOut:
    """Make a case of volumes that were uploaded before."""
    case, is_new = services.cases.create(wanted.name, wanted.task, wanted.volumes, wanted.client_key)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/cases/{case.id}"
    return CaseOut.of(case)


@router.get("", responses=problems(422))
def list_cases(
    services: Called,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before.")] = None,
    volume: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Only cases that have this volume (SHA-256).")
    ] = None,
) -> CasesOut:
    """Cases, the newest first."""
    found = services.cases.list(limit, before, volume)
    return CasesOut(cases=[CaseOut.of(case) for case in found], next=found[-1].number if len(found) == limit else None)


@router.get("/{case}", responses=problems(404))
def get_case(case: str, services: Called) -> CaseOut:
    """One case."""
    return CaseOut.of(services.cases.get(case))
