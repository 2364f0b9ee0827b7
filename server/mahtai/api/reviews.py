"""Submitting a label and reviewing it; what readers think of the models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from mahtai.api.acting import Acting
from mahtai.api.cases import CaseOut
from mahtai.api.forms import Answer, Form, Identifier, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.cases.reviews import NewReview

router = APIRouter(prefix="/v1", tags=["reviews"], responses=problems(401))


class SubmissionIn(Form):
    """A label version that is finished."""

    version: Identifier


class ReviewIn(Form):
    """What a second reader says of a submitted label version."""

    version: Identifier
    verdict: Literal["approve", "reject"]
    comment: Annotated[Text, Field(max_length=10_000, description="Wanted where the label is rejected.")] = ""
    ai_verdict: Literal["agree", "disagree"] | None = Field(None, description="Of the AI's proposal.")
    client_key: Identifier | None = Field(None, description="The same key again gives the same review.")


class ReviewOut(Answer):
    """A review; it never changes."""

    number: int
    version: str
    verdict: Literal["approve", "reject"]
    reviewer: str
    role: str
    comment: str
    ai_verdict: Literal["agree", "disagree"] | None
    created_at: datetime


class ReviewedOut(ReviewOut):
    """A review that was taken, and its case as it is now."""

    case: CaseOut


class ReviewsOut(Answer):
    """The reviews of a case, the oldest first."""

    reviews: list[ReviewOut]


class FeedbackOut(Answer):
    """What readers think of one version of a model."""

    model: str
    version: str
    sha256: str
    versions: int = Field(description="Label versions that were made from its proposals.")
    agree: int
    disagree: int
    review_agree: int
    review_disagree: int
    mean_dice: dict[str, float] = Field(description="Of proposals against the first label made of each.")
    mean_distance: dict[str, float] = Field(description="Likewise of landmarks, in mm.")


class AllFeedbackOut(Answer):
    """What readers think of the models."""

    models: list[FeedbackOut]


@router.post("/cases/{case}/submission", responses=problems(404, 422))
def submit(case: str, wanted: SubmissionIn, services: Called, person: Acting) -> CaseOut:
    """Hand a label version in for review, and give the case back."""
    return CaseOut.of(services.reviews.submit(case, wanted.version, person))


@router.post(
    "/cases/{case}/reviews",
    status_code=201,
    responses={
        200: {"model": ReviewedOut, "description": "Taken before, with the same key."},
        **problems(404, 409, 422),
    },
)
def review(case: str, wanted: ReviewIn, response: Response, services: Called, person: Acting) -> ReviewedOut:
    """Approve a submitted label version, or send it back with a comment."""
    taken, now, is_new = services.reviews.review(case, NewReview(**wanted.model_dump()), person)
    response.status_code = 201 if is_new else 200
    return ReviewedOut.model_validate({**vars(taken), "case": CaseOut.of(now)})


@router.get("/cases/{case}/reviews", responses=problems(404))
def list_reviews(case: str, services: Called) -> ReviewsOut:
    """The reviews of a case, the oldest first."""
    return ReviewsOut(reviews=[ReviewOut.model_validate(each) for each in services.reviews.list(case)])


@router.get("/feedback")
def get_feedback(services: Called) -> AllFeedbackOut:
    """How often readers agreed with each version of a model, and how much they changed."""
    return AllFeedbackOut(models=[FeedbackOut.model_validate(each) for each in services.feedback()])
