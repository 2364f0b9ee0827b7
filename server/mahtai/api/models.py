"""The models that this server offers."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from mahtai.api.forms import Answer
from mahtai.api.openapi import problems
from mahtai.api.services import Called

router = APIRouter(prefix="/v1/models", tags=["models"], responses=problems(401))


class ChannelOut(Answer):
    """An input sequence of a model."""

    id: str
    name: str
    description: str


class RegionOut(Answer):
    """An output channel of a model, and the segments that make it up."""

    id: str
    name: str
    segments: list[str]


class CodeOut(Answer):
    """A coded concept."""

    scheme: str
    value: str
    meaning: str


class LandmarkOut(Answer):
    """A landmark that a model places."""

    id: str
    name: str
    definition: str
    kind: Literal["bone", "tooth", "soft"]


class LabelOut(Answer):
    """A segment of a model's result; ``codes`` by category, type, region."""

    id: str
    name: str
    label_value: int
    color_rgb: list[int]
    codes: dict[str, CodeOut]


class ModelOut(Answer):
    """A model of the catalogue."""

    model_config = ConfigDict(extra="allow", from_attributes=True)

    id: str
    name: str
    version: str
    description: str
    task: str
    state: str = Field(description="`ready`, or why it cannot run.")
    kind: Literal["segmentation", "landmarks"]
    channels: list[ChannelOut]
    regions: list[RegionOut] = Field(default_factory=list, description="Of a model that segments.")
    labels: list[LabelOut] = Field(default_factory=list, description="Of a model that segments.")
    missing_channels_ok: bool = False
    spacing_mm: list[float] | None = Field(None, description="Of a model that segments.")
    landmark_set: str | None = Field(None, description="Of a model that places landmarks, such as `isbi19`.")
    landmarks: list[LandmarkOut] = Field(default_factory=list, description="Of a model that places landmarks.")
    licence: str
    intended_use: str
    metrics: dict[str, Any]
    sha256: str


class ModelDetailOut(ModelOut):
    """A model with its card."""

    card: str = Field(description="The model card, Markdown.")


class ModelProblemOut(Answer):
    """A model folder that cannot be read."""

    id: str
    reason: str
    hint: str


class ModelsOut(Answer):
    """The catalogue."""

    models: list[ModelOut]
    problems: list[ModelProblemOut]


@router.get("")
def list_models(services: Called) -> ModelsOut:
    """All models, and the folders that could not be read."""
    return ModelsOut(
        models=[ModelOut.model_validate(bundle.as_json()) for bundle in services.catalogue.list()],
        problems=[
            ModelProblemOut(id=folder.name, reason=error.reason, hint=error.hint)
            for folder, error in services.catalogue.problems()
        ],
    )


@router.get("/{model}", responses=problems(404, 422))
def get_model(model: str, services: Called) -> ModelDetailOut:
    """One model with its card."""
    bundle = services.catalogue.get(model)
    return ModelDetailOut.model_validate({**bundle.as_json(), "card": bundle.card})
