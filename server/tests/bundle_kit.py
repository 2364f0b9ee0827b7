"""Small MONAI bundles with random weights, laid out as the model zoo's: expressions, references, a checkpoint."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import SegResNet

SMALL = {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}

METADATA: dict[str, Any] = {
    "version": "9.8.7",
    "monai_version": "1.4.0",
    "name": "Glioma regions",
    "task": "Segmentation of gliomas",
    "description": "Random weights in the layout of the zoo",
    "copyright": "Copyright of nobody",
    "image_classes": "4 channel data, T1c, T1, T2, FLAIR at 1x1x1 mm",
    "eval_metrics": {"mean_dice": 0.1},
    "intended_use": "Tests",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "num_channels": 4,
                "spatial_shape": ["8*n", "8*n", "8*n"],
                "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "num_channels": 3,
                "spatial_shape": ["8*n", "8*n", "8*n"],
                "channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"},
            }
        },
    },
}

INFERENCE: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "ckpt_dir": "$@bundle_root + '/models'",
    "channels_in": 4,
    "window": [48, 56, 40],
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "SegResNet", "in_channels": "@channels_in", "out_channels": 3, **SMALL},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "image_only": False},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@window", "sw_batch_size": 1, "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[2]] > 0, 4, 0)"},
        ],
    },
    "checkpointloader": {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    },
    "run": ["$@evaluator.run()"],
}


def small_network(in_channels: int = 4, **changes: Any) -> SegResNet:
    """The network of ``INFERENCE`` with random weights."""
    torch.manual_seed(0)
    return SegResNet(**{"in_channels": in_channels, "out_channels": 3, **SMALL, **changes})


def write_bundle(
    folder: Path,
    change: Callable[[dict[str, Any], dict[str, Any]], None] = lambda metadata, inference: None,
    weights: bool = True,
) -> Path:
    """Write a bundle into ``folder``; ``change`` may spoil the metadata and the inference configuration."""
    metadata, inference = copy.deepcopy(METADATA), copy.deepcopy(INFERENCE)
    change(metadata, inference)
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    (folder / "configs" / "inference.json").write_text(json.dumps(inference), "utf-8")
    (folder / "docs" / "README.md").write_text("# A model card\n", "utf-8")
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0\n", "utf-8")
    if weights:
        torch.save(small_network().state_dict(), folder / "models" / "model.pt")
    return folder
