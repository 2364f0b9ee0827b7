"""What a training run of a landmark model is told: read from a bundle's ``configs/train.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mahtai.training.landmarks.augmentation import AugmentationSettings


@dataclass(frozen=True)
class LandmarkTrainingSettings:
    """All that decides the outcome of a run besides the data and the machine's speed.

    Attributes:
        folds: the members of the ensemble; each leaves out one fold, on which it is calibrated.
        locator_share: of a member's time; the rest is the refiner's.
        locator_batch: images a step.
        refiner_batch: crops a step.
        sigma_cells: standard deviation of the target at the start and at the end, in cells of the heatmap;
            it falls over the first half of the run.
    """

    folds: tuple[int, ...] = (0, 1, 2)
    locator_share: float = 0.6
    locator_batch: int = 2
    refiner_batch: int = 32
    locator_sigma_cells: tuple[float, float] = (2.5, 1.0)
    refiner_sigma_cells: tuple[float, float] = (5.0, 2.0)
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    seed: int = 20261122
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    @classmethod
    def from_bundle(cls, bundle: Path) -> LandmarkTrainingSettings:
        """Read ``configs/train.json``; unknown keys are errors, so that a typo is not ignored."""
        content: dict[str, Any] = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))
        content.pop("comment", None)
        for name in ("folds", "locator_sigma_cells", "refiner_sigma_cells"):
            if name in content:
                content[name] = tuple(content[name])
        augmentation = AugmentationSettings(**content.pop("augmentation", {}))
        return cls(augmentation=augmentation, **content)

    def as_json(self) -> dict[str, Any]:
        """For the log that is kept with the weights."""
        return asdict(self)
