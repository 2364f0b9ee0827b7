"""Scores of a segmentation against a reference, and honest summaries of few cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from numpy.typing import NDArray

REGION_LABELS = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
"""Labels (1 NCR, 2 ED, 3 ET) that make up each region."""

BOOTSTRAP_ROUNDS = 10_000


@dataclass(frozen=True)
class RegionScore:
    """One region of one case.

    Attributes:
        dice: 0..1; 1 where both are empty, 0 where only one is (the convention of BraTS).
        hd95_mm: 95th percentile of the surface distances; None where one of the two is empty.
        volume_error_ml: predicted minus reference.
        reference_ml: volume of the reference.
    """

    dice: float
    hd95_mm: float | None
    volume_error_ml: float
    reference_ml: float


def score_region(
    predicted: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> RegionScore:
    """Compare two I × J × K masks on one grid."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    sizes = int(predicted.sum()), int(reference.sum())
    error = (sizes[0] - sizes[1]) * voxel_ml
    if not all(sizes):
        return RegionScore(float(sizes[0] == sizes[1]), None, error, sizes[1] * voxel_ml)
    dice = 2 * int((predicted & reference).sum()) / sum(sizes)
    where = np.nonzero(predicted | reference)
    box = tuple(slice(max(int(axis.min()) - 1, 0), int(axis.max()) + 2) for axis in where)
    pair = [torch.from_numpy(mask[box].astype(np.float32))[None, None] for mask in (predicted, reference)]
    distance = compute_hausdorff_distance(
        pair[0], pair[1], include_background=True, percentile=95, spacing=[float(value) for value in spacing_mm]
    )
    return RegionScore(dice, float(distance), error, sizes[1] * voxel_ml)


def score_case(
    predicted: NDArray[np.uint8], reference: NDArray[np.uint8], spacing_mm: Sequence[float]
) -> dict[str, RegionScore]:
    """Scores of WT, TC and ET from two labelmaps (0..3) on one grid."""
    return {
        region: score_region(np.isin(predicted, labels), np.isin(reference, labels), spacing_mm)
        for region, labels in REGION_LABELS.items()
    }


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Mean, median and the 95 % percentile bootstrap interval of the mean over cases."""
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        return {"n": 0}
    draws = np.random.default_rng(seed).choice(array, (BOOTSTRAP_ROUNDS, array.size)).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "n": int(array.size),
        "mean": round(float(array.mean()), 4),
        "interval_95": [round(float(low), 4), round(float(high), 4)],
        "median": round(float(np.median(array)), 4),
    }


def summarize(cases: dict[str, dict[str, RegionScore]]) -> dict[str, Any]:
    """Per region over all cases: Dice, HD95 in mm, absolute and signed volume error in ml."""
    summary: dict[str, Any] = {}
    for region in REGION_LABELS:
        scores = [case[region] for case in cases.values()]
        summary[region] = {
            "dice": bootstrap_mean([score.dice for score in scores]),
            "hd95_mm": bootstrap_mean([score.hd95_mm for score in scores if score.hd95_mm is not None]),
            "volume_error_ml": bootstrap_mean([score.volume_error_ml for score in scores]),
            "absolute_volume_error_ml": bootstrap_mean([abs(score.volume_error_ml) for score in scores]),
        }
    return summary
