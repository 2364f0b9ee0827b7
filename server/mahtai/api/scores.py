"""Strategies for the next case, and the scores that they need."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from mahtai.api.acting import Acting, is_about
from mahtai.api.forms import Answer, Form, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called

router = APIRouter(prefix="/v1", tags=["work list"], responses=problems(401))

TaskName = Annotated[Text, Field(min_length=1, max_length=64)]
ModelName = Annotated[Text, Field(min_length=1, max_length=128)]


class ScoresIn(Form):
    """A wish to have the cases of a task scored."""

    task: TaskName
    model: ModelName | None = Field(None, description="The one that was used last, if none is named.")
    mirrored: bool = Field(False, description="Also for `disagreement`, which takes eight times as long.")


class ScoresOut(Answer):
    """How far the scoring of the cases that are for the caller has come."""

    model: str
    model_sha256: str
    cases: int
    scored: int
    failed: int
    queued: int
    unfit: int = Field(description="Cases that lack what the model needs.")


class StrategyOut(Answer):
    """A way to choose the next case."""

    id: str
    name: str
    description: str
    ready: bool
    reason: str = Field(description="Why it is not.")


class StrategiesOut(Answer):
    """All strategies."""

    strategies: list[StrategyOut]


@router.post("/scores", responses=problems(404, 422))
def score(wanted: ScoresIn, request: Request, services: Called, person: Acting) -> ScoresOut:
    """Have one's cases scored that are not, by inferences that make room for readers; call it again until all are."""
    told = services.scores.progress(wanted.task, wanted.model, person, True, wanted.mirrored)
    # a task that no case has is whatever the caller wrote, which may be a patient's name
    is_about(request, "model", f"{told.model}/{wanted.task}" if told.cases else told.model)
    return ScoresOut.model_validate(told)


@router.get("/scores", responses=problems(404, 422))
def get_scores(
    services: Called,
    person: Acting,
    task: Annotated[TaskName, Query()],
    model: Annotated[ModelName | None, Query()] = None,
    mirrored: bool = False,
) -> ScoresOut:
    """How far the scoring of one's cases has come."""
    return ScoresOut.model_validate(services.scores.progress(task, model, person, False, mirrored))


@router.get("/strategies", responses=problems(404, 422))
def list_strategies(
    services: Called,
    person: Acting,
    task: Annotated[TaskName, Query()],
    model: Annotated[ModelName | None, Query()] = None,
) -> StrategiesOut:
    """Ways to choose the next case, and whether they have what they need."""
    return StrategiesOut(
        strategies=[
            StrategyOut(
                id=each.strategy.id,
                name=each.strategy.name,
                description=each.strategy.description,
                ready=each.ready,
                reason=each.reason,
            )
            for each in services.scores.strategies(task, model, person)
        ]
    )
