"""A case as clients see it, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mahtai.errors import MahtaiError

State = Literal["new", "claimed", "draft", "submitted", "approved", "rejected"]

Split = Literal["train", "validation", "test", "none"]


class UnknownCase(MahtaiError):
    """There is no case of that id."""

    kind = "unknown-case"
    title = "There is no such case"
    status = 404


class CaseError(MahtaiError):
    """A case that cannot be made of what was given."""

    kind = "case"
    title = "The case cannot be made"
    status = 422


class KeyReused(MahtaiError):
    """A client key that stands for something else already."""

    kind = "client-key-reused"
    title = "The client key was used for something else"
    status = 409


class CaseChanged(MahtaiError):
    """Somebody changed the case since it was read."""

    kind = "case-changed"
    title = "The case was changed meanwhile"
    status = 412


class CaseRemoved(MahtaiError):
    """The case was taken off the list."""

    kind = "case-removed"
    title = "The case was removed"
    status = 409


class CaseHeld(MahtaiError):
    """Somebody else works on the case."""

    kind = "case-held"
    title = "Somebody else works on the case"
    status = 409

    def __init__(self, reason: str, hint: str, holder: str, held_until: datetime) -> None:
        super().__init__(reason, hint)
        self.holder = holder
        self.held_until = held_until


@dataclass(frozen=True)
class LastReview:
    """What the last reviewer said."""

    verdict: str
    reviewer: str
    comment: str
    version: str
    created_at: datetime


@dataclass(frozen=True)
class Case:
    """A case at one moment.

    Attributes:
        name: for display; no patient data.
        volumes: slot → SHA-256.
        reference: slot whose grid the labels lie on.
        patient: tells nothing of the patient; the same for the cases of a team that are the same patient's, by what
            these cases tell. Other teams' cases make no difference.
        split: what the patient's cases may be used for; ``none`` is for neither training nor test.
        state: ``claimed`` is a new case that somebody holds.
        priority: the higher, the sooner.
        assignee: for whom it is meant. team: whose it is; None for everybody's.
        holder, held_until: who works on it now.
        submitted, approved: the label version that waits for a review, and the one that passed it last.
        revision: grows with every change.
        label_count: versions saved so far.
    """

    id: str
    number: int
    name: str
    task: str
    volumes: Mapping[str, str]
    reference: str
    patient: str | None
    split: Split
    state: State
    priority: int
    assignee: str | None
    team: str | None
    holder: str | None
    held_until: datetime | None
    submitted: str | None
    approved: str | None
    last_review: LastReview | None
    removed: bool
    revision: int
    created_at: datetime
    updated_at: datetime
    label_count: int


@dataclass(frozen=True)
class NewCase:
    """A case to make.

    Attributes:
        volumes: slot → SHA-256 of an uploaded volume.
        client_key: the same key again gives the case that there is.
        patient: what the patient is called where the study comes from; kept only as a keyed hash.
        source: where the study comes from, such as UIDs; kept apart from the case.
    """

    name: str
    task: str
    volumes: Mapping[str, str]
    client_key: str | None = None
    patient: str | None = None
    priority: int = 0
    assignee: str | None = None
    source: Mapping[str, object] | None = None
    team: str | None = None


@dataclass(frozen=True)
class Filter:
    """Which cases are asked for; None and empty mean all.

    Attributes:
        before: number of the last one seen.
        volume: SHA-256 of a volume that they have in some slot.
        search: part of the name, the number, or the patient.
        hard: only those on which a reader did not agree with the AI, or whose label was rejected.
        removed: those that were taken off the list instead of those that are on it.
    """

    limit: int = 1000
    before: int | None = None
    volume: str | None = None
    states: tuple[State, ...] = ()
    task: str | None = None
    assignee: str | None = None
    holder: str | None = None
    split: Split | None = None
    search: str | None = None
    hard: bool = False
    removed: bool = False
