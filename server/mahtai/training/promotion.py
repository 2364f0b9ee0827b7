"""The rule by which a new version of a model takes the place of the one that serves.

Both are scored on the same test cases, which neither has learnt from. The new one is promoted only if

1. there are at least ``FEWEST_CASES`` test cases,
2. the mean gain in Dice (over the regions of a case, then over the cases) is above 0 with some certainty: the lower
   end of its 90 % bootstrap interval over cases is above 0,
3. no region gets worse by more than ``LARGEST_LOSS`` in the mean.

Otherwise it is kept as a candidate, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FEWEST_CASES = 5
LARGEST_LOSS = 0.01
INTERVAL_PERCENT = (5.0, 95.0)
ROUNDS = 10_000

Scores = Mapping[str, Mapping[str, float]]
"""Test case → region → Dice."""


@dataclass(frozen=True)
class Decision:
    """Whether a version takes the place of another, and why.

    Attributes:
        cases: test cases that both were scored on.
        gain, interval: of the mean Dice, with its 90 % bootstrap interval; None without cases.
        regions: mean gain of each.
    """

    promote: bool
    reason: str
    cases: int
    gain: float | None
    interval: tuple[float, float] | None
    regions: Mapping[str, float]


def decide(candidate: Scores, current: Scores) -> Decision:
    """Compare two versions, case by case.

    Raises:
        ValueError: they were not scored on the same cases and regions.
    """
    if {name: set(case) for name, case in candidate.items()} != {name: set(case) for name, case in current.items()}:
        raise ValueError("the versions were not scored on the same cases and regions")
    if not candidate:
        return Decision(
            False, "There is no test case yet: approve labels of cases that are held out.", 0, None, None, {}
        )
    names, regions = sorted(candidate), sorted(next(iter(candidate.values())))
    gains = np.array([[candidate[name][region] - current[name][region] for region in regions] for name in names])
    of_cases = gains.mean(axis=1)
    draws = np.random.default_rng(0).choice(of_cases, (ROUNDS, len(names))).mean(axis=1)
    low, high = (round(float(value), 4) for value in np.percentile(draws, INTERVAL_PERCENT))
    by_region = {region: round(float(value), 4) for region, value in zip(regions, gains.mean(axis=0), strict=True)}
    gain = round(float(of_cases.mean()), 4)
    reason = _reason_against(len(names), gain, low, by_region)
    promote = reason is None
    said = f"Mean Dice {gain:+.4f} (90 % interval {low:+.4f} to {high:+.4f}) on {len(names)} test cases. "
    return Decision(promote, said + (reason or "It is better by the rule."), len(names), gain, (low, high), by_region)


def _reason_against(cases: int, gain: float, low: float, regions: Mapping[str, float]) -> str | None:
    if cases < FEWEST_CASES:
        return f"The rule wants at least {FEWEST_CASES} test cases."
    worse = [f"{region.upper()} {loss:+.4f}" for region, loss in regions.items() if loss < -LARGEST_LOSS]
    if worse:
        return f"A region got worse by more than {LARGEST_LOSS}: {', '.join(worse)}."
    if gain <= 0:
        return "It is not better."
    if low <= 0:
        return "The gain may be chance: its interval reaches 0."
    return None
