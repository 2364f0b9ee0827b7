"""What a training run is told: read from a bundle's ``configs/train.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
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


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides the outcome of a run besides the data and the machine's speed."""

    phases: tuple[Phase, ...]
    learning_rate: float = 5e-4
    weight_decay: float = 1e-5
    warmup_steps: int = 100
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    seed: int = 0
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    @classmethod
    def from_bundle(cls, bundle: Path) -> TrainingSettings:
        """Read ``configs/train.json``; unknown keys are errors, so that a typo is not ignored."""
        content: dict[str, Any] = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))
        phases = tuple(
            Phase(share=item["share"], spacing_mm=item["spacing_mm"], patch=tuple(item["patch"]), batch=item["batch"])
            for item in content.pop("phases")
        )
        augmentation = content.pop("augmentation", {})
        if "scale_range" in augmentation:
            augmentation["scale_range"] = tuple(augmentation["scale_range"])
        content.pop("comment", None)
        return cls(phases=phases, augmentation=AugmentationSettings(**augmentation), **content)

    def as_json(self) -> dict[str, Any]:
        """For the log that is kept with the weights."""
        return asdict(self)
