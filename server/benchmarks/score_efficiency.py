"""How well a model's own doubt finds its errors: from an evaluation that ``mahtai evaluate -o`` has written.

    PYTHONPATH=server:MahtAI python server/benchmarks/score_efficiency.py EVALUATION.json

An evaluation of landmarks needs ``--data`` with the readers' points as well. Prints the rank correlation of the score
with the true error, and how much of all error lies in the 10, 20 and 30 % of cases that the score puts first, beside
what chance and perfect knowledge would find; 95 % bootstrap intervals over cases.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mahtai.training.landmarks.dataset import PIXEL_MM, read_cephalograms

RESAMPLES = 5000
SHARES = (0.1, 0.2, 0.3)

Array = NDArray[np.float64]


def scores_and_errors(evaluation: dict[str, Any], data: Path | None) -> tuple[Array, Array, str]:
    """The score that ``uncertain`` takes (or one in the same order), the true error, and what that is."""
    if "images" in evaluation:
        assert data is not None, "--data is needed: the folder of the ISBI 2015 images"
        readers = {each.name: each.mean for each in read_cephalograms(data, "test1")}
        images = evaluation["images"]
        errors = [
            PIXEL_MM * np.linalg.norm(np.array(image["pixels"]) - readers[name], axis=1).mean()
            for name, image in images.items()
        ]
        scores = [np.mean(image["radius_mm"]) for image in images.values()]
        return np.array(scores), np.array(errors), "mean radial error to the mean of two readers, mm"
    cases = evaluation["cases"].values()
    scores = [1 - np.mean(list(case["confidence"].values())) for case in cases]
    errors = [1 - np.mean([region["dice"] for region in case["regions"].values()]) for case in cases]
    return np.array(scores), np.array(errors), "1 − mean Dice"


def found(scores: Array, errors: Array, share: float) -> float:
    """Part of all error in the cases that the score puts first."""
    count = max(1, round(share * len(errors)))
    return float(errors[np.argsort(-scores, kind="stable")[:count]].sum() / errors.sum())


def interval(measure: Callable[[Array, Array], float], scores: Array, errors: Array) -> tuple[float, float, float]:
    """The measure, and its bootstrap interval over cases."""
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, len(scores), len(scores)) for _ in range(RESAMPLES))
    low, high = np.nanquantile([measure(scores[draw], errors[draw]) for draw in draws], [0.025, 0.975])
    return measure(scores, errors), float(low), float(high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    evaluation = json.loads(arguments.evaluation.read_text(encoding="utf-8"))
    scores, errors, what = scores_and_errors(evaluation, arguments.data)
    rho = interval(lambda s, e: float(spearmanr(s, e).statistic), scores, errors)
    print(f"{len(scores)} cases, error: {what}, mean {errors.mean():.3f}")
    print("Spearman {:.2f} [{:.2f}, {:.2f}]".format(*rho))
    for share in SHARES:
        part = interval(lambda s, e, share=share: found(s, e, share), scores, errors)  # type: ignore[misc]
        best = found(errors, errors, share)
        print(
            "first {:.0%}: {:.1%} [{:.1%}, {:.1%}] of the error; by chance {:.0%}, at best {:.1%}".format(
                share, *part, share, best
            )
        )


if __name__ == "__main__":
    main()
