"""How alike two segmentations are: Dice of each region, and what that says of a faster way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

REGIONS = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
"""Labels (1 NCR, 2 ED, 3 ET) that make up each region."""

Labels = NDArray[np.uint8]
Scores = dict[str, float]


def dice(first: Labels, second: Labels) -> Scores:
    """Region → 2·|A∩B| / (|A|+|B|); 1 where both are empty (the convention of BraTS)."""
    found = {}
    for region, values in REGIONS.items():
        a, b = np.isin(first, values), np.isin(second, values)
        total = int(a.sum()) + int(b.sum())
        found[region] = round(2 * int((a & b).sum()) / total, 5) if total else 1.0
    return found


def agree(results: Mapping[str, Labels], reference: Labels | None) -> dict[str, Any]:
    """What is reported of one case.

    Args:
        results: who made it → labels on the grid of T1c; ``ours`` and ``fp32`` (ours in single precision) are among
            them.
        reference: by an expert, or None.
    """
    ours, slow = results["ours"], results["fp32"]
    found: dict[str, Any] = {
        "ours_against": {name: dice(ours, labels) for name, labels in results.items() if name != "ours"},
        "voxels": {region: int(np.isin(slow, values).sum()) for region, values in REGIONS.items()},
    }
    if reference is not None:
        scores = {name: dice(labels, reference) for name, labels in results.items()}
        found["against_reference"] = scores
        found["moved_by_speed"] = {
            region: round(scores["ours"][region] - scores["fp32"][region], 5) for region in REGIONS
        }
    return found


def worst(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Over all cases: the lowest Dice of ours against each other result, and how far speed moved Dice at most."""
    lowest: dict[str, Scores] = {}
    moved: Scores = {}
    for found in cases.values():
        for name, scores in found["ours_against"].items():
            known = lowest.setdefault(name, {})
            for region, value in scores.items():
                known[region] = min(value, known.get(region, 1.0))
        for region, value in found.get("moved_by_speed", {}).items():
            moved[region] = max(moved.get(region, 0.0), abs(value))
    return {"cases": len(cases), "lowest_dice_of_ours_against": lowest, "largest_move_of_dice_by_speed": moved}
