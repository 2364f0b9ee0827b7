"""A coarse result that is shown until the full one is there: to look at, and nothing else.

It is a node of its own that no selector lists and no scene file holds; it never touches the reader's segmentation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.images import extent_geometry, voxels_of
from MahtAILib.scene.segments import Prepared, put_segments

PREVIEW = "preview"
NAME = "MahtAI preview (coarse)"

_OPACITY = 0.6


def show_preview(scene: Any, prepared: Prepared, visible: bool = True) -> Any:
    """Show a preview, in outlines only, instead of an earlier one; returns its vtkMRMLSegmentationNode.

    Args:
        prepared: used up by this.
        visible: False keeps it hidden, because another task has the views.
    """
    remove_preview(scene)
    node = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)
    node.SetName(NAME)
    node.SetAttribute(CONTENT_ATTRIBUTE, PREVIEW)
    # before it is in the scene, so that nobody takes it for the reader's
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility(visible)
    display.SetVisibility3D(False)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetOpacity(_OPACITY)
    put_segments(node, prepared)
    return node


def remove_preview(scene: Any) -> None:
    """Take the preview away, if there is one."""
    for node in _previews(scene):
        display = node.GetDisplayNode()
        scene.RemoveNode(node)
        if display is not None:
            scene.RemoveNode(display)


def preview_of(scene: Any) -> Any:
    """The node of the preview that is shown, or None."""
    return next(iter(_previews(scene)), None)


def middle_ras_mm(prepared: Prepared) -> tuple[float, float, float] | None:
    """A voxel of a segment in the middle of the slice that holds most of them, RAS in mm; None where all is empty."""
    image = max(prepared.images, key=lambda one: one.GetNumberOfPoints(), default=None)
    if image is None or not image.GetNumberOfPoints():
        return None
    filled = voxels_of(image) > 0
    slice_index = int(filled.sum((0, 1)).argmax())
    where = np.argwhere(filled[:, :, slice_index])
    nearest = where[np.linalg.norm(where - where.mean(0), axis=1).argmin()]
    right, anterior, superior = (extent_geometry(image).ijk_to_ras @ [*nearest, slice_index, 1.0])[:3]
    return float(right), float(anterior), float(superior)


def _previews(scene: Any) -> list[Any]:
    nodes = (
        scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    )
    return [node for node in nodes if node.GetAttribute(CONTENT_ATTRIBUTE) == PREVIEW]
