"""Who works on a case, and which one comes next."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from mahtai.api.acting import Acting, is_about
from mahtai.api.cases import CaseOut
from mahtai.api.forms import Answer, Form, Identifier, Slug, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called

router = APIRouter(prefix="/v1/cases", tags=["work list"], responses=problems(401))


class LeaseIn(Form):
    """A wish to work on a case."""

    lease: Identifier | None = Field(None, description="To renew: the lease that one has.")


class LeaseOut(Answer):
    """The right to work on a case, until it ends or is renewed."""

    lease: str = Field(validation_alias="id")
    case: str
    holder: str
    held_until: datetime
    renew_after_s: float


class NextIn(Form):
    """A wish for the next case."""

    strategy: Slug = "order"
    task: Annotated[Text, Field(max_length=64)] | None = None
    model: Annotated[Text, Field(max_length=128)] | None = Field(None, description="Whose scores are taken.")
    claim: bool = Field(True, description="False only looks, so that the case can be fetched ahead.")
    exclude: list[Identifier] = Field(default_factory=list, max_length=1000)


class OfferOut(Answer):
    """A case for somebody."""

    case: CaseOut
    lease: LeaseOut | None
    strategy: str
    why: str = Field(description="A sentence for the reader.")
    score: float | None


@router.post(
    "/next",
    responses={204: {"description": "No case is left."}, **problems(404, 409, 422)},
    response_model=OfferOut,
)
def next_case(wanted: NextIn, request: Request, services: Called, person: Acting) -> OfferOut | Response:
    """The next case by a strategy, claimed in the same step, so that two people never get the same one."""
    offer = services.next_case.offer(
        person, wanted.strategy, wanted.task, wanted.model, wanted.claim, frozenset(wanted.exclude)
    )
    if offer is None:
        return Response(status_code=204)
    is_about(request, "case", offer.case.id)
    return OfferOut.model_validate(offer)


@router.put("/{case}/lease", responses=problems(404, 409, 422))
def claim(case: str, wanted: LeaseIn, services: Called, person: Acting) -> LeaseOut:
    """Take a case, or renew the lease on it."""
    return LeaseOut.model_validate(services.leases.claim(case, person, wanted.lease))


@router.delete("/{case}/lease", status_code=204, responses=problems(404))
def release(case: str, services: Called, person: Acting, lease: Annotated[str, Query(max_length=64)]) -> None:
    """Give a case back; nothing happens if the lease has ended already."""
    services.leases.release(case, person, lease)
