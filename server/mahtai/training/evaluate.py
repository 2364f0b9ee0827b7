"""Evaluation of a bundle, through the very pipeline that serves readers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mahtai.inference.options import Options
from mahtai.inference.prediction import LoadedModel
from mahtai.inference.segmentation import segment
from mahtai.training.datasets import contiguous_labels, sequence_file
from mahtai.training.metrics import RegionScore, score_case, summarize
from mahtai.volumes.formats import read_volume


def evaluate(
    model: LoadedModel,
    folders: Sequence[Path],
    options: Options,
    drop: Sequence[str] = (),
    on_case: Callable[[str, dict[str, RegionScore]], None] = lambda name, scores: None,
) -> dict[str, Any]:
    """Segment each case and compare it with its ``seg`` file.

    Args:
        folders: case folders with the sequences and ``seg.nii.gz``.
        drop: channels to leave out, to see what a missing sequence costs.

    Returns:
        JSON: the setting, one entry a case, and the summary with bootstrap intervals.
    """
    cases: dict[str, dict[str, RegionScore]] = {}
    confidence: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    for folder in folders:
        study = {
            channel.id: read_volume(sequence_file(folder, channel.id))
            for channel in model.bundle.channels
            if channel.id not in drop
        }
        started = time.perf_counter()
        result = segment(study, model, options, lambda stage, fraction: None, lambda: False)
        seconds[folder.name] = round(time.perf_counter() - started, 2)
        reference = read_volume(sequence_file(folder, "seg"))
        if not reference.geometry.same_grid(result.geometry, 1e-2):
            raise ValueError(f"{folder.name}: the reference segmentation is not on the grid of the study")
        labels = contiguous_labels(np.asarray(reference.array))
        cases[folder.name] = score_case(result.labelmap, labels, result.geometry.spacing_mm)
        confidence[folder.name] = {name: region["confidence"] for name, region in result.summary["regions"].items()}
        on_case(folder.name, cases[folder.name])
    return {
        "model": {"id": model.bundle.id, "version": model.bundle.version, "sha256": model.bundle.sha256},
        "device": str(model.device),
        "precision": model.precision,
        "threads": torch.get_num_threads(),
        "options": options.as_json(),
        "left_out": list(drop),
        "reference": "seg files of the data folder; see its description for who drew them",
        "cases": {
            name: {
                "regions": {region: asdict(score) for region, score in scores.items()},
                "confidence": confidence[name],
                "seconds": seconds[name],
            }
            for name, scores in cases.items()
        },
        "summary": summarize(cases),
    }


def as_table(result: dict[str, Any]) -> str:
    """The summary and the cases as plain text."""
    lines = [f"{'region':8}{'Dice mean [95 % interval]':>30}{'median':>9}{'HD95 mm':>10}{'|volume error| ml':>20}"]
    for region, row in result["summary"].items():
        dice, distance, volume = row["dice"], row["hd95_mm"], row["absolute_volume_error_ml"]
        low, high = dice["interval_95"]
        interval = f"{dice['mean']:.3f} [{low:.3f}, {high:.3f}]"
        far = f"{distance['mean']:.1f}" if distance["n"] else "-"
        lines.append(f"{region.upper():8}{interval:>30}{dice['median']:>9.3f}{far:>10}{volume['mean']:>20.1f}")
    lines.append("")
    lines.append(f"{'case':26}" + "".join(f"{'Dice ' + region.upper():>10}" for region in result["summary"]))
    for name, case in result["cases"].items():
        scores = "".join(f"{case['regions'][region]['dice']:>10.3f}" for region in result["summary"])
        lines.append(f"{name:26}{scores}")
    return "\n".join(lines)
