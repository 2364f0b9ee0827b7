"""A bundle in the layout of the MONAI model zoo with random weights: small, so that a run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch
from monai.networks.nets import SegResNet

CHANNELS = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
REGIONS = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}


def write_tiny_bundle(folder: Path, filters: int = 8, missing_channels_ok: bool = False, seed: int = 0) -> Path:
    """Write the bundle into ``folder`` and return it."""
    network = {
        "_target_": "SegResNet",
        "spatial_dims": 3,
        "init_filters": filters,
        "in_channels": 4,
        "out_channels": 3,
        "blocks_down": [1, 1, 1],
        "blocks_up": [1, 1],
    }
    configs = folder / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text(json.dumps(_metadata(folder.name, missing_channels_ok)))
    (configs / "inference.json").write_text(
        json.dumps(
            {
                "network_def": network,
                "network": "$@network_def.to(@device)",
                "inferer": {
                    "_target_": "SlidingWindowInferer",
                    "roi_size": [64, 64, 64],
                    "sw_batch_size": 1,
                    "overlap": 0.25,
                },
                "postprocessing": {
                    "_target_": "Compose",
                    "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
                },
            }
        )
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = SegResNet(**{key: value for key, value in network.items() if key != "_target_"}).state_dict()
    (folder / "models").mkdir()
    safetensors.torch.save_file(weights, folder / "models" / "model.safetensors")
    return folder


def _metadata(name: str, missing_channels_ok: bool) -> dict[str, object]:
    def data(count: int, words: dict[str, str]) -> dict[str, object]:
        return {"type": "image", "num_channels": count, "channel_def": words}

    return {
        "version": "0.0.1",
        "name": name,
        "task": "Brain tumour segmentation",
        "description": "Random weights, for tests.",
        "network_data_format": {"inputs": {"image": data(4, CHANNELS)}, "outputs": {"pred": data(3, REGIONS)}},
        "mahtai": {
            "spacing_mm": [2, 2, 2],
            "orientation": "LPS",
            "missing_channels_ok": missing_channels_ok,
            "licence": "CC0-1.0",
        },
    }
