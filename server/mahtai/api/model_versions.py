"""Versions of models that were trained here: which one serves, how they compare, trials."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from mahtai.api.acting import Acting
from mahtai.api.forms import Answer, Form, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called, Services
from mahtai.models.serving import version_name
from mahtai.models.versions import LARGEST_SHARE, ModelVersion

router = APIRouter(prefix="/v1/models/{model}", tags=["models"], responses=problems(401))

VersionName = Annotated[Text, Field(min_length=3, max_length=140, description="Such as `brats_segresnet@2`.")]
Dice = dict[str, float]


class TrialOut(Answer):
    """A version that is tried out."""

    version: str
    shadow: bool = Field(description="It is run unattended on what readers ran.")
    share: float = Field(description="Of the studies that it serves.")
    since: datetime


class RecordOut(Answer):
    """What is known of a version from its use; Dice by segment."""

    inferences: int = Field(description="That readers asked for and got.")
    shadows: int = Field(description="Studies that it was run on in the shadow of the version that served.")
    agreement: Dice = Field(description="Mean Dice of those to the results of that version.")
    corrected: int = Field(description="Of these studies, those that a reader saved a label of.")
    reader: Dice = Field(description="Mean Dice of its results against those labels.")
    reader_active: Dice = Field(description="The same of the version that served.")


class VersionOut(Answer):
    """A version of a model; version 0 is the model as it came."""

    version: VersionName
    model_version: str
    sha256: str
    active: bool
    state: str = Field(description="`ready`, or why it cannot run.")
    lineage: dict[str, Any] | None = Field(description="Parent, training, cases with their label versions, settings.")
    comparison: dict[str, Any] | None = Field(
        description="The last one with a version that served: fixed test cases, Dice of each, what the rule decided."
    )
    record: RecordOut


class ChangeOut(Answer):
    """Somebody changed what serves."""

    at: datetime
    who: str
    what: str
    before: VersionName
    after: VersionName
    reason: str


class VersionsOut(Answer):
    """The versions of a model."""

    active: VersionName
    trial: TrialOut | None
    versions: list[VersionOut]
    changes: list[ChangeOut]


class PromotionIn(Form):
    """A version that is to serve."""

    version: VersionName
    anyway: bool = Field(False, description="Although the rule does not find it better; a reason is wanted then.")
    reason: Annotated[Text, Field(max_length=2000)] = ""


class RollbackIn(Form):
    """Why the version is taken back."""

    reason: Annotated[Text, Field(max_length=2000)] = ""


class TrialIn(Form):
    """A version to try out beside the one that serves; null ends the trial."""

    version: VersionName | None = None
    shadow: bool = False
    share: float = Field(0.0, ge=0, le=LARGEST_SHARE)


@router.get("/versions", responses=problems(404, 422))
def list_versions(model: str, services: Called) -> VersionsOut:
    """All versions, the model as it came first, with their scores and what their use has shown."""
    return _versions(model, services)


@router.post("/promotion", responses=problems(404, 409, 422))
def promote_version(model: str, wanted: PromotionIn, services: Called, person: Acting) -> VersionsOut:
    """Let a version serve, if it was found to be better than the one that serves. Jobs that were accepted before are
    done by the version that they were accepted for.
    """
    _require_own(model, wanted.version, services)
    services.versions.promote(wanted.version, person.name, wanted.anyway, wanted.reason)
    return _versions(model, services)


@router.post("/rollback", responses=problems(404, 409, 422))
def roll_back(model: str, wanted: RollbackIn, services: Called, person: Acting) -> VersionsOut:
    """Let the version serve that served before."""
    services.versions.rollback(model, person.name, wanted.reason)
    return _versions(model, services)


@router.put("/trial", responses=problems(404, 409, 422))
def try_version(model: str, wanted: TrialIn, services: Called, person: Acting) -> VersionsOut:
    """Try a version out: in the shadow of the one that serves, for a share of the studies, or both."""
    services.versions.try_out(model, wanted.version, wanted.shadow, wanted.share, person.name)
    return _versions(model, services)


def _require_own(model: str, version: str, services: Services) -> None:
    """Refuse a version of another model, in the words for one that does not exist."""
    if version.partition("@")[0] != model:
        services.catalogue.get(f"{model}@{version[:100]}")


def _versions(model: str, services: Services) -> VersionsOut:
    found = services.versions.list(model)
    serving = services.versions.history(model)
    trial = next((version.trial for version in found if version.trial is not None), None)
    return VersionsOut(
        active=next(version.name for version in found if version.is_active),
        trial=None
        if trial is None
        else TrialOut(
            version=version_name(model, trial.number),
            shadow=trial.shadow,
            share=trial.share,
            since=_moment(trial.since),
        ),
        versions=[_version(version, services) for version in found],
        changes=[
            ChangeOut(
                at=_moment(change.at),
                who=change.who,
                what=change.what,
                before=version_name(model, change.before),
                after=version_name(model, change.after),
                reason=change.reason,
            )
            for change in serving.changes
        ],
    )


def _version(version: ModelVersion, services: Services) -> VersionOut:
    bundle = version.bundle
    return VersionOut(
        version=version.name,
        model_version=bundle.version,
        sha256=bundle.sha256,
        active=version.is_active,
        state=bundle.state,
        lineage=None if version.lineage is None else dict(version.lineage),
        comparison=dict(version.comparisons[-1]) if version.comparisons else None,
        record=RecordOut.model_validate(services.trials.record(bundle)),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
