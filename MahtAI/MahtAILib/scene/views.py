"""The four sequences side by side: one layout, linked slices, the segmentation over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import vtk

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.images import numpy_matrix

LAYOUT_ID = 8391
"""Slicer's own layouts end below 1000; extensions take numbers of their own."""

_OBLIQUE_DEG = 3.0


@dataclass(frozen=True)
class View:
    """One view of the layout: its slot, singleton tag, and how it is marked."""

    slot: str
    tag: str
    label: str
    color: str


VIEWS = (
    View("t1c", "MahtAIT1c", "T1c", "#D55E00"),
    View("t1", "MahtAIT1", "T1", "#56B4E9"),
    View("flair", "MahtAIFLAIR", "FLAIR", "#F0E442"),
    View("t2", "MahtAIT2", "T2", "#009E73"),
)


def layout_xml() -> str:
    """Slicer's description of the layout: two rows of two axial views."""
    rows = "".join(
        f'<item><layout type="horizontal">{"".join(map(_view_xml, VIEWS[row : row + 2]))}</layout></item>'
        for row in (0, 2)
    )
    return f'<layout type="vertical" split="true">{rows}</layout>'


def _view_xml(view: View) -> str:
    properties = {"orientation": "Axial", "viewlabel": view.label, "viewcolor": view.color}
    written = "".join(
        f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items()
    )
    return f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(view.tag)}>{written}</view></item>'


def register_layout(layout_node: Any) -> int:
    """Make the layout known to Slicer; returns its number.

    Args:
        layout_node: the scene's vtkMRMLLayoutNode.
    """
    if not layout_node.IsLayoutDescription(LAYOUT_ID):
        layout_node.AddLayoutDescription(LAYOUT_ID, layout_xml())
    return LAYOUT_ID


def show_study(scene: Any, volumes: Mapping[str, Any], reference: Any) -> None:
    """Put each slot's volume into its view and link the four; a view without a volume shows the reference.

    Args:
        volumes: slot → volume node or None.
        reference: volume node to whose plane oblique slices are turned.
    """
    composites = _by_layout_name(scene, "vtkMRMLSliceCompositeNode")
    slices = _by_layout_name(scene, "vtkMRMLSliceNode")
    for view in VIEWS:
        composite, slice_node = composites.get(view.tag), slices.get(view.tag)
        if composite is None or slice_node is None:
            continue
        shown = volumes.get(view.slot) or reference
        # while the views are filled one would drag the others along
        composite.SetLinkedControl(0)
        composite.SetHotLinkedControl(0)
        composite.SetBackgroundVolumeID(shown.GetID() if shown is not None else None)
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        if reference is not None:
            _face(slice_node, reference)
    for view in VIEWS:
        if view.tag in composites:
            composites[view.tag].SetLinkedControl(1)
            composites[view.tag].SetHotLinkedControl(1)


def jump(scene: Any, ras_mm: tuple[float, float, float]) -> None:
    """Go to the slices through a point, and put the crosshair onto it.

    The views stay as they are zoomed and panned; only one in which the point would not be seen is centred on it.
    """
    slices = _by_layout_name(scene, "vtkMRMLSliceNode")
    for view in VIEWS:
        if view.tag in slices:
            slices[view.tag].JumpSliceByOffsetting(*ras_mm)
            if not _is_seen(slices[view.tag], ras_mm):
                slices[view.tag].JumpSliceByCentering(*ras_mm)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras_mm)


def is_shown(scene: Any) -> bool:
    """Whether the four views exist, that is, whether the layout was ever chosen in this scene."""
    return all(view.tag in _by_layout_name(scene, "vtkMRMLSliceNode") for view in VIEWS)


def show_segmentation(node: Any, opacity: float, fill: bool) -> None:
    """How a segmentation lies over the views: its outline always, its fill on demand.

    Args:
        node: vtkMRMLSegmentationNode. opacity: 0..1 of outline and fill together.
    """
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modifying = display.StartModify()
    display.SetVisibility(True)
    display.SetVisibility2DOutline(True)
    display.SetVisibility2DFill(fill)
    display.SetOpacity(opacity)
    display.SetOpacity2DFill(0.4)
    display.SetOpacity2DOutline(1.0)
    display.EndModify(modifying)


def _is_seen(slice_node: Any, ras_mm: tuple[float, float, float]) -> bool:
    """Whether a point of the slice lies within the view, not at its very edge."""
    x, y = (np.linalg.inv(numpy_matrix(slice_node.GetXYToRAS())) @ [*ras_mm, 1.0])[:2]
    width, height = slice_node.GetDimensions()[:2]
    return bool(0.05 * width <= x <= 0.95 * width and 0.05 * height <= y <= 0.95 * height)


def _face(slice_node: Any, volume: Any) -> None:
    """Axial slices; those of an oblique scan as it was scanned, since slices across thick ones show steps."""
    slice_node.SetOrientation("Axial")
    if volume.GetImageData() is not None and _tilt_deg(volume) > _OBLIQUE_DEG:
        slice_node.RotateToVolumePlane(volume)


def _tilt_deg(volume: Any) -> float:
    """How far the voxel axis nearest to head-foot is from it."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    geometry = Geometry(volume.GetImageData().GetDimensions(), numpy_matrix(matrix))
    return float(np.degrees(np.arccos(np.clip(np.abs(geometry.direction[2]).max(), -1, 1))))


def _by_layout_name(scene: Any, node_class: str) -> dict[str, Any]:
    return {node.GetLayoutName(): node for node in scene_nodes(scene, node_class)}


def scene_nodes(scene: Any, node_class: str) -> list[Any]:
    """All nodes of a class, without leaking the collection that VTK hands out."""
    return [scene.GetNthNodeByClass(index, node_class) for index in range(scene.GetNumberOfNodesByClass(node_class))]
