"""A MONAI Label app with models that need no weights; loaded by MONAI Label itself, in its own environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SimpleInferer
from monai.transforms import EnsureTyped, Lambdad, LoadImaged
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask

LABELS = {"background": 0, "head": 1, "lesion": 2}


class Steps(torch.nn.Module):
    """1 where the image is above 100, 2 where it is above 450."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Batch × 1 × places, as given."""
        return (image > 100).float() + (image > 450).float()


class Threshold(BasicInferTask):
    """One volume in, labels by its brightness out."""

    def __init__(self, kind: str = InferType.SEGMENTATION) -> None:
        super().__init__(path=None, network=Steps(), type=kind, labels=LABELS, dimension=3, description="By brightness")

    def pre_transforms(self, data: Any = None) -> Sequence[Callable]:
        """Until the network."""
        return [
            LoadImaged(keys="image", ensure_channel_first=True),
            EnsureTyped(keys="image", device=data.get("device") if data else None),
        ]

    def inferer(self, data: Any = None) -> SimpleInferer:
        """The whole volume at once."""
        return SimpleInferer()

    def post_transforms(self, data: Any = None) -> Sequence[Callable]:
        """From the network's output to labels."""
        return [Lambdad(keys="pred", func=lambda labels: labels[0])]


class App(MONAILabelApp):
    """A model that segments, and one that wants clicks."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        super().__init__(app_dir, studies, conf, name="tests", description="For tests", labels=LABELS)

    def init_infers(self) -> dict[str, Any]:
        """The models."""
        return {"threshold": Threshold(), "clicks": Threshold(InferType.DEEPGROW)}
