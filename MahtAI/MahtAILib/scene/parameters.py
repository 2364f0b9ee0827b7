"""What the panel remembers of a study: in one node of the scene, so that it is saved, loaded and closed with it.

A plain vtkMRMLScriptedModuleNode; Slicer's parameter-node wrapper would bring Qt along and is not there where
Slicer's libraries run without the application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk

MODULE = "MahtAI"

_DEFAULTS = {
    "task": "",
    "model": "",
    "landmark_model": "",
    "register": "auto",
    "brain_mask": "auto",
    "check_sequences": "on",
    "verdict": "",
    "comment": "",
    "opacity": "0.7",
    "fill": "1",
    "line_up": "1",
    "doubt": "places",
    "show_circles": "1",
    "show_planes": "1",
    "show_angles": "1",
    "analysis": "",
    "sex": "",
    "age": "",
}


class Parameters:
    """Typed access to the node; whoever shows the values observes ``node`` for changes."""

    def __init__(self, scene: Any) -> None:
        """Find the scene's node, or make it."""
        self.node = scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
        if self.node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(MODULE)
            node.SetName(MODULE)
            self.node = scene.AddNode(node)
        if self.node.GetAttribute("ModuleName") != MODULE:
            self.node.SetAttribute("ModuleName", MODULE)  # as Slicer marks them

    def get(self, name: str) -> str:
        """A value, or its default.

        Raises:
            KeyError: there is no such parameter.
        """
        default = _DEFAULTS[name]
        return self.node.GetParameter(name) or default

    def set(self, name: str, value: str) -> None:
        """Keep a value.

        Raises:
            KeyError: there is no such parameter.
        """
        if self.get(name) != value:
            self.node.SetParameter(name, value)

    def volume(self, slot: str) -> Any:
        """The slot's volume node, or None."""
        return self.node.GetNodeReference(f"volume.{slot}")

    def set_volume(self, slot: str, volume: Any) -> None:
        """Choose a slot's volume; None empties it."""
        self._refer(f"volume.{slot}", volume)

    @property
    def segmentation(self) -> Any:
        """The segmentation that is reviewed, or None."""
        return self.node.GetNodeReference("segmentation")

    @segmentation.setter
    def segmentation(self, node: Any) -> None:
        self._refer("segmentation", node)

    @property
    def confidence(self) -> Any:
        """The confidence map of the last result, or None."""
        return self.node.GetNodeReference("confidence")

    @confidence.setter
    def confidence(self, node: Any) -> None:
        self._refer("confidence", node)

    @property
    def image(self) -> Any:
        """The cephalogram, or None."""
        return self.node.GetNodeReference("image")

    @image.setter
    def image(self, node: Any) -> None:
        self._refer("image", node)

    @property
    def landmarks(self) -> Any:
        """The landmarks that are reviewed, or None."""
        return self.node.GetNodeReference("landmarks")

    @landmarks.setter
    def landmarks(self, node: Any) -> None:
        self._refer("landmarks", node)

    def observe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after each change, by whomever; returns what ends that."""
        node = self.node
        events = (vtk.vtkCommand.ModifiedEvent, node.ReferenceAddedEvent, node.ReferenceModifiedEvent)
        observers = [node.AddObserver(event, lambda *_arguments: changed()) for event in events]

        def stop() -> None:
            for observer in observers:
                node.RemoveObserver(observer)

        return stop

    def _refer(self, role: str, node: Any) -> None:
        wanted = None if node is None else node.GetID()
        if self.node.GetNodeReferenceID(role) != wanted:
            self.node.SetNodeReferenceID(role, wanted)
