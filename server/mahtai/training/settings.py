"""What a training run is told: read from a bundle's ``configs/train.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mahtai.training.augmentation import AugmentationSettings


@dataclass(frozen=True)
class Phase:
    """A stretch of the run at one resolution; coarse phases come first because they are cheap.

    Attributes:
        share: of the run's time.
        spacing_mm: of the patches.
        patch: size in voxels.
        batch: patches a step.
    """

    share: float
    spacing_mm: float
    patch: tuple[int, int, int]
    batch: int


FINE_TUNING_RATE = 0.2
"""Share of the learning rate that is left when a trained network learns on."""


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides the outcome of a run besides the data and the machine's speed.

    Attributes:
        from_scratch: see ``Trainer``; False when a trained network learns on.
        rehearsal_share: of the patches that come from cases learnt before, where there are any beside the new ones.
    """

    phases: tuple[Phase, ...]
    learning_rate: float = 5e-4
    weight_decay: float = 1e-5
    warmup_steps: int = 100
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    seed: int = 0
    from_scratch: bool = True
    rehearsal_share: float = 0.5
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    @classmethod
    def from_bundle(cls, bundle: Path) -> TrainingSettings:
        """Read ``configs/train.json``; unknown keys are errors, so that a typo is not ignored."""
        content: dict[str, Any] = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))
        phases = _phases(content.pop("phases"))
        augmentation = content.pop("augmentation", {})
        if "scale_range" in augmentation:
            augmentation["scale_range"] = tuple(augmentation["scale_range"])
        for other in ("comment", "fine_tuning"):
            content.pop(other, None)
        return cls(phases=phases, augmentation=AugmentationSettings(**augmentation), **content)

    @classmethod
    def for_fine_tuning(cls, bundle: Path) -> TrainingSettings:
        """What ``configs/train.json`` says under ``fine_tuning``, on top of the rest.

        Without it: a fifth of the learning rate, an average that begins at the trained weights, and the phases after
        the first, which only has to find the coarse features that a trained network has already.
        """
        settings = cls.from_bundle(bundle)
        own = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8")).get("fine_tuning", {})
        phases = settings.phases[1:] or settings.phases
        whole = sum(phase.share for phase in phases)
        defaults = {
            "learning_rate": settings.learning_rate * FINE_TUNING_RATE,
            "from_scratch": False,
            "warmup_steps": min(settings.warmup_steps, 50),
            "phases": tuple(replace(phase, share=phase.share / whole) for phase in phases),
        }
        if "phases" in own:
            own["phases"] = _phases(own["phases"])
        return replace(settings, **{**defaults, **own})

    def as_json(self) -> dict[str, Any]:
        """For the log that is kept with the weights."""
        return asdict(self)


def _phases(items: list[dict[str, Any]]) -> tuple[Phase, ...]:
    return tuple(
        Phase(share=item["share"], spacing_mm=item["spacing_mm"], patch=tuple(item["patch"]), batch=item["batch"])
        for item in items
    )
