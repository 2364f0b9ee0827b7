"""A brush stroke through Slicer's real segment-editor logic: what the Paint effect does, without its Qt code."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def paint(
    logic: Any, segment_id: str, centre_ras: tuple[float, float, float], radius_mm: float, erase: bool = False
) -> int:
    """Paint (or erase) a ball; one undoable step. Returns the number of voxels under the brush."""
    logic.SaveStateForUndo()
    logic.GetSegmentEditorNode().SetSelectedSegmentID(segment_id)
    logic.UpdateReferenceGeometryImage()
    logic.ResetModifierLabelmapToDefault()
    modifier = logic.GetModifierLabelmap()
    ball = _ball(modifier, centre_ras, radius_mm)
    extent = modifier.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    vtk_to_numpy(modifier.GetPointData().GetScalars()).reshape(shape)[ball] = 1
    modifier.Modified()
    mode = logic.ModificationModeRemove if erase else logic.ModificationModeAdd
    logic.ModifySegmentByLabelmap(logic.GetSegmentationNode(), segment_id, modifier, mode, False, False)
    return int(np.count_nonzero(ball))


def _ball(image: slicer.vtkOrientedImageData, centre_ras: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """(k, j, i) mask of the voxels whose centre lies within the radius."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    extent = image.GetExtent()
    k, j, i = np.meshgrid(*(np.arange(extent[2 * a], extent[2 * a + 1] + 1) for a in (2, 1, 0)), indexing="ij")
    points = np.einsum("rc,c...->r...", ijk_to_ras[:3, :3], np.stack([i, j, k])) + ijk_to_ras[:3, 3, None, None, None]
    return ((points - np.reshape(centre_ras, (3, 1, 1, 1))) ** 2).sum(0) <= radius_mm**2
