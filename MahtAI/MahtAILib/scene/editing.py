"""Editing segments through Slicer's own segment-editor logic, with its undo; no Qt."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import slicer
from numpy.typing import ArrayLike, NDArray

from MahtAILib.scene.images import extent_geometry, voxels_of

Mode = Literal["add", "erase"]

EDITOR_TAG = "MahtAI"
"""Of the segment editor node: its settings are apart from those of the Segment Editor module."""

UNDO_STEPS = 20


def editor_node(scene: Any) -> Any:
    """The vtkMRMLSegmentEditorNode of this module, made where there is none."""
    found = scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if found is not None:
        return found
    node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    node.UnRegister(None)
    node.SetSingletonTag(EDITOR_TAG)
    return scene.AddNode(node)


class Editor:
    """Strokes on one segmentation, each one step of undo.

    Args:
        segmentation: vtkMRMLSegmentationNode. source_volume: gives the voxel grid.
    """

    def __init__(self, scene: Any, segmentation: Any, source_volume: Any) -> None:
        self._segmentation = segmentation
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLScene(scene)
        self._node = editor_node(scene)
        self._logic.SetSegmentEditorNode(self._node)
        self._logic.SetSegmentationNode(segmentation)
        self._logic.SetSourceVolumeNode(source_volume)
        self._logic.SetMaximumNumberOfUndoStates(UNDO_STEPS)

    def save_state(self) -> None:
        """The next undo comes back to here."""
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        """Back to the state that was saved last."""
        self._logic.Undo()

    def redo(self) -> None:
        """Forth again."""
        self._logic.Redo()

    def paint(self, segment_id: str, mask: NDArray[np.bool_], mode: Mode = "add") -> None:
        """One stroke; added voxels are taken from the other segments.

        Args:
            mask: [i, j, k] on the segmentation's reference grid.

        Raises:
            ValueError: the mask is not on that grid.
        """
        self._logic.UpdateReferenceGeometryImage()
        self._logic.ResetModifierLabelmapToDefault()
        modifier = self._logic.GetModifierLabelmap()
        voxels = voxels_of(modifier)
        if voxels.shape != mask.shape:
            raise ValueError(f"the mask has {mask.shape} voxels, the segmentation's grid {voxels.shape}")
        voxels[mask] = 1
        modifier.Modified()
        self.save_state()
        self._node.SetOverwriteMode(self._node.OverwriteAllSegments)
        modes = {"add": self._logic.ModificationModeAdd, "erase": self._logic.ModificationModeRemove}
        self._logic.ModifySegmentByLabelmap(self._segmentation, segment_id, modifier, modes[mode], False, False)

    def ball(self, center_ras_mm: ArrayLike, radius_mm: float) -> NDArray[np.bool_]:
        """Voxels of the reference grid, [i, j, k], within a radius of a point in RAS."""
        self._logic.UpdateReferenceGeometryImage()
        geometry = extent_geometry(self._logic.GetReferenceGeometryImage())
        i, j, k = np.ogrid[tuple(slice(0, count) for count in geometry.shape)]
        ras = [
            row[0] * i + row[1] * j + row[2] * k + row[3] - center
            for row, center in zip(geometry.ijk_to_ras[:3], np.asarray(center_ras_mm, float), strict=True)
        ]
        return np.asarray(ras[0] ** 2 + ras[1] ** 2 + ras[2] ** 2 <= radius_mm**2)
