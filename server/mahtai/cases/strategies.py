"""Which case comes next: orders of cases by what a model made of them. Pure functions, no database.

``uncertain`` is least confidence (Lewis and Gale, 1994), ``diverse`` farthest-first traversal of the k-centre problem
(Gonzalez, 1985; as core-set selection: Sener and Savarese, 2018), ``disagreement`` a committee's (Seung et al., 1992).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mahtai.cases.next_case import Ranked
from mahtai.errors import MahtaiError

TRAVERSED = 64
"""How many cases farthest-first puts in order; the rest follows by its distance."""


class UnknownStrategy(MahtaiError):
    """There is no strategy of that name."""

    kind = "unknown-strategy"
    title = "There is no such strategy"
    status = 422


@dataclass(frozen=True)
class Evidence:
    """What is known of a case from one version of a model; None where nothing is.

    Attributes:
        error: expected error of the result: 1 − expected Dice, or mm of a landmark.
        descriptor: numbers that are alike for cases that look alike to the model.
        disagreement: 1 − Dice of the result with another one of the same case.
    """

    error: float | None = None
    descriptor: tuple[float, ...] | None = None
    disagreement: float | None = None


@dataclass(frozen=True)
class Strategy:
    """A way to choose.

    Attributes:
        wants: name of the ``Evidence`` that it needs; empty for none.
    """

    id: str
    name: str
    description: str
    wants: str = ""


STRATEGIES = (
    Strategy("order", "In order", "The oldest case first."),
    Strategy("random", "Random", "Shuffled, the same for everybody."),
    Strategy("uncertain", "Most uncertain", "Where the model expects the largest error of its own.", "error"),
    Strategy("diverse", "Most different", "What is least like the cases that have a label already.", "descriptor"),
    Strategy(
        "disagreement", "Most disputed", "Where the model contradicts itself on the mirrored case.", "disagreement"
    ),
)


def find_strategy(name: str) -> Strategy:
    """A strategy by its id.

    Raises:
        UnknownStrategy: naming those that there are.
    """
    for strategy in STRATEGIES:
        if strategy.id == name:
            return strategy
    raise UnknownStrategy(
        f"There is no strategy {name[:50]!r}.", f"There are: {', '.join(each.id for each in STRATEGIES)}."
    )


def rank(
    strategy: str,
    candidates: Sequence[str],
    evidence: Mapping[str, Evidence],
    labelled: Sequence[tuple[float, ...]] = (),
) -> list[Ranked]:
    """The candidates, the best first; those without the evidence that is wanted come last, in their order.

    Args:
        candidates: ids of cases, in the order in which they came.
        labelled: descriptors of cases that have a label.

    Raises:
        UnknownStrategy: there is none of that name.
    """
    wanted = find_strategy(strategy).wants
    if not wanted:
        ranked = _PLAIN[strategy](candidates)
        return [(case, None, _WHY[strategy]) for case in ranked]
    known = [case for case in candidates if getattr(evidence.get(case, Evidence()), wanted) is not None]
    if strategy == "diverse":
        scored = _farthest_first({case: evidence[case].descriptor or () for case in known}, labelled)
    else:
        values = {case: float(getattr(evidence[case], wanted)) for case in known}
        scored = sorted(values.items(), key=lambda item: -item[1])
    best = [(case, round(value, 4), _WHY[strategy].format(value)) for case, value in scored]
    rest = [(case, None, "The model has not looked at this case yet.") for case in candidates if case not in known]
    return [*best, *rest]


def _shuffled(candidates: Sequence[str]) -> list[str]:
    """The same order for whoever asks, so that what was fetched ahead is what comes."""
    return sorted(candidates, key=lambda case: hashlib.sha256(case.encode()).digest())


_PLAIN: dict[str, Callable[[Sequence[str]], list[str]]] = {"order": list, "random": _shuffled}

_WHY = {
    "order": "It is the next one on the list.",
    "random": "It was drawn by lot.",
    "uncertain": "The model expects an error of {:.2f} here, more than in the cases after it.",
    "diverse": "It is the least like those that have a label ({:.1f} away).",
    "disagreement": "The model contradicts itself here (1 − Dice {:.2f}).",
}


def _farthest_first(
    descriptors: Mapping[str, tuple[float, ...]], labelled: Sequence[tuple[float, ...]]
) -> list[tuple[str, float]]:
    """Cases with their distance from all that are labelled or came before them."""
    if not descriptors:
        return []
    cases = list(descriptors)
    points, centres = _scaled([descriptors[case] for case in cases], labelled)
    # with nothing labelled the first one is the most typical, from which the others are told apart
    start = centres if len(centres) else np.median(points, axis=0, keepdims=True)
    away = np.linalg.norm(points[:, None] - start[None], axis=2).min(axis=1)
    order: list[tuple[str, float]] = []
    left = set(range(len(cases)))
    while left and len(order) < TRAVERSED:
        chosen = max(left, key=lambda index: (away[index], -index))
        order.append((cases[chosen], float(away[chosen])))
        left.remove(chosen)
        away = np.minimum(away, np.linalg.norm(points - points[chosen], axis=1))
    return order + sorted(((cases[index], float(away[index])) for index in left), key=lambda item: -item[1])


def _scaled(
    candidates: Sequence[tuple[float, ...]], labelled: Sequence[tuple[float, ...]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each number in units of its own spread (median and interquartile range), outliers cut off."""
    length = len(candidates[0])
    alike = [each for each in labelled if len(each) == length]
    everything = np.array([*candidates, *alike], float).reshape(-1, length)
    low, middle, high = np.percentile(everything, [25, 50, 75], axis=0)
    spread = np.where(high - low > 1e-9, high - low, 1.0)
    scaled = np.clip((everything - middle) / spread, -5, 5) / np.sqrt(length)
    return scaled[: len(candidates)], scaled[len(candidates) :]
