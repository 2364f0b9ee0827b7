"""The gate before anything is sent: do the chosen volumes lie where a study's volumes lie, and what will be done?

It decides as the server does, by the same limits; the server stays the judge of what only voxels show.

    checked = check({"t1c": node, "flair": other}, register="auto")
    checked.can_run, checked.reasons
    checked.slots["flair"].relation      Relation.OTHER_GRID
    checked.slots["flair"].sentence      "On another grid (0.5 × 0.5 × 6 mm): it will be registered …"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from MahtAILib.client.geometry import Geometry
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.volumes import geometry_of_volume
from MahtAILib.sequences.assignment import SHORT_NAMES

REFERENCE_ORDER = ("t1c", "t1", "flair", "t2")
"""The first of these that is there is the volume to whose grid the others are brought, as on the server."""
LEAST_OVERLAP = 0.5
"""Share of space below which two volumes are taken to be of different patients or positions, as on the server."""
FEWEST_SEQUENCES = 2


class Relation(Enum):
    """Where a volume lies, as seen from the reference."""

    REFERENCE = "reference"
    SAME_GRID = "same grid"
    OTHER_GRID = "other grid"
    ELSEWHERE = "elsewhere"
    DOUBLED = "in two slots"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class SlotCheck:
    """What the gate says about one slot.

    Attributes:
        relation: to the reference.
        sentence: for the reader: where the volume lies and what will be done to it, or why it cannot be used.
        stops: whether the study cannot be run with it.
    """

    relation: Relation
    sentence: str
    stops: bool = False


@dataclass(frozen=True)
class StudyCheck:
    """What the gate says about a study.

    Attributes:
        slots: slot → check, of the slots that hold a volume.
        reference: slot of the reference, or None where no volume can be one.
        reasons: why the study cannot be run; empty where it can.
    """

    slots: Mapping[str, SlotCheck]
    reference: str | None
    reasons: tuple[str, ...]

    @property
    def can_run(self) -> bool:
        """Whether the server would take the study, as far as that can be told without its voxels."""
        return not self.reasons


def check(volumes: Mapping[str, Any], register: str = "auto") -> StudyCheck:
    """Check the chosen volumes; quick, for no voxel is looked at.

    Args:
        volumes: slot → volume node, of the slots that hold one.
        register: option of the run: ``auto``, ``on`` or ``off``.
    """
    grids: dict[str, Geometry | ExplainedError] = {}
    for slot, node in volumes.items():
        try:
            grids[slot] = geometry_of_volume(node)
        except ExplainedError as error:
            grids[slot] = error
    twins = {
        slot: [other for other, another in volumes.items() if other != slot and another is node]
        for slot, node in volumes.items()
    }
    return check_grids(grids, register, twins)


def check_grids(
    grids: Mapping[str, Geometry | ExplainedError], register: str = "auto", twins: Mapping[str, list[str]] | None = None
) -> StudyCheck:
    """The same for grids.

    Args:
        grids: slot → where its volume lies, or why it cannot be used.
        register: option of the run.
        twins: slot → other slots that hold the same volume.
    """
    usable = {slot: grid for slot, grid in grids.items() if isinstance(grid, Geometry)}
    reference = next((slot for slot in REFERENCE_ORDER if slot in usable), None)
    slots: dict[str, SlotCheck] = {}
    for slot, grid in grids.items():
        if isinstance(grid, ExplainedError):
            slots[slot] = SlotCheck(Relation.UNUSABLE, str(grid), stops=True)
        elif twins and twins.get(slot):
            slots[slot] = SlotCheck(Relation.DOUBLED, _doubled(twins[slot]), stops=True)
        elif slot == reference or reference is None:
            slots[slot] = SlotCheck(Relation.REFERENCE, _reference(len(grids)))
        else:
            slots[slot] = _compared(grid, usable[reference], SHORT_NAMES[reference], register)
    reasons = [f"{SHORT_NAMES[slot]}: {said.sentence}" for slot, said in slots.items() if said.stops]
    if len(grids) < FEWEST_SEQUENCES:
        reasons.append("At least two of T1, T1c, T2 and FLAIR are needed.")
    return StudyCheck(slots, reference, tuple(reasons))


def _compared(grid: Geometry, reference: Geometry, name: str, register: str) -> SlotCheck:
    if reference.same_grid(grid):
        return SlotCheck(Relation.SAME_GRID, f"On the grid of {name}.")
    overlap = reference.overlap_fraction(grid)
    if overlap < LEAST_OVERLAP:
        return _elsewhere(grid, reference, name, overlap, register)
    spacing = " × ".join(f"{value:.3g}" for value in grid.spacing_mm)
    done = "registered to it and resampled"
    if register == "off":
        done = "resampled to it but not registered, because that is switched off"
    return SlotCheck(Relation.OTHER_GRID, f"On another grid ({spacing} mm) than {name}: it will be {done}.")


def _elsewhere(grid: Geometry, reference: Geometry, name: str, overlap: float, register: str) -> SlotCheck:
    distance = float(np.linalg.norm(grid.center_ras_mm - reference.center_ras_mm))
    where = (
        f"Lies elsewhere than {name}: the centres are {distance:.0f} mm apart, {overlap:.0%} of the space is shared."
    )
    if register == "on":
        return SlotCheck(Relation.ELSEWHERE, f"{where} Registration will search for it; look closely at the result.")
    what = "Check that both are of the same patient and examination; if they are, switch registration on."
    return SlotCheck(Relation.ELSEWHERE, f"{where} {what}", stops=True)


def _reference(count: int) -> str:
    return "The reference: the others are brought to its grid." if count > 1 else "The reference."


def _doubled(others: list[str]) -> str:
    named = " and ".join(SHORT_NAMES[slot] for slot in others)
    return f"The same volume is in {named} too; choose another one for one of the slots."
