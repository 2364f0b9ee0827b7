"""Follows the landmarks of one node: under the mouse, placed, deleted, moved by other modules; and notes who did it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray

from MahtAILib.cephalometry import landmark
from MahtAILib.scene.edits import EditWatch, is_by_the_reader, not_by_the_reader
from MahtAILib.scene.landmark_history import LandmarkHistory
from MahtAILib.scene.landmarks import is_landmarks, positions_ras, read_info, set_state, unset

_SAME_SPOT = 1e-6


class LandmarkWatch:
    """Watches the landmarks of one node, and keeps their history.

    Args:
        on_moved: called at each move of a point, many times during a drag.
        on_changed: called when a step is finished: a drag ended, a point was placed, deleted, confirmed.
    """

    def __init__(self, on_moved: Callable[[], None], on_changed: Callable[[], None]) -> None:
        self._on_moved, self._on_changed = on_moved, on_changed
        self._edits = EditWatch(lambda: None)
        self._node: Any = None
        self._observers: list[int] = []
        self._known: dict[str, NDArray[np.float64]] = {}
        self._is_dragging = False
        self.history: LandmarkHistory | None = None
        self.refused = ""
        """Why a point that was given was taken away again; empty if none was."""

    def watch(self, node: Any) -> None:
        """Watch this vtkMRMLMarkupsFiducialNode and no other; None for none."""
        if node is self._node:
            return
        self.stop()
        self._node = node
        self._edits.watch(node)
        if node is None:
            return
        self.history = LandmarkHistory(node)
        self._known = positions_ras(node)
        self._is_dragging = False
        for event, slot in (
            (node.PointStartInteractionEvent, self._drag_started),
            (node.PointEndInteractionEvent, self._drag_ended),
            (node.PointModifiedEvent, self._point_modified),
            (node.PointPositionDefinedEvent, self._point_placed),
            (node.PointPositionUndefinedEvent, self._point_gone),
            (node.PointRemovedEvent, self._point_gone),
        ):
            self._observers.append(node.AddObserver(event, _with_index(slot)))

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._node is not None:
            for observer in self._observers:
                self._node.RemoveObserver(observer)
        self._edits.stop()
        self._node, self._observers, self._known, self.history = None, [], {}, None

    def commit(self, is_edit: bool = True) -> None:
        """What was changed since the last step is one step.

        Args:
            is_edit: whether the reader did it; what a model placed is no edit.
        """
        if self.history is not None:
            self._known = positions_ras(self._node)
            self._is_dragging = False
            if self.history.commit() and is_edit:
                self._edits.note_edit()
            self._on_changed()

    def step(self, back: bool) -> None:
        """One step back, or forth again."""
        if self.history is None:
            return
        with not_by_the_reader():
            if back:
                self.history.undo()
            else:
                self.history.redo()
        self._known = positions_ras(self._node)
        self._edits.note_edit()
        self._on_changed()

    def _drag_started(self, index: int) -> None:
        self._is_dragging = True
        self.refused = ""

    def _drag_ended(self, index: int) -> None:
        self.commit()

    def _point_modified(self, index: int) -> None:
        """A point was moved; also called for its label, its colour and the like, and for one that is being placed."""
        node, name = self._node, self._name(index)
        if landmark(name) is None or node.GetNthControlPointPositionStatus(index) != node.PositionDefined:
            return
        position = np.array(node.GetNthControlPointPositionWorld(index))
        if not np.isfinite(position).all():
            self._refuse(name)
            return
        if name in self._known and np.abs(position - self._known[name]).max() < _SAME_SPOT:
            return
        was_there = name in self._known
        self._known[name] = position
        info = read_info(node).get(name)
        if not was_there or info is None or info.state == "missing":
            self._note_state(name, "manual")
        elif info.state in ("ai", "confirmed"):
            self._note_state(name, "moved")
        self._on_moved()
        if not self._is_dragging:
            self.commit()

    def _point_placed(self, index: int) -> None:
        if landmark(self._name(index)) is not None and self._name(index) in positions_ras(self._node):
            self._note_state(self._name(index), "manual")
            self.commit()

    def _point_gone(self, index: int) -> None:
        there = positions_ras(self._node)
        gone = [name for name in self._known if name not in there]
        if gone:
            with not_by_the_reader():
                set_state(self._node, gone, "missing")
            self._on_moved()
        self.commit()

    def _refuse(self, name: str) -> None:
        """A point that is not a number is missing: nothing can be measured or drawn from it."""
        self.refused = f"{name} was given a position that is no number; it counts as missing now."
        with not_by_the_reader():
            unset(self._node, name)
        self.commit()

    def _note_state(self, name: str, state: str) -> None:
        with not_by_the_reader():
            set_state(self._node, [name], state)

    def _name(self, index: int) -> str:
        node = self._node
        inside = is_landmarks(node) and 0 <= index < node.GetNumberOfControlPoints()
        return str(node.GetNthControlPointLabel(index)) if inside else ""


def _with_index(slot: Callable[[int], None]) -> Callable[..., None]:
    """A VTK observer that hands on the index of the point; what the program itself changes is not told."""

    def called(_node: Any, _event: str, index: int = -1) -> None:
        if is_by_the_reader():
            slot(index)

    called.CallDataType = vtk.VTK_INT  # type: ignore[attr-defined]
    return called
