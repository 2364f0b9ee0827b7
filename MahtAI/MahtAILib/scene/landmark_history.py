"""Steps back and forth over the landmarks of one node. Slicer's own undo is switched off as it is shipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MahtAILib.scene.landmarks import POINTS_ATTRIBUTE, SET_ATTRIBUTE, put_control_point, read_info, write_info
from MahtAILib.scene.provenance import ORIGIN_ATTRIBUTE

MOST_STEPS = 100

_ATTRIBUTES = (POINTS_ATTRIBUTE, SET_ATTRIBUTE, ORIGIN_ATTRIBUTE)

Point = tuple[str, str, tuple[float, float, float] | None]


@dataclass(frozen=True)
class Snapshot:
    """All landmarks of a node at one time.

    Attributes:
        points: label, description, and RAS or None for a missing one.
        attributes: what is known of the points and where they come from.
    """

    points: tuple[Point, ...]
    attributes: tuple[str | None, ...]


class LandmarkHistory:
    """What the reader or the model did to the landmarks, step by step.

    Usage::

        history = LandmarkHistory(node)
        ... # something is changed
        history.commit()
        history.undo()
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._present = snapshot(node)
        self._past: list[Snapshot] = []
        self._future: list[Snapshot] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step forth."""
        return bool(self._future)

    def commit(self) -> bool:
        """What was changed since the last call is one step; returns whether anything was."""
        now = snapshot(self._node)
        if now == self._present:
            return False
        self._past = [*self._past, self._present][-MOST_STEPS:]
        self._future = []
        self._present = now
        return True

    def undo(self) -> None:
        """One step back."""
        self._go(self._past, self._future)

    def redo(self) -> None:
        """One step forth."""
        self._go(self._future, self._past)

    def _go(self, here: list[Snapshot], there: list[Snapshot]) -> None:
        if here:
            there.append(self._present)
            self._present = here.pop()
            restore(self._node, self._present)


def snapshot(node: Any) -> Snapshot:
    """The landmarks as they are; what is being placed at the moment counts as missing."""
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        ras = None
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            right, anterior, superior = node.GetNthControlPointPositionWorld(index)
            ras = (right, anterior, superior) if np.isfinite((right, anterior, superior)).all() else None
        points.append((node.GetNthControlPointLabel(index), node.GetNthControlPointDescription(index), ras))
    return Snapshot(tuple(points), tuple(node.GetAttribute(name) for name in _ATTRIBUTES))


def restore(node: Any, kept: Snapshot) -> None:
    """Make the landmarks what they were."""
    modifying = node.StartModify()
    node.RemoveAllControlPoints()
    for label, description, ras in kept.points:
        put_control_point(node, label, description, ras)
    for name, value in zip(_ATTRIBUTES, kept.attributes, strict=True):
        node.SetAttribute(name, value)
    write_info(node, read_info(node))
    node.EndModify(modifying)
