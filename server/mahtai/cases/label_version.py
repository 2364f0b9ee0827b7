"""A label version as clients see it, what somebody wants to save, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mahtai.cases.label_kind import LabelError
from mahtai.cases.landmark_labels import PointComparison, PointContent
from mahtai.cases.segment_labels import Comparison, SegmentContent
from mahtai.errors import MahtaiError
from mahtai.models.bundle_base import Kind

Verdict = Literal["agree", "disagree"]


class UnknownVersion(MahtaiError):
    """The case has no label version of that id."""

    kind = "unknown-version"
    title = "There is no such label version"
    status = 404


class UnknownParent(LabelError):
    """The version that a label claims to come from is not one of its case."""

    kind = "unknown-parent"


class UnknownProposal(LabelError):
    """The inference that a label claims to come from has no result here."""

    kind = "unknown-proposal"


@dataclass(frozen=True)
class LabelDraft:
    """What somebody wants to save.

    Attributes:
        kind: of the file, named like the part of a result that it was made from.
        content: SHA-256 of an uploaded ``.seg.nrrd`` or ``.mrk.json``.
        parent: id of the version that was edited; None for a first one.
        client_key: the same key again gives the version that there is, so that a retry saves once.
        inference: the AI proposal that was corrected, if any.
        seconds_of_work: time spent by the author.
        tools: seconds or uses by editing tool.
        submit: it is finished and waits for a review.
        session: of editing, whose draft this version takes the place of.
        restores: the version whose content was brought back.
        merges: the version that was merged into the parent.
    """

    kind: Kind
    content: str
    author: str
    role: str
    parent: str | None = None
    client_key: str | None = None
    inference: str | None = None
    seconds_of_work: float | None = None
    verdict: Verdict | None = None
    comment: str = ""
    tools: Mapping[str, float] = field(default_factory=dict)
    submit: bool = False
    session: str | None = None
    restores: str | None = None
    merges: str | None = None


@dataclass(frozen=True)
class VersionReview:
    """What a second reader said of a version."""

    verdict: Literal["approve", "reject"]
    reviewer: str
    role: str
    comment: str
    ai_verdict: Verdict | None
    created_at: datetime


@dataclass(frozen=True)
class LabelVersion:
    """A saved label.

    Attributes:
        number: 1, 2, … in its case.
        sibling_of: the first other version with the same parent, if there was one already: both are kept.
        model, model_version, model_sha256: copied from the inference.
        parts: segment or landmark id → what the label holds of it.
        against_proposal, against_parent: what was changed; None where there is nothing to compare with.
        restores, merges: the version whose content was brought back, and the one that was merged into the parent.
        review: the last one of this version.
        unknown_parts: names of segments or landmarks that the case's task does not know; kept like all others.
        held_by: somebody else who works on the case now.
    """

    id: str
    case: str
    number: int
    kind: Kind
    content: str
    bytes: int
    author: str
    role: str
    created_at: datetime
    parent: str | None
    sibling_of: str | None
    restores: str | None
    merges: str | None
    inference: str | None
    model: str | None
    model_version: str | None
    model_sha256: str | None
    seconds_of_work: float | None
    verdict: Verdict | None
    comment: str
    tools: Mapping[str, float]
    parts: Mapping[str, SegmentContent | PointContent]
    against_proposal: Comparison | PointComparison | None
    against_parent: Comparison | PointComparison | None
    review: VersionReview | None
    unknown_parts: Sequence[str]
    held_by: str | None


Versions = list[LabelVersion]
"""Of a case; a class that has a method ``list`` needs another word for it."""
