"""An inference as clients see it, and what can be wrong with asking for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mahtai.errors import MahtaiError

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

Priority = Literal["reader", "unattended"]

RANKS: dict[Priority, int] = {"reader": 0, "unattended": 1}
"""The lower, the sooner."""

UNFINISHED: tuple[State, ...] = ("queued", "running")
FINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")


class UnknownInference(MahtaiError):
    """There is no inference of that id."""

    kind = "unknown-inference"
    title = "There is no such inference"
    status = 404


class NoResult(MahtaiError):
    """The inference has no result, yet or for ever."""

    kind = "no-result"
    title = "There is no result"
    status = 409


class TooManyJobs(MahtaiError):
    """The line is full."""

    kind = "busy"
    title = "The server is busy"
    status = 503


class TooManyOfYours(MahtaiError):
    """One account has as many unfinished jobs as it may have."""

    kind = "too-many-jobs"
    title = "You have too many inferences in the line"
    status = 429


class NotYourJob(MahtaiError):
    """Only who asked for a job cancels it."""

    kind = "not-your-job"
    title = "The inference is somebody else's"
    status = 403


class VolumeMissing(MahtaiError):
    """An input was not uploaded, or is gone."""

    kind = "volume-missing"
    title = "A volume is not on the server"
    status = 422

    def __init__(self, reason: str, hint: str = "", sha256: tuple[str, ...] = ()) -> None:
        super().__init__(reason, hint)
        self.sha256 = sha256


class ChannelError(MahtaiError):
    """An input does not fit the model: unknown, missing, or given twice."""

    kind = "channel"
    title = "The sequences do not fit the model"
    status = 422


@dataclass(frozen=True)
class Problem:
    """Why an inference failed, in the words that the reader sees."""

    kind: str
    reason: str
    hint: str


@dataclass(frozen=True)
class Part:
    """A file of a result: SHA-256 and size of the blob."""

    sha256: str
    bytes: int
    media_type: str


@dataclass(frozen=True)
class Claim:
    """The right to work on a job. There is a new one with every change of hands, and what is written under an older
    one is refused (a fencing token), so that a server that was only slow cannot undo what another has done."""

    job: str
    number: int

    @property
    def name(self) -> str:
        """What the engine and the work folder call it."""
        return f"{self.job}.{self.number}"


@dataclass(frozen=True)
class Inference:
    """A job at one moment.

    Attributes:
        owner: name of the server that has to do it; None for one that nobody has.
        claims: how often it has changed hands.
        number: order of acceptance.
        rank: those with a lower one go first.
        anew: all of it is to be done again.
        inputs: channel id → SHA-256 of the volume.
        options: all of them, the defaults filled in.
        starts: how many times the engine has begun it.
        place: unfinished jobs before this one while it is queued; None otherwise.
        stage, fraction: of a running job; ``fraction`` 0..1 of the stage.
        preview: of a running job: counts the coarse results that were there; None before the first one.
        problem: of a failed one.
        parts, summary: of a succeeded one.
    """

    id: str
    number: int
    state: State
    model: str
    model_version: str
    model_sha256: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    starts: int
    created_at: datetime
    owner: str | None = None
    claims: int = 0
    rank: int = 0
    anew: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    place: int | None = None
    stage: str | None = None
    fraction: float | None = None
    preview: int | None = None
    problem: Problem | None = None
    parts: Mapping[str, Part] | None = None
    summary: Mapping[str, Any] | None = None

    @property
    def claim(self) -> Claim:
        """The present right to work on it, which its owner has."""
        return Claim(self.id, self.claims)

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINAL
