"""A label version as clients see it, what somebody wants to save, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mahtai.cases.comparison import Comparison, SegmentContent
from mahtai.errors import MahtaiError

Verdict = Literal["agree", "disagree"]


class UnknownVersion(MahtaiError):
    """The case has no label version of that id."""

    kind = "unknown-version"
    title = "There is no such label version"
    status = 404


class LabelError(MahtaiError):
    """A label that does not fit its case."""

    kind = "label"
    title = "The label cannot be saved"
    status = 422


class UnknownParent(LabelError):
    """The version that a label claims to come from is not one of its case."""

    kind = "unknown-parent"


class UnknownProposal(LabelError):
    """The inference that a label claims to come from has no result here."""

    kind = "unknown-proposal"


class WrongGrid(LabelError):
    """The label's voxels are not those of the case's reference volume."""

    kind = "label-grid"
    title = "The label lies on another grid"


@dataclass(frozen=True)
class LabelDraft:
    """What somebody wants to save.

    Attributes:
        segmentation: SHA-256 of an uploaded ``.seg.nrrd``.
        parent: id of the version that was edited; None for a first one.
        client_key: the same key again gives the version that there is, so that a retry saves once.
        inference: the AI proposal that was corrected, if any.
        seconds_of_work: time spent by the author.
        tools: seconds or uses by editing tool.
    """

    segmentation: str
    author: str
    role: str
    parent: str | None = None
    client_key: str | None = None
    inference: str | None = None
    seconds_of_work: float | None = None
    verdict: Verdict | None = None
    comment: str = ""
    tools: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelVersion:
    """A saved label.

    Attributes:
        number: 1, 2, … in its case.
        sibling_of: the first other version with the same parent, if there was one already: both are kept.
        model, model_version, model_sha256: copied from the inference.
        segments: id → content.
        against_proposal, against_parent: what was changed; None where there is nothing to compare with.
    """

    id: str
    case: str
    number: int
    segmentation: str
    bytes: int
    author: str
    role: str
    created_at: datetime
    parent: str | None
    sibling_of: str | None
    inference: str | None
    model: str | None
    model_version: str | None
    model_sha256: str | None
    seconds_of_work: float | None
    verdict: Verdict | None
    comment: str
    tools: Mapping[str, float]
    segments: Mapping[str, SegmentContent]
    against_proposal: Comparison | None
    against_parent: Comparison | None
