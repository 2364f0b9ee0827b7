"""Two label versions over the images as outlines in two colours: to look at, and nothing else.

They are nodes of their own that no selector lists and no scene file holds; the reader's segmentation is only hidden
meanwhile.
"""

from __future__ import annotations

from typing import Any

from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.case_volumes import remove_nodes
from MahtAILib.scene.segments import Prepared, put_segments
from MahtAILib.scene.views import scene_nodes

COMPARISON = "comparison"
COLOURS = ((0.0, 0.62, 1.0), (1.0, 0.55, 0.0))
"""Blue and orange, which colour-blind readers tell apart; of all segments of the first and the second version."""


def show_comparison(scene: Any, versions: tuple[tuple[str, Prepared], tuple[str, Prepared]]) -> None:
    """Show two versions instead of those that were compared before.

    Args:
        versions: name and segments of each; the segments are used up by this.
    """
    remove_comparison(scene)
    for (name, prepared), colour in zip(versions, COLOURS, strict=True):
        node = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetAttribute(CONTENT_ATTRIBUTE, COMPARISON)
        # before it is in the scene, so that nobody takes it for the reader's
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node = scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        put_segments(node, prepared)
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        segments = node.GetSegmentation()
        for segment_id in segments.GetSegmentIDs():
            segments.GetSegment(segment_id).SetColor(*colour)


def remove_comparison(scene: Any) -> None:
    """Take the outlines away, if there are any."""
    remove_nodes(scene, compared(scene))


def compared(scene: Any) -> list[Any]:
    """The nodes of the comparison that is shown, the first version first; none if there is none."""
    return [
        node
        for node in scene_nodes(scene, "vtkMRMLSegmentationNode")
        if node.GetAttribute(CONTENT_ATTRIBUTE) == COMPARISON
    ]
