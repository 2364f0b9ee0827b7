"""Studies kept in memory after they were prepared and predicted, so that a second look at one costs no first one.

A study is read, registered, masked and normalized before the reader presses Run, and a run with another option
of the last steps goes on from the network's probabilities. Nothing here outlives the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from torch import Tensor

from mahtai.inference.options import Options
from mahtai.inference.study import PreparedStudy, Record

MOST_STUDIES = 4
"""About 100 MB each for a BraTS case."""

_PREPARING = ("reference", "register", "brain_mask", "resample", "check_sequences")


@dataclass
class KeptStudy:
    """What is kept of one study.

    Attributes:
        seconds: that preparing it took, by stage.
        probabilities: key → the network's output on ``prepared.grid``, outputs × X × Y × Z float32.
    """

    prepared: PreparedStudy
    record: Record
    seconds: dict[str, float]
    probabilities: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    def new_record(self) -> Record:
        """The record of the preparation, for another run to add to."""
        return deepcopy(self.record)


def preparation_key(model: str, inputs: Mapping[str, str], options: Options) -> str:
    """Studies with the same key are prepared alike.

    Args:
        model: SHA-256 of the bundle.
        inputs: channel id → path of a volume that never changes.
    """
    chosen = [(name, getattr(options, name)) for name in _PREPARING]
    return repr((model, sorted(inputs.items()), chosen))


class StudyCache:
    """The studies that were looked at last."""

    def __init__(self, most: int = MOST_STUDIES) -> None:
        self._most = most
        self._kept: OrderedDict[str, KeptStudy] = OrderedDict()

    def get(self, key: str) -> KeptStudy | None:
        """A study that is still there."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: str, study: KeptStudy) -> None:
        """Keep a study; the one that was not looked at for longest goes."""
        self._kept[key] = study
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Give the memory back."""
        self._kept.clear()
