"""Slicer's place mode for one point: the next click in a view puts it there."""

from __future__ import annotations

from typing import Any

from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.calibration import RULER
from MahtAILib.scene.landmarks import index_of

RULER_CONTENT = "ruler"


def place_landmark(scene: Any, node: Any, landmark_id: str) -> None:
    """The reader's next click places this landmark, which has no position yet; Slicer ends the mode after it."""
    index = index_of(node, landmark_id, make=True)
    # with a fixed number Slicer fills the undefined points from this one on, and adds none
    node.SetFixedNumberOfControlPoints(True)
    node.SetControlPointPlacementStartIndex(index)
    _start(scene, node)


def stop_placing(scene: Any) -> None:
    """Back to looking and dragging."""
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def is_placing(scene: Any) -> bool:
    """Whether the next click places a point."""
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    return interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place


def draw_ruler(scene: Any) -> Any:
    """A new ruler, whose two ends the next two clicks place; an older one goes."""
    old = ruler(scene)
    if old is not None:
        scene.RemoveNode(old)
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", RULER)
    line.SetAttribute(CONTENT_ATTRIBUTE, RULER_CONTENT)
    line.CreateDefaultDisplayNodes()
    display = line.GetDisplayNode()
    display.SetSelectedColor(0.3, 0.8, 1.0)
    display.SetGlyphTypeFromString("CrossDot2D")
    display.SetGlyphScale(1.5)
    # its length in units would be taken for millimetres
    display.SetPropertiesLabelVisibility(False)
    _start(scene, line)
    return line


def ruler(scene: Any) -> Any:
    """The ruler, or None."""
    lines = scene.GetNodesByClass("vtkMRMLMarkupsLineNode")
    lines.UnRegister(None)
    return next((line for line in lines if line.GetAttribute(CONTENT_ATTRIBUTE) == RULER_CONTENT), None)


def _start(scene: Any, node: Any) -> None:
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if selection is None or interaction is None:
        return
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(0)
    interaction.SetCurrentInteractionMode(interaction.Place)
