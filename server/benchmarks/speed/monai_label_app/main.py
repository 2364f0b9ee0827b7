"""A MONAI Label app that serves our network with our weights; loaded by MONAI Label in its own environment.

The transforms are those of MONAI for BraTS (all four channels in one file, z-score of what is not 0, sliding window,
sigmoid, threshold); the axes are turned to those that the network was trained on, and back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ToNumpyd,
)
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask
from safetensors.torch import load_file

LABELS = {"necrotic core": 1, "oedema": 2, "enhancing tumour": 3}


class Tumours(BasicInferTask):
    """Four channels in, one label a voxel out."""

    def __init__(self, bundle: Path, window: list[int]) -> None:
        definition = dict(json.loads((bundle / "configs" / "inference.json").read_text("utf-8"))["network_def"])
        assert definition.pop("_target_") == "SegResNet"
        network = SegResNet(**definition)
        weights = load_file(bundle / "models" / "model.safetensors")
        network.load_state_dict({name: value.float() for name, value in weights.items()})
        super().__init__(
            path=None,
            network=network,
            type=InferType.SEGMENTATION,
            labels=LABELS,
            dimension=3,
            description="SegResNet for BraTS",
            roi_size=window,
        )

    def pre_transforms(self, data: Any = None) -> Sequence[Callable]:
        """Until the network."""
        return [
            LoadImaged(keys="image", reader="NibabelReader", ensure_channel_first=True),
            EnsureTyped(keys="image", device=data.get("device") if data else None),
            Orientationd(keys="image", axcodes="LPS", labels=None),
            NormalizeIntensityd(keys="image", nonzero=True, channel_wise=True),
        ]

    def inferer(self, data: Any = None) -> SlidingWindowInferer:
        """As in the model zoo's bundle for BraTS."""
        return SlidingWindowInferer(roi_size=self.roi_size, sw_batch_size=1, overlap=0.5)

    def inverse_transforms(self, data: Any = None) -> Sequence[Callable]:
        """All that can be undone: the axes."""
        return []

    def post_transforms(self, data: Any = None) -> Sequence[Callable]:
        """From the network's output to labels."""
        return [
            Activationsd(keys="pred", sigmoid=True),
            AsDiscreted(keys="pred", threshold=0.5),
            Lambdad(keys="pred", func=_labels),
            ToNumpyd(keys="pred", dtype="uint8"),
        ]


def _labels(regions: Any) -> Any:
    core, whole, enhancing = regions > 0
    labels = torch.where(enhancing, 3, torch.where(core, 1, torch.where(whole, 2, 0)))
    return labels


class App(MONAILabelApp):
    """One model."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self._task = Tumours(Path(conf["bundle"]), json.loads(conf["window"]))
        super().__init__(app_dir, studies, conf, name="benchmark", description="Our network", labels=LABELS)

    def init_infers(self) -> dict[str, Any]:
        """The model."""
        return {"tumours": self._task}
