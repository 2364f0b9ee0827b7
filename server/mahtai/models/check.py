"""Whether a model works on this computer: files, network, weights and one small forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from mahtai.errors import MahtaiError
from mahtai.models.bundle import Bundle
from mahtai.models.pull import changed_files

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``ok``, ``note`` (works, but look at it) or ``error`` (does not work).
        subject: what was looked at.
        text: what was found, for the reader; with what to do about it.
        seconds: how long it took.
    """

    level: Literal["ok", "note", "error"]
    subject: str
    text: str
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the model works as far as this goes."""
        return self.level != "error"

    def __str__(self) -> str:
        took = f" ({self.seconds:.2f} s)" if self.seconds else ""
        return f"{self.level:6}{self.subject}: {self.text}{took}"


def check(bundle: Bundle, device: str = "auto") -> list[Finding]:
    """Look at everything that can go wrong before a study is at stake; stops at the first error.

    Args:
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for the best there is.
    """
    findings = [Finding("ok", "description", f"{bundle.name} {bundle.version}, {_channels(bundle)}; {bundle.licence}")]
    try:
        changed = changed_files(bundle.folder)
        if changed:
            findings.append(Finding("note", "files", f"changed since they were fetched: {', '.join(changed)}"))
        elif changed is not None:
            findings.append(Finding("ok", "files", "as they were fetched (SHA-256)"))
        if bundle.recipe and bundle.weights_path is None:
            text = "none yet: this is a recipe, train it with `mahtai train`"
            return [*findings, Finding("note", "weights", text)]
        bundle.require_weights()
        findings.append(Finding("ok", "identity", f"SHA-256 {bundle.sha256}"))

        from mahtai.models import network as networks  # torch takes seconds to load; a recipe is told without it

        network, seconds = _timed(lambda: networks.build_network(bundle))
        parameters = sum(value.numel() for value in network.parameters())
        findings.append(
            Finding("ok", "network", f"{type(network).__name__}, {parameters / 1e6:.1f} M parameters", seconds)
        )
        _, seconds = _timed(lambda: networks.load_weights(network, bundle))
        findings.append(Finding("ok", "weights", f"{bundle.require_weights().name} fits", seconds))
        trial = networks.trial_forward(network, bundle, device)
        size = " × ".join(str(length) for length in trial.window)
        text = f"{size} {'pixels' if len(trial.window) == 2 else 'voxels'} on {trial.device} in {trial.precision}"
        findings.append(Finding("ok", "forward pass", text, trial.seconds))
    except MahtaiError as error:
        findings.append(Finding("error", error.title, str(error)))
    return findings


def _channels(bundle: Bundle) -> str:
    return f"{', '.join(c.id for c in bundle.channels)} → {', '.join(bundle.output_names)}"


def _timed(step: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = step()
    return result, time.perf_counter() - started
