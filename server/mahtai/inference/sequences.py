"""Do the volumes look like the sequences that they are said to be?

Rank correlations between the sequences and the widths of their histograms' tails inside the brain
tell T1, T1c, T2 and FLAIR apart. What is usual was measured on the training cases of
``training/splits.json`` (never on test cases) and is kept in ``sequences.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from mahtai.errors import MahtaiError

STATISTICS_FILE = Path(__file__).with_name("sequences.json")

DOUBLED_CORRELATION = 0.9995
SWAPPED_MARGIN = 3.0
"""Log-likelihood by which another order must explain the study better. On the 29 BraTS cases the true
order is at most 0.5 worse than the best one, so this margin raises no false alarm there."""

_VOXELS = 60_000

SHORT_NAMES = {"t1c": "T1c", "t1": "T1", "t2": "T2", "flair": "FLAIR"}


class DoubledSequence(MahtaiError):
    """Two slots hold the same picture."""

    kind = "doubled-sequence"
    title = "The same volume in two slots"
    status = 422


class SwappedSequences(MahtaiError):
    """The slots hold the right volumes in the wrong order."""

    kind = "swapped-sequences"
    title = "Sequences look swapped"
    status = 422


@dataclass(frozen=True)
class SequenceFeatures:
    """What tells sequences apart.

    Attributes:
        correlation: channels × channels, Fisher z of the rank correlations.
        tails: channels × 3, logarithms of upper, lower and far tail by the interquartile range.
    """

    correlation: np.ndarray
    tails: np.ndarray


def measure_features(image: Tensor, mask: Tensor) -> SequenceFeatures:
    """Features of channels × X × Y × Z inside the X × Y × Z brain mask."""
    inside = image[:, mask]
    voxels = inside[:, :: max(1, inside.shape[1] // _VOXELS)].float().cpu().numpy()
    ranks = rankdata(voxels, axis=1)
    correlation = np.arctanh(np.clip(np.corrcoef(ranks), -0.999, 0.999)) if len(voxels) > 1 else np.zeros((1, 1))
    low, quarter, median, three_quarters, high, far = np.percentile(voxels, [5, 25, 50, 75, 95, 99.8], axis=1)
    width = np.maximum(three_quarters - quarter, 1e-6)
    tails = np.stack([(high - median) / width, (median - low) / width, (far - high) / width], axis=1)
    return SequenceFeatures(correlation, np.log(np.maximum(tails, 1e-3)))


@cache
def _statistics() -> dict[str, dict[str, list[float]]]:
    return dict(json.loads(STATISTICS_FILE.read_text(encoding="utf-8")))


def _log_likelihood(features: SequenceFeatures, order: Sequence[int], channels: Sequence[str]) -> float:
    """How usual the features are if slot n of ``channels`` really holds volume ``order[n]``."""
    statistics = _statistics()
    total = 0.0
    for slot, channel in enumerate(channels):
        mean, deviation = (np.array(statistics[f"tails {channel}"][key]) for key in ("mean", "deviation"))
        total -= 0.5 * float((((features.tails[order[slot]] - mean) / deviation) ** 2).sum())
        for other in range(slot + 1, len(channels)):
            pair = statistics[f"correlation {' '.join(sorted((channel, channels[other])))}"]
            value = features.correlation[order[slot], order[other]]
            total -= 0.5 * float(((value - pair["mean"][0]) / pair["deviation"][0]) ** 2)
    return total


def check_sequences(image: Tensor, mask: Tensor, channels: Sequence[str]) -> None:
    """Refuse doubled or swapped sequences.

    Args:
        image: channels × X × Y × Z. mask: X × Y × Z, the brain. channels: ids, of the present ones only.

    Raises:
        DoubledSequence, SwappedSequences: saying which, and how to go on if the reader knows better.
    """
    if len(channels) < 2 or int(mask.sum()) < 1000 or not set(channels) <= set(SHORT_NAMES):
        return
    features = measure_features(image, mask)
    doubled = np.tanh(features.correlation) - np.eye(len(channels))
    first, second = (int(index) for index in np.unravel_index(int(doubled.argmax()), doubled.shape))
    if doubled[first, second] > DOUBLED_CORRELATION - 1e-3 and _same_picture(image[first][mask], image[second][mask]):
        raise DoubledSequence(
            f"{SHORT_NAMES[channels[first]]} and {SHORT_NAMES[channels[second]]} are the same picture.",
            "Choose another volume for one of the two, or leave that slot empty. Nothing was changed.",
        )
    scores = {order: _log_likelihood(features, order, channels) for order in permutations(range(len(channels)))}
    own = tuple(range(len(channels)))
    best = max(scores, key=lambda order: scores[order])
    if scores[best] - scores[own] > SWAPPED_MARGIN:
        moved = [slot for slot in own if best[slot] != slot]
        names = [SHORT_NAMES[channel] for channel in channels]
        guess = ", ".join(f"the volume in {names[best[slot]]} looks like {names[slot]}" for slot in moved)
        raise SwappedSequences(
            f"The sequences look swapped: {guess}.",
            "Check the slots. If they are right, run again with the sequence check switched off. Nothing was changed.",
        )


def _same_picture(first: Tensor, second: Tensor) -> bool:
    a, b = (values.double() - values.double().mean() for values in (first, second))
    scale = float((a * a).sum().sqrt() * (b * b).sum().sqrt())
    return scale > 0 and float((a * b).sum()) / scale > DOUBLED_CORRELATION
