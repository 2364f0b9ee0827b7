"""The one large view of a cephalogram: upright as in its file, and the way to a point in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from MahtAILib.scene.flat_images import Plane
from MahtAILib.scene.images import numpy_matrix
from MahtAILib.scene.layout import IMAGE_VIEW
from MahtAILib.scene.views import scene_nodes


def image_view(scene: Any) -> tuple[Any, Any]:
    """vtkMRMLSliceNode and vtkMRMLSliceCompositeNode of the view; None where it was never shown."""
    found = [
        next((node for node in scene_nodes(scene, name) if node.GetLayoutName() == IMAGE_VIEW.tag), None)
        for name in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode")
    ]
    return found[0], found[1]


def show_image(scene: Any, image: Any) -> None:
    """Put an image into the view, alone; None empties it."""
    node, composite = image_view(scene)
    if node is None or composite is None:
        return
    composite.SetLinkedControl(0)
    composite.SetHotLinkedControl(0)
    wanted = None if image is None else image.GetID()
    if composite.GetBackgroundVolumeID() != wanted:
        composite.SetBackgroundVolumeID(wanted)
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)
    # models in it stay where they were drawn before a scene was loaded until the view says that it changed
    node.Modified()


def turn_upright(scene: Any, plane: Plane) -> None:
    """Turn the view so that the image stands as in its file: columns to the right, rows downward."""
    node, _ = image_view(scene)
    if node is None:
        return
    right, down = plane.axes.T
    slice_to_ras = np.eye(4)
    # Slicer's own axial views are left-handed in the same way
    slice_to_ras[:3, :3] = np.column_stack([right, -down, np.cross(right, down)])
    slice_to_ras[:3, 3] = plane.center_ras
    modifying = node.StartModify()
    matrix = node.GetSliceToRAS()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(slice_to_ras[row, column]))
    node.UpdateMatrices()
    node.EndModify(modifying)


def is_upright(scene: Any, plane: Plane) -> bool:
    """Whether the view shows the plane of the image, turned as in its file."""
    node, _ = image_view(scene)
    if node is None:
        return False
    shown, (right, down) = numpy_matrix(node.GetSliceToRAS()), plane.axes.T
    turned = np.abs(shown[:3, 0] - right).max() + np.abs(shown[:3, 1] + down).max()
    away = abs(float((shown[:3, 3] - plane.center_ras) @ np.cross(right, down)))
    return bool(turned < 1e-6 and away < 1e-3)


def go_to(scene: Any, point_ras: ArrayLike, field_units: float) -> None:
    """Centre a point and show this much of the image round it, in the view's smaller direction."""
    node, _ = image_view(scene)
    if node is None:
        return
    width, height = node.GetDimensions()[:2]
    scale = field_units / max(min(width, height), 1)
    right, anterior, superior = (float(value) for value in np.asarray(point_ras))
    modifying = node.StartModify()
    node.SetXYZOrigin(0, 0, 0)
    node.SetFieldOfView(scale * width, scale * height, node.GetFieldOfView()[2])
    node.JumpSliceByCentering(right, anterior, superior)
    node.UpdateMatrices()
    node.EndModify(modifying)
