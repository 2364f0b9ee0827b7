"""A result comes into the scene: the segmentation as one step of undo, the confidence map beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.edits import is_edited, mark_saved
from MahtAILib.scene.images import ijk_to_ras_of, plain_image, voxels_of, vtk_matrix
from MahtAILib.scene.provenance import Provenance, write_provenance
from MahtAILib.scene.segments import Prepared, geometry_of, prepare_segments, put_segments

CONFIDENCE = "confidence"
JOB_ATTRIBUTE = "MahtAI.Job"

_REFERENCE_ROLE = "referenceImageGeometryRef"


def place_segmentation(
    scene: Any,
    segmentation: Prepared | Segmentation,
    provenance: Provenance,
    name: str,
    reference: Any = None,
    into: Any = None,
    save_state: Callable[[Any], None] = lambda node: None,
) -> Any:
    """Bring a segmentation into the scene; returns its node.

    It replaces the segments of ``into`` as one step of undo, unless that holds edits that were not saved or lies
    on another grid: then it comes as a node of its own, and the other one stays as it is.

    Args:
        name: for a new node.
        reference: volume node that it belongs to, if that is still there.
        into: vtkMRMLSegmentationNode to replace, or None.
        save_state: called with the node right before its segments change, so that this can be undone.
    """
    prepared = prepare_segments(segmentation) if isinstance(segmentation, Segmentation) else segmentation
    node = into
    if node is None or not _can_be_replaced(scene, node, prepared.segmentation.geometry):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
    if reference is not None:
        node.SetNodeReferenceID(_REFERENCE_ROLE, reference.GetID())
    save_state(node)
    put_segments(node, prepared)
    write_provenance(node, provenance)
    mark_saved(node)
    return node


def _can_be_replaced(scene: Any, node: Any, geometry: Geometry) -> bool:
    if not scene.IsNodePresent(node) or node.GetParentTransformNode() is not None:
        return False
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        return True
    known = geometry_of(node)
    return not is_edited(node) and known is not None and known.same_grid(geometry)


def place_confidence(
    scene: Any, percent: NDArray[Any] | vtk.vtkImageData, geometry: Geometry, job: str = "", into: Any = None
) -> Any:
    """Keep the confidence map with the scene, out of the volume selectors; returns its volume node.

    Args:
        percent: [i, j, k] uint8, 100 is certain; or the ``plain_image`` of it.
        job: that made it.
    """
    node = into
    if node is None or not scene.IsNodePresent(node):
        node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName("MahtAI confidence"))
        node.SetAttribute(CONTENT_ATTRIBUTE, CONFIDENCE)
        node.SetHideFromEditors(True)
        node = scene.AddNode(node)
    image = percent if isinstance(percent, vtk.vtkImageData) else plain_image(percent)
    node.SetIJKToRASMatrix(vtk_matrix(geometry.ijk_to_ras))
    node.SetAndObserveImageData(image)
    node.SetAttribute(JOB_ATTRIBUTE, job)
    return node


def confidence_of(node: Any) -> tuple[NDArray[Any], Geometry] | None:
    """Percent [i, j, k], copied so that another thread may read it, and its geometry; None where there is none."""
    if node is None or node.GetImageData() is None:
        return None
    percent = voxels_of(node.GetImageData()).copy(order="K")
    return percent, Geometry(percent.shape, ijk_to_ras_of(node))
