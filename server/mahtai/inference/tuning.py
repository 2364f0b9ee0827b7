"""Which way to run a network is the fastest correct one on this machine: measured once, remembered.

Correct means: on a volume made for the purpose, nearly no voxel gets another label than with float32. That
the Dice on real cases does not move is shown by the benchmark (``mahtai bench``), for the settings it found.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mahtai.inference.runtimes import Forward, Runtime, Subject, candidates

SIZE = (128, 160, 128)
"""Of the volume on which is measured: about a brain. On a smaller one another way can be the fastest."""

MOST_FLIPPED = 1e-3
MOST_DIFFERENCE = 5e-3
"""A way to run is correct if it changes the label of at most this share of the voxels, and the mean probability
by at most this much, against float32."""

_HOPELESS = 1.5
"""A candidate whose first pass takes so many times the best one's time is not run a second time."""


@dataclass(frozen=True)
class Trial:
    """How one way to run did.

    Attributes:
        seconds: of the fastest pass; None where it did not run.
        flipped: share of the voxels with another label than the reference's.
        remark: why it was not taken, if that is not its time.
    """

    runtime: str
    seconds: float | None = None
    flipped: float = 0.0
    remark: str = ""


@dataclass(frozen=True)
class Tuning:
    """What was found for a network on a machine.

    Attributes:
        chosen: id of the runtime.
        voxels_per_s: that it does.
        trials: all that was tried, in order.
        date: of the measurement, ISO.
    """

    chosen: str
    voxels_per_s: float
    trials: tuple[Trial, ...]
    date: str

    def __str__(self) -> str:
        tried = [
            f"{trial.runtime} {'' if trial.seconds is None else f'{trial.seconds:.2f} s'}"
            f"{f' ({trial.remark})' if trial.remark else ''}".strip()
            for trial in self.trials
        ]
        speed = f"{self.voxels_per_s / 1e6:.1f} million voxels/s"
        return f"{self.chosen}, {speed}; measured {self.date}: {'; '.join(tried)}"

    def as_json(self) -> dict[str, Any]:
        """For the file that remembers it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Tuning:
        """Read ``as_json`` back.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        trials = tuple(Trial(**trial) for trial in content["trials"])
        return cls(str(content["chosen"]), float(content["voxels_per_s"]), trials, str(content["date"]))


def trials(subject: Subject, activation: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> Iterator[Trial | None]:
    """Measure one candidate after the other.

    Args:
        activation: logits → probabilities.
        size: X × Y × Z of the volume to measure on.

    Yields:
        A trial when it is done, None in the middle of one: a moment at which the caller may do something else.
    """
    batch = trial_volume(subject.channels, size).to(subject.device)
    reference: Tensor | None = None
    best = float("inf")
    for runtime in candidates(subject.device):
        try:
            forward = runtime.build(subject)
            yield None
            made, seconds = _timed(forward, batch, subject.device)
            yield None
            if reference is not None and seconds < _HOPELESS * best:
                seconds = min(seconds, _timed(forward, batch, subject.device)[1])
            probabilities = activation(made)
        except Exception as error:  # whatever a library says: then it is not used
            yield Trial(runtime.id, remark=f"does not run here ({_first_line(error)})")
            continue
        if reference is None:
            reference = probabilities
        trial = _judged(runtime, probabilities, reference, seconds)
        if not trial.remark:
            best = min(best, seconds)
        del forward, made, probabilities
        gc.collect()
        yield trial


def decided(done: list[Trial], size: tuple[int, ...]) -> Tuning:
    """The fastest correct one."""
    correct = [trial for trial in done if trial.seconds is not None and not trial.remark]
    best = min(correct, key=lambda trial: trial.seconds or 0.0) if correct else Trial(done[0].runtime, 1.0)
    voxels = float(size[0] * size[1] * size[2])
    return Tuning(best.runtime, round(voxels / (best.seconds or 1.0)), tuple(done), time.strftime("%Y-%m-%d"))


def trial_volume(channels: int, size: tuple[int, ...]) -> Tensor:
    """1 × channels × X × Y × Z float32: smooth structures with noise in an ellipsoid, 0 around it, as in a head."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, channels, *(max(2, side // 12) for side in size), generator=generator)
    volume = functional.interpolate(coarse, size, mode="trilinear", align_corners=True)
    volume = 1.5 * volume + 0.2 * torch.randn(volume.shape, generator=generator)
    axes = [torch.linspace(-1.1, 1.1, side) for side in size]
    distance = sum(axis**2 for axis in torch.meshgrid(*axes, indexing="ij"))
    return volume * (distance < 1)


def _timed(forward: Forward, batch: Tensor, device: torch.device) -> tuple[Tensor, float]:
    started = time.perf_counter()
    made = forward(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return made, time.perf_counter() - started


def _judged(runtime: Runtime, probabilities: Tensor, reference: Tensor, seconds: float) -> Trial:
    difference = float((probabilities - reference).abs().mean())
    flipped = float(((probabilities >= 0.5) != (reference >= 0.5)).float().mean())
    remark = ""
    if not (flipped <= MOST_FLIPPED and difference <= MOST_DIFFERENCE):  # so that NaN is wrong too
        remark = f"other labels in {flipped:.2%} of the voxels"
    return Trial(runtime.id, round(seconds, 4), round(flipped, 6), remark)


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:120]


def key_of(sha256: str, device: torch.device, threads: int) -> str:
    """Names a network on a machine with its libraries: another processor, card or release is measured anew."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    parts = [sha256, str(device), card, processor(), threads if device.type == "cpu" else 0, *_versions()]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def processor() -> str:
    """The CPU's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(told.get(key, "") for key in ("model name", "model", "stepping", "flags"))


def _versions() -> list[str]:
    found = [str(torch.__version__)]
    try:
        found.append(metadata.version("openvino"))
    except metadata.PackageNotFoundError:
        found.append("")
    return found


def remembered(cache: Path | None, key: str) -> Tuning | None:
    """What was found before, if anything."""
    if cache is None:
        return None
    try:
        return Tuning.from_json(json.loads((cache / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # measured again


def remember(cache: Path | None, key: str, tuning: Tuning) -> None:
    """Keep it; where that fails it is measured again next time."""
    if cache is None:
        return
    part = cache / f"{key}.{os.getpid()}.part"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(tuning.as_json(), indent=1) + "\n", encoding="utf-8")
        os.replace(part, cache / f"{key}.json")
    except OSError:
        part.unlink(missing_ok=True)
