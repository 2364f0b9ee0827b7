"""Before a case is learnt from: is it, under another name or in part, one that is held out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mahtai.training.approved import ApprovedCase, HeldOut, shared_patients
from mahtai.training.splits import SplitError, part_of
from mahtai.volumes.fingerprint import FEWEST_VOXELS, telling_fingerprint
from mahtai.volumes.formats import Volume, read_volume
from mahtai.volumes.store import BlobStore

FEWEST_CROPPED_VALUES = 500
"""Different values that a part of a scan must have, so that it fits into no other scan by chance."""


@dataclass(frozen=True)
class Histogram:
    """Values of a scan without the background, ascending, and how often each occurs."""

    values: NDArray[Any]
    counts: NDArray[Any]

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Histogram:
        """Of an array of any shape."""
        flat = voxels.ravel(order="K")
        return cls(*np.unique(flat[flat != 0], return_counts=True))

    @property
    def tells(self) -> bool:
        """Whether there is enough in it to be known by a part."""
        return len(self.values) >= FEWEST_CROPPED_VALUES and int(self.counts.sum()) >= FEWEST_VOXELS

    def is_part_of(self, whole: Histogram) -> bool:
        """Whether each value occurs at most as often as in another scan: a crop, turned or mirrored or not."""
        places = np.searchsorted(whole.values, self.values)
        if len(places) == 0 or places[-1] >= len(whole.values):
            return False
        return bool((whole.values[places] == self.values).all() and (self.counts <= whole.counts[places]).all())


class Screening:
    """Looks at cases one by one.

    Args:
        held_out: as the tables say now.
        store: where the volumes lie; the reference volume of every held-out case is read once.
    """

    def __init__(self, held_out: HeldOut, store: BlobStore) -> None:
        self._held_out = held_out
        self._wholes = {
            name: Histogram.of(read_volume(store.read_bytes(sha256)).array)
            for sha256, name in held_out.references.items()
            if store.has(sha256)
        }

    def why_not(self, case: ApprovedCase, study: Mapping[str, Volume]) -> str | None:
        """Why a case must not be learnt from; None if it may.

        Args:
            study: slot → volume of the case, as stored.
        """
        if case.split != "train" or case.patient in self._held_out.patients:
            return f"its patient is held out ({case.split})"
        for slot, volume in study.items():
            reason = self._why_not_scan(volume, case.volumes[slot])
            if reason is not None:
                return f"its {slot} {reason}"
        return None

    def why_not_voxels(self, voxels: NDArray[Any]) -> str | None:
        """The same of a scan that does not lie in the store."""
        found = telling_fingerprint(voxels)
        if found is not None and (part_of(found) in ("validation", "test") or f"scan:{found}" in self._held_out.scans):
            return "shows a scan that is held out"
        part = Histogram.of(voxels)
        if part.tells:
            for name, whole in self._wholes.items():
                if part.is_part_of(whole):
                    return f"is a part of {name}, which is held out"
        return None

    def _why_not_scan(self, volume: Volume, sha256: str) -> str | None:
        if f"scan:bytes-{sha256[:58]}" in self._held_out.scans:
            return "is a scan that is held out"
        return self.why_not_voxels(volume.array)


def check_apart(training: Sequence[ApprovedCase], tests: Sequence[ApprovedCase]) -> None:
    """The last check before a run.

    Raises:
        SplitError: a case is not of the train split, or a patient is on both sides.
    """
    wrong = [case.name for case in training if case.split != "train"]
    both = shared_patients(training, tests)
    wrong += [case.name for case in training if case.patient in both]
    if wrong:
        raise SplitError(
            f"{', '.join(sorted(set(wrong))[:5])}: held out, and can never enter training. Nothing was trained.",
            "Train again: the split was changed meanwhile.",
        )
