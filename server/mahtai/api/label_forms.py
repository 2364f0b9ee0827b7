"""Label versions as the API takes and gives them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mahtai.api.forms import EXAMPLE_HASH, EXAMPLE_ID, Answer, Form, Identifier, Name, Sha256, Slug, Text
from mahtai.cases.label_version import LabelDraft, LabelVersion
from mahtai.errors import MahtaiError
from mahtai.models.bundle_base import Kind

Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Tool = Annotated[float, Field(allow_inf_nan=False)]


class ParentWanted(MahtaiError):
    """A label came without saying which version it was made from."""

    kind = "precondition-required"
    title = "The parent of the label is not given"
    status = 428


class ParentUnclear(MahtaiError):
    """Header and body of a label name different parents."""

    kind = "parent-unclear"
    title = "The parent of the label is not clear"
    status = 422


class FileUnclear(MahtaiError):
    """A label names no file, or two."""

    kind = "label-file"
    title = "The file of the label is not clear"
    status = 422


class LabelIn(Form):
    """A label version to save: a segmentation or landmarks."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "segmentation": EXAMPLE_HASH,
                "parent": None,
                "client_key": "5b1f1bfe-4f0c-4b57-a0b6-3d3a0ff2c0de",
                "author": "reader-2",
                "role": "radiologist",
                "inference": EXAMPLE_ID,
                "seconds_of_work": 95.5,
                "verdict": "disagree",
                "comment": "Oedema reached too far.",
                "tools": {"Paint": 61.0, "Erase": 12.5},
            }
        }
    )

    segmentation: Sha256 | None = Field(
        None, description="SHA-256 of a .seg.nrrd that was uploaded with PUT /v1/volumes."
    )
    landmarks: Sha256 | None = Field(
        None, description="SHA-256 of a .mrk.json that was uploaded with PUT /v1/volumes. One of the two is given."
    )
    parent: Identifier | None = Field(None, description="The version that was edited; must agree with If-Match.")
    client_key: Identifier | None = Field(None, description="The same key again gives the same version.")
    author: Name
    role: Slug
    inference: Identifier | None = Field(None, description="The AI proposal that was corrected.")
    seconds_of_work: Seconds | None = None
    verdict: Literal["agree", "disagree"] | None = None
    comment: Annotated[Text, Field(max_length=10_000)] = ""
    tools: dict[Name, Tool] = Field(default_factory=dict, max_length=100)
    submit: bool = Field(False, description="It is finished and waits for a review.")
    session: Identifier | None = Field(None, description="Of editing, whose draft this version takes the place of.")
    restores: Identifier | None = Field(None, description="The version whose content is brought back.")

    def draft(self, parent: str | None) -> LabelDraft:
        """For the service; ``parent`` as the headers say.

        Raises:
            FileUnclear: not exactly one file is named.
        """
        kind, content = one_file({"segmentation": self.segmentation, "landmarks": self.landmarks})
        said = self.model_dump(exclude={"segmentation", "landmarks"})
        return LabelDraft(**{**said, "parent": parent, "kind": kind, "content": content})


class SegmentOut(Answer):
    """What a segment of a label holds."""

    name: str
    label_value: int
    voxels: int
    volume_ml: float


class PointOut(Answer):
    """A landmark of a label."""

    name: str
    state: str = Field(description="`ai`, `moved`, `confirmed`, `manual` (placed by hand) or `missing`.")
    position_lps: list[float] | None = Field(description="In units of the image's space; null where it is missing.")


class ComparisonOut(Answer):
    """Difference to another segmentation."""

    voxels_changed: int
    dice: dict[str, float] = Field(description="By segment id; 1 where both are empty.")


class PointComparisonOut(Answer):
    """Difference to other landmarks."""

    points_moved: int
    points_added: int
    points_removed: int
    mean_distance: float | None = Field(description="Radial, over all landmarks of both.")
    largest_distance: float | None
    distance: dict[str, float] = Field(description="By landmark id.")
    unit: Literal["mm", "unit"] = Field(description="`unit`: of the image's own space, which is not calibrated.")


class VersionReviewOut(Answer):
    """What a second reader said of a version."""

    verdict: Literal["approve", "reject"]
    reviewer: str
    role: str
    comment: str
    ai_verdict: Literal["agree", "disagree"] | None
    created_at: datetime


class LabelVersionOut(Answer):
    """A saved label version; it never changes."""

    id: str
    case: str
    number: int
    kind: Literal["segmentation", "landmarks"]
    segmentation: Sha256 | None = Field(description="Of the .seg.nrrd, if the label is one.")
    landmarks: Sha256 | None = Field(description="Of the .mrk.json, if the label is one.")
    bytes: int
    author: str
    role: str
    created_at: datetime
    parent: str | None
    sibling_of: str | None = Field(description="Another version with the same parent: both were kept.")
    inference: str | None
    model: str | None
    model_version: str | None
    model_sha256: str | None
    seconds_of_work: float | None
    verdict: Literal["agree", "disagree"] | None
    comment: str
    tools: dict[str, float]
    segments: dict[str, SegmentOut] = Field(description="Of a segmentation, by segment id.")
    points: dict[str, PointOut] = Field(description="Of landmarks, by landmark id.")
    against_proposal: ComparisonOut | PointComparisonOut | None
    against_parent: ComparisonOut | PointComparisonOut | None
    restores: str | None = Field(description="The version whose content was brought back.")
    merges: str | None = Field(description="The version that was merged into the parent.")
    review: VersionReviewOut | None = Field(description="The last one of this version.")
    unknown_parts: list[str] = Field(
        description="Segments or landmarks that the task does not know; kept all the same."
    )
    held_by: str | None = Field(description="Somebody else who works on the case now.")

    @classmethod
    def of(cls, version: LabelVersion) -> LabelVersionOut:
        """From the service's view of the version."""
        holds_points = version.kind == "landmarks"
        own = {
            "segmentation": None if holds_points else version.content,
            "landmarks": version.content if holds_points else None,
            "segments": {} if holds_points else version.parts,
            "points": version.parts if holds_points else {},
        }
        return cls.model_validate({**vars(version), **own})


class LabelVersionsOut(Answer):
    """The label versions of a case, the oldest first."""

    labels: list[LabelVersionOut]


def parent_of(if_match: str | None, if_none_match: str | None, in_body: str | None) -> str | None:
    """The parent that the headers name; None for a first version.

    Raises:
        ParentWanted: neither header is there.
        ParentUnclear: they contradict each other or the body.
    """
    if if_match is None and if_none_match is None:
        raise ParentWanted(
            "The label does not say which version it was made from. Nothing was saved.",
            'Send If-Match with the id of the edited version in quotes, or "If-None-Match: *" for a first version.',
        )
    named = None if if_match is None else if_match.strip().removeprefix("W/").strip('"')
    is_first = if_none_match is not None and if_none_match.strip() == "*"
    if (named is None) != is_first or (in_body is not None and in_body != named):
        raise ParentUnclear(
            "The headers and the body name different parents. Nothing was saved.",
            "Send the same version in If-Match and in parent, or If-None-Match: * without a parent.",
        )
    return named


def one_file(files: Mapping[Kind, str | None]) -> tuple[Kind, str]:
    """The one file that a label names.

    Raises:
        FileUnclear: none is named, or two.
    """
    given = [(kind, content) for kind, content in files.items() if content is not None]
    if len(given) != 1:
        raise FileUnclear(
            f"A label is one file; {'none was' if not given else 'two were'} named. Nothing was saved.",
            "Send the SHA-256 of a .seg.nrrd as segmentation, or that of a .mrk.json as landmarks.",
        )
    return given[0]
