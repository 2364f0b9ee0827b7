"""A landmark bundle with random weights: small, quick, and wrong about every point."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from mahtai.demo.drawn_cephalogram import TRUTH_MM
from mahtai.inference.landmarks.calibration import Calibration
from mahtai.inference.landmarks.shape import ShapeModel
from mahtai.models.landmark_bundle import CALIBRATION_FILE
from mahtai.networks import MAHTNet

OWN = Path(__file__).resolve().parents[2] / "models" / "ceph_mahtnet"
SMALL = {"landmarks": 19, "members": 1, "width": 32, "heads": 4, "layers": 1}

METADATA: dict[str, Any] = {
    "version": "0.0.1",
    "name": "Random points",
    "description": "Random weights in the layout of a landmark model",
    "intended_use": "Tests",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [640, 512], "channel_def": {"0": "cephalogram"}}},
        "outputs": {
            "pred": {"num_channels": 19, "spatial_shape": [160, 128], "channel_def": dict(enumerate(TRUTH_MM))}
        },
    },
    "mahtai": {"task": "cephalometry", "landmark_set": "isbi19", "licence": "CC0"},
}

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def write_landmark_bundle(folder: Path, change: Change = lambda metadata, network: None, weights: bool = True) -> Path:
    """Write a bundle into ``folder``; ``change`` may spoil the metadata and the network's definition."""
    metadata, network = copy.deepcopy(METADATA), {"_target_": "MAHTNet", **SMALL}
    change(metadata, network)
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": network}), "utf-8")
    weights_file = folder / "models" / "model.safetensors"
    if weights:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = MAHTNet(**SMALL).state_dict()
        safetensors.torch.save_file(state, weights_file)
    measured = hashlib.sha256(weights_file.read_bytes() if weights else b"").hexdigest()
    (folder / CALIBRATION_FILE).write_text(json.dumps(_calibration(measured).as_json()), "utf-8")
    return folder


def _calibration(weights_sha256: str) -> Calibration:
    """Of heads round the drawn one."""
    random = np.random.default_rng(0)
    drawn = np.array(list(TRUTH_MM.values()), float)
    heads = [drawn + random.normal(0, 3, drawn.shape) for _ in range(60)]
    same = np.ones(len(drawn))
    return Calibration(
        refiner_weight=0.5 * same,
        radius_factor=2 * same,
        least_radius_mm=same,
        largest_shape_distance=10.0,
        largest_landmark_distance=20.0,
        largest_expected_error_mm=5.0,
        view_pixels_per_mm=2.6,
        view_centre=np.array([256.0, 380.0]),
        shape=ShapeModel.fitted(heads),
        images=60,
        date="2026-01-01",
        weights_sha256=weights_sha256,
    )
