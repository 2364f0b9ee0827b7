"""What state an installation is in, and how far one that is under way has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class InstallationStage(Enum):
    """How far an installation is."""

    ABSENT = "absent"
    INTERRUPTED = "interrupted"
    OUTDATED = "outdated"
    READY = "ready"


@dataclass(frozen=True)
class InstallationState:
    """An installation at one moment.

    Attributes:
        stage: how far it is; anything but ``READY`` is mended by ``Installation.install``.
        why: one sentence for the reader.
        can_start: whether a server can be started from it; an older one can, too.
    """

    stage: InstallationStage
    why: str
    can_start: bool


class InstallStage(Enum):
    """The steps of an installation, in order."""

    PREPARING = "preparing"
    RESOLVING = "resolving"
    FETCHING = "fetching"
    UNPACKING = "unpacking"
    FINISHING = "finishing"


@dataclass(frozen=True)
class InstallProgress:
    """How far an installation is.

    Attributes:
        stage: the present step.
        fraction: of the whole, 0 to 1, by the number of libraries.
        line: what pip said last, or the file being worked on.
    """

    stage: InstallStage
    fraction: float
    line: str


OnProgress = Callable[[InstallProgress], None]

# where each step begins and ends in the whole
_SPANS = {
    InstallStage.PREPARING: (0.0, 0.01),
    InstallStage.RESOLVING: (0.01, 0.04),
    InstallStage.FETCHING: (0.04, 0.75),
    InstallStage.UNPACKING: (0.75, 0.99),
    InstallStage.FINISHING: (0.99, 1.0),
}


class Reporter:
    """From steps and their parts to one fraction of the whole, which never goes back."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._fraction = 0.0

    def __call__(self, stage: InstallStage, part: float = 0.0, line: str = "") -> None:
        """Tell that ``part`` of a step is done."""
        begin, end = _SPANS[stage]
        self._fraction = max(self._fraction, begin + (end - begin) * part)
        if self._on_progress is not None:
            self._on_progress(InstallProgress(stage, self._fraction, line))
