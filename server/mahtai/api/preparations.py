"""Studies that are prepared before a reader asks for the inference."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from mahtai.api.acting import Acting
from mahtai.api.forms import Answer, Form, Sha256, Slug, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called

router = APIRouter(prefix="/v1/preparations", tags=["inferences"], responses=problems(401))


class PreparationIn(Form):
    """What will probably be asked for."""

    model: Annotated[Text, Field(min_length=1, max_length=128)]
    inputs: dict[Slug, Sha256] = Field(max_length=32, description="Channel id → SHA-256 of an uploaded volume.")
    options: dict[Slug, Any] = Field(default_factory=dict, max_length=64)


class PreparationOut(Answer):
    """Nothing to say: whether it was done shows in how soon the inference is."""


@router.post("", status_code=202, responses=problems(404, 422))
def prepare(wish: PreparationIn, services: Called, person: Acting) -> PreparationOut:
    """Read, register, mask and normalize a study now, so that an inference of it only has to predict.

    Done when the engine has nothing else to do; given up when a reader asks for another study. Nothing is kept that
    would not be computed again.
    """
    services.visibility.require_volumes(person, wish.inputs.values())
    services.jobs.prepare(wish.model, wish.inputs, wish.options)
    return PreparationOut()
