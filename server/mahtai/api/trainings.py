"""Trainings on the approved cases of this server."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from mahtai.api.acting import Acting
from mahtai.api.forms import Answer, Form, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.training.processes import Training

router = APIRouter(prefix="/v1/trainings", tags=["trainings"], responses=problems(401))

MOST_MINUTES = 7 * 24 * 60


class TrainingIn(Form):
    """A wish for a training. Nothing that a client says becomes a path."""

    model: Annotated[Text, Field(min_length=1, max_length=128, description="Id of the model that is to learn on.")]
    minutes: float = Field(60.0, gt=0, le=MOST_MINUTES, description="Of learning; reading and scoring come on top.")


class TrainingOut(Answer):
    """A training at this moment."""

    id: str
    model: str
    minutes: float
    who: str
    created_at: str
    state: Literal["running", "succeeded", "failed", "cancelled", "interrupted"]
    stage: str | None = Field(description="What a running one does: reading cases, training, scoring.")
    fraction: float | None = Field(description="How much of the stage is done, 0 to 1.")
    text: str | None
    version: str | None = Field(description="That it made, such as `brats_segresnet@2`.")
    promoted: bool | None = Field(description="Whether that version took the place of the one that served.")
    reason: str | None = Field(description="Why it did or did not, or why the training failed.")
    hint: str | None

    @classmethod
    def of(cls, training: Training) -> TrainingOut:
        """From the service's view."""
        order, progress, end = training.order, training.progress, training.end
        return cls(
            id=order.id,
            model=order.model,
            minutes=order.minutes,
            who=order.who,
            created_at=order.at,
            state=training.state,
            stage=None if progress is None else progress.stage,
            fraction=None if progress is None else progress.fraction,
            text=None if progress is None else progress.text,
            version=end.get("version"),
            promoted=end.get("promoted"),
            reason=end.get("reason"),
            hint=end.get("hint"),
        )


class TrainingsOut(Answer):
    """The trainings of this server, the newest first."""

    trainings: list[TrainingOut]


@router.post("", status_code=202, responses=problems(404, 409, 422, 507))
def start_training(wanted: TrainingIn, response: Response, services: Called, person: Acting) -> TrainingOut:
    """Let a model learn on from the approved cases, in a process of its own; one at a time.

    At its end there is a new version, scored on test cases that it has not seen. It takes the place of the one that
    serves only if it is better; see `GET /v1/models/{model}/versions`.
    """
    training = services.trainings.start(wanted.model, wanted.minutes, person.name)
    response.headers["Location"] = f"/v1/trainings/{training.order.id}"
    return TrainingOut.of(training)


@router.get("")
def list_trainings(services: Called) -> TrainingsOut:
    """All trainings."""
    return TrainingsOut(trainings=[TrainingOut.of(training) for training in services.trainings.list()])


@router.get("/{training}", responses=problems(404))
def get_training(training: str, services: Called) -> TrainingOut:
    """How a training stands."""
    return TrainingOut.of(services.trainings.get(training))


@router.post("/{training}/resumption", status_code=202, responses=problems(404, 409, 507))
def resume_training(training: str, services: Called) -> TrainingOut:
    """Go on with a training that was interrupted (such as by a restart of the server), cancelled, or has failed."""
    return TrainingOut.of(services.trainings.resume(training))


@router.delete("/{training}", responses=problems(404))
def cancel_training(training: str, services: Called) -> TrainingOut:
    """End a training. The model that serves is untouched, and what was learnt stays until it is gone on with."""
    return TrainingOut.of(services.trainings.cancel(training))
