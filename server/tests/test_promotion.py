"""The rule that decides whether a new version serves."""

from __future__ import annotations

import numpy as np
import pytest

from mahtai.training.promotion import FEWEST_CASES, Scores, decide

REGIONS = ("et", "tc", "wt")


def scores(cases: int, dice: float = 0.7, spread: float = 0.0, **of_region: float) -> Scores:
    """So many cases around a Dice, a region sometimes apart."""
    draw = np.random.default_rng(cases)
    return {
        f"case {number}": {
            region: dice + of_region.get(region, 0.0) + spread * float(draw.normal()) for region in REGIONS
        }
        for number in range(cases)
    }


def test_a_version_that_is_clearly_better_is_promoted() -> None:
    found = decide(scores(6, 0.75, spread=0.01), scores(6, 0.7))
    assert found.promote and found.cases == 6
    assert found.interval is not None and found.interval[0] > 0
    assert "better by the rule" in found.reason


@pytest.mark.parametrize("cases", [0, 1, FEWEST_CASES - 1])
def test_few_test_cases_promote_nothing(cases: int) -> None:
    found = decide(scores(cases, 0.9), scores(cases, 0.5))
    assert not found.promote
    assert ("at least 5 test cases" if cases else "no test case yet") in found.reason
    assert decide(scores(FEWEST_CASES, 0.9), scores(FEWEST_CASES, 0.5)).promote


def test_a_gain_that_may_be_chance_promotes_nothing() -> None:
    current = scores(8)
    candidate = {
        name: {region: dice + (0.2 if number % 2 else -0.15) for region, dice in case.items()}
        for number, (name, case) in enumerate(current.items())
    }
    found = decide(candidate, current)
    assert not found.promote and found.interval is not None
    assert found.interval[0] <= 0 < found.interval[1]
    assert "may be chance" in found.reason
    assert not decide(scores(8), scores(8)).promote
    assert decide(scores(8, 0.695), scores(8)).reason.endswith("It is not better.")


def test_a_region_that_gets_worse_promotes_nothing_whatever_the_others_gain() -> None:
    assert not decide(scores(8, 0.8, et=-0.111), scores(8, 0.7)).promote
    assert "ET -0.0110" in decide(scores(8, 0.8, et=-0.111), scores(8, 0.7)).reason
    assert decide(scores(8, 0.8, et=-0.109), scores(8, 0.7)).promote


def test_versions_are_compared_on_the_same_cases_only() -> None:
    with pytest.raises(ValueError, match="same cases"):
        decide(scores(7), scores(6))
