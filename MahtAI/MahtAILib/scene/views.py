"""The four sequences side by side: linked slices, the segmentation over them, the way to a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.images import ijk_to_ras_of, numpy_matrix
from MahtAILib.scene.layout import VIEWS, View

_OBLIQUE_DEG = 3.0

_AWAY_MM = 1.0

_CROSSHAIR = slicer.vtkMRMLCrosshairNode.ShowSmallBasic


def show_study(scene: Any, volumes: Mapping[str, Any]) -> None:
    """Put each slot's volume into its view and link the four; the view of an empty slot stays empty.

    Args:
        volumes: slot → volume node or None.
    """
    composites = _by_layout_name(scene, "vtkMRMLSliceCompositeNode")
    shown = [(composites[view.tag], volumes.get(view.slot)) for view in VIEWS if view.tag in composites]
    for composite, volume in shown:
        # while the views are filled one would drag the others along
        composite.SetLinkedControl(0)
        composite.SetHotLinkedControl(0)
        composite.SetBackgroundVolumeID(None if volume is None else volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
    for composite, _volume in shown:
        composite.SetLinkedControl(1)
        composite.SetHotLinkedControl(1)


def face(scene: Any, reference: Any) -> None:
    """Turn the four views to axial slices; those of an oblique scan as it was scanned.

    Args:
        reference: volume node of the study; slices across its thick ones would show steps.
    """
    slices = _by_layout_name(scene, "vtkMRMLSliceNode")
    for view in VIEWS:
        if view.tag in slices:
            slices[view.tag].SetOrientation("Axial")
            if reference.GetImageData() is not None and _tilt_deg(reference) > _OBLIQUE_DEG:
                slices[view.tag].RotateToVolumePlane(reference)


def follow(scene: Any, leader: View) -> None:
    """Show in all views the plane, centre and scale of one of them; their own images lie elsewhere now and then."""
    slices = _by_layout_name(scene, "vtkMRMLSliceNode")
    if leader.tag not in slices:
        return
    first = slices[leader.tag]
    mm_per_pixel = first.GetFieldOfView()[0] / first.GetDimensions()[0]
    for view in VIEWS:
        if view is leader or view.tag not in slices:
            continue
        other = slices[view.tag]
        width, height = other.GetDimensions()[:2]
        modifying = other.StartModify()
        other.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
        other.SetXYZOrigin(*first.GetXYZOrigin())
        other.SetFieldOfView(mm_per_pixel * width, mm_per_pixel * height, first.GetFieldOfView()[2])
        other.UpdateMatrices()
        other.EndModify(modifying)


def jump(scene: Any, ras_mm: tuple[float, float, float]) -> None:
    """Go to the slices through a point.

    The views stay as they are zoomed and panned; only one in which the point would not be seen is centred on it.
    """
    slices = _by_layout_name(scene, "vtkMRMLSliceNode")
    for view in VIEWS:
        if view.tag in slices:
            slices[view.tag].JumpSliceByOffsetting(*ras_mm)
            if not _is_seen(slices[view.tag], ras_mm):
                slices[view.tag].JumpSliceByCentering(*ras_mm)


class PlaceMark:
    """Slicer's crosshair on a place, until the reader scrolls away from its slice: Slicer draws it in every slice."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._offsets: dict[Any, float] = {}
        self._observers: list[tuple[Any, int]] = []

    def go_to(self, ras_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point and mark it."""
        self.remove()
        jump(self._scene, ras_mm)
        crosshair = self._crosshair
        if crosshair is None or crosshair.GetCrosshairMode() not in (crosshair.NoCrosshair, _CROSSHAIR):
            return  # the reader has one of their own
        crosshair.SetCrosshairRAS(*ras_mm)
        crosshair.SetCrosshairMode(_CROSSHAIR)
        for view in VIEWS:
            node = _by_layout_name(self._scene, "vtkMRMLSliceNode").get(view.tag)
            if node is not None:
                self._offsets[node] = node.GetSliceOffset()
                self._observers.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._moved)))

    def remove(self) -> None:
        """Take the mark away."""
        for node, observer in self._observers:
            node.RemoveObserver(observer)
        if self._observers and self._crosshair is not None:
            self._crosshair.SetCrosshairMode(self._crosshair.NoCrosshair)
        self._observers, self._offsets = [], {}

    @property
    def _crosshair(self) -> Any:
        return self._scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")

    def _moved(self, node: Any, event: str) -> None:
        if abs(node.GetSliceOffset() - self._offsets.get(node, node.GetSliceOffset())) > _AWAY_MM:
            self.remove()


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


def _tilt_deg(volume: Any) -> float:
    """How far the voxel axis nearest to head-foot is from it."""
    geometry = Geometry(volume.GetImageData().GetDimensions(), ijk_to_ras_of(volume))
    return float(np.degrees(np.arccos(np.clip(np.abs(geometry.direction[2]).max(), -1, 1))))


def _by_layout_name(scene: Any, node_class: str) -> dict[str, Any]:
    return {node.GetLayoutName(): node for node in scene_nodes(scene, node_class)}


def scene_nodes(scene: Any, node_class: str) -> list[Any]:
    """All nodes of a class, without leaking the collection that VTK hands out."""
    return [scene.GetNthNodeByClass(index, node_class) for index in range(scene.GetNumberOfNodesByClass(node_class))]
