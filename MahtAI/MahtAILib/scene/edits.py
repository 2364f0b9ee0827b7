"""Whether and how long segments or landmarks were edited; noted on their node, for all panels and the saved scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer

from MahtAILib.scene.landmarks import points_fingerprint
from MahtAILib.scene.segments import fingerprint

EDITED_ATTRIBUTE = "MahtAI.Edited"
SECONDS_ATTRIBUTE = "MahtAI.SecondsOfWork"
FINGERPRINT_ATTRIBUTE = "MahtAI.SavedSegments"

_PAUSE_S = 60.0
"""A longer gap between two edits is not work on this segmentation."""


def is_edited(node: Any) -> bool:
    """Whether something was changed since the segmentation arrived or was saved."""
    return node is not None and node.GetAttribute(EDITED_ATTRIBUTE) == "1"


def is_as_saved(node: Any) -> bool:
    """Whether it holds exactly what arrived or was saved, by whomever it was changed meanwhile; looked at anew."""
    return bool(node.GetAttribute(FINGERPRINT_ATTRIBUTE) == content_fingerprint(node))


def seconds_of_work(node: Any) -> float:
    """Time spent editing since the segmentation arrived or was saved."""
    try:
        return float(node.GetAttribute(SECONDS_ATTRIBUTE) or 0)
    except ValueError:
        return 0.0


def mark_saved(node: Any) -> None:
    """From now on edits count anew."""
    node.SetAttribute(FINGERPRINT_ATTRIBUTE, content_fingerprint(node))
    node.SetAttribute(EDITED_ATTRIBUTE, None)
    node.SetAttribute(SECONDS_ATTRIBUTE, None)


def mark_edited(node: Any, seconds: float) -> None:
    """There are edits that were not saved, and this much time went into them."""
    node.SetAttribute(FINGERPRINT_ATTRIBUTE, None)
    node.SetAttribute(EDITED_ATTRIBUTE, "1")
    node.SetAttribute(SECONDS_ATTRIBUTE, f"{seconds_of_work(node) + seconds:.1f}")


def content_fingerprint(node: Any) -> str:
    """The same for the same segments or landmarks."""
    return points_fingerprint(node) if node.IsA("vtkMRMLMarkupsNode") else fingerprint(node)


_changing: list[object] = []
"""Not empty while the program itself changes segments or landmarks; for all watches, for there may be two panels."""


def is_by_the_reader() -> bool:
    """Whether what changes now is changed by the reader."""
    return not _changing


@contextmanager
def not_by_the_reader() -> Iterator[None]:
    """Changes of segments or landmarks inside are no edits."""
    _changing.append(None)
    try:
        yield
    finally:
        _changing.pop()


class EditWatch:
    """Watches one segmentation, or the landmarks of one node, for edits by the reader.

    Args:
        on_edit: called after each edit, on the main thread, many times during a stroke.
    """

    def __init__(self, on_edit: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_edit = on_edit
        self._clock = clock
        self._node: Any = None
        self._observers: list[int] = []
        self._last = clock()

    def watch(self, node: Any) -> None:
        """Watch this node and no other; None for none."""
        if node is self._node:
            return
        self.stop()
        self._node = node
        self._last = self._clock()
        if node is None:
            return
        self._observers = [node.AddObserver(event, self._edited) for event in _events(node)]

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._node is not None:
            for observer in self._observers:
                self._node.RemoveObserver(observer)
        self._node, self._observers = None, []

    def note_edit(self) -> None:
        """The reader changed something that no event of the node tells."""
        if self._node is not None:
            self._edited(self._node, "")

    def _edited(self, node: Any, event: str) -> None:
        if _changing:
            return
        now = self._clock()
        if now - self._last < _PAUSE_S:
            node.SetAttribute(SECONDS_ATTRIBUTE, f"{seconds_of_work(node) + now - self._last:.1f}")
        self._last = now
        # a surface, a colour or an undo may leave the segments as they were saved
        is_as_saved = node.GetAttribute(FINGERPRINT_ATTRIBUTE) == content_fingerprint(node)
        if is_edited(node) == is_as_saved:
            node.SetAttribute(EDITED_ATTRIBUTE, None if is_as_saved else "1")
        self._on_edit()


def _events(node: Any) -> tuple[int, ...]:
    """What a node tells when its content changes."""
    if node.IsA("vtkMRMLMarkupsNode"):
        return ()  # LandmarkWatch knows when a point was moved, and says so by ``note_edit``
    events = slicer.vtkSegmentation
    # the node passes on what happens in its vtkSegmentation, also when that is replaced
    return (
        events.SourceRepresentationModified,
        events.SegmentAdded,
        events.SegmentRemoved,
        events.SegmentModified,
    )
