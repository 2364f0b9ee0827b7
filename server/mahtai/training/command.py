"""``mahtai train --from-cases`` and ``mahtai models score``: on the command line, or as a process of a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from mahtai.foundation import require_data
from mahtai.models.commands import who
from mahtai.progress import StageBar
from mahtai.settings import Settings
from mahtai.training.from_cases import Machine, score_version, train_from_cases
from mahtai.training.plan import NotTrainable
from mahtai.training.promotion import Decision
from mahtai.training.training_folder import CANCEL_FILE, TrainingFolder

NICENESS = 10
LOOK_S = 0.5
GPU_SHARE = 0.5
"""Of a GPU's memory that a training beside a server may take."""


def learn(
    model: str,
    data: Path | None,
    minutes: float,
    steps: int | None,
    threads: int | None,
    device: str,
    resume: str | None,
    attended: bool,
) -> Iterator[str]:
    """Train, and say what came of it, line by line.

    Args:
        attended: a server has started this process; it gives way to the server and ends with it.

    Raises:
        MahtaiError: with what to do.
    """
    settings = Settings.from_environment()
    require_data(settings)
    root = settings.trainings_dir
    folder = TrainingFolder(root, resume) if resume else TrainingFolder.create(root, model, minutes, who(), data)
    if folder.order.model != model:
        raise NotTrainable(f"That training is one of {folder.order.model}.", "Name that model.")
    if attended:
        _give_way()
    elif resume:
        folder.reopen()
    threading.Thread(target=_obey, args=(folder, attended), daemon=True).start()
    yield f"Training {folder.id} of {model}; interrupted, it goes on with --resume {folder.id}"
    with StageBar() as bar:
        machine = Machine(device, threads, steps=steps)
        outcome = train_from_cases(settings, folder, machine, lambda stage, fraction: _show(bar, stage, fraction))
    yield f"{outcome.version} is made. {outcome.decision.reason}"
    yield "It serves from now on." if outcome.promoted else "It is kept as a candidate; nothing else has changed."


def score(version: str, data: Path | None, device: str) -> Iterator[str]:
    """Compare a version with the one that serves, and say what came of it, line by line.

    Raises:
        MahtaiError: with what to do.
    """
    with StageBar() as bar:
        settings = Settings.from_environment()
        found, decision = score_version(settings, version, data, device, lambda *told: _show(bar, *told))
    for side in ("against", "candidate"):
        means = "  ".join(f"{region.upper()} {dice:.3f}" for region, dice in found["mean"][side].items())
        yield f"{found[side]['version']:20} {means}"
    yield _told(decision)


def _told(decision: Decision) -> str:
    return f"{decision.reason} {'It may be promoted.' if decision.promote else 'It is kept as a candidate.'}"


def _show(bar: StageBar, stage: str, fraction: float) -> None:
    bar.show(stage, fraction)


def _give_way() -> None:
    """Inference comes first: on the processor by rank, on a GPU by leaving memory."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(GPU_SHARE)


def _obey(folder: TrainingFolder, attended: bool) -> None:
    """End at once when somebody cancels, or when the server has gone, which closes our input."""
    gone = threading.Event()

    def read() -> None:
        # not through sys.stdin, whose lock a forked worker would wait for
        while os.read(0, 1024):
            pass
        gone.set()

    if attended:
        threading.Thread(target=read, daemon=True).start()
    while not gone.wait(LOOK_S):
        if (folder.path / CANCEL_FILE).exists():
            break
    os._exit(1)  # the checkpoint is whole at any time, and the lock goes with the process
