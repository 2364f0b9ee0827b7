"""A volume node's voxels and where they lie in the patient, fit to be sent; or why they are not.

The voxels are not copied here: the first copy of the four of a study took 70 ms of the main thread, twice that
while a server worked on the same cores. They stay alive as long as they are held, also when the volume is unloaded or
given another image (VTK makes a new array rather than change the size of one that somebody else holds). Whoever wants
them to stay as they are copies them in a thread of its own, and asks ``has_changed`` later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from MahtAILib.client.geometry import Geometry, check_geometry
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.alignment import is_of_the_reader
from MahtAILib.scene.images import ijk_to_ras_of, numpy_matrix


class VolumeError(ExplainedError):
    """A node that is no scan, or one that cannot be handed out as it is."""


@dataclass(frozen=True, eq=False)
class VolumeOut:
    """A volume as it was when it was taken.

    Attributes:
        array: [i, j, k], the scene's own memory, read-only, or a copy; i runs fastest in it, so that it is written to
            a file without another copy.
        ijk_to_ras: 4×4 float64, voxel index → RAS in mm, with the linear transform that the volume is under.
        name: of the node.
    """

    array: NDArray[Any]
    ijk_to_ras: NDArray[np.float64]
    name: str
    _node: vtk.vtkWeakReference = field(repr=False)
    _modified: int = field(repr=False)
    _geometry_of: Callable[[Any], Geometry] = field(default=lambda node: geometry_of_volume(node), repr=False)

    @property
    def geometry(self) -> Geometry:
        """Where it lies."""
        return Geometry(self.array.shape, self.ijk_to_ras)

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same voxels at the same place in this session, another one after each change."""
        return self._modified, self.array.shape, self.ijk_to_ras.tobytes()

    def is_gone(self) -> bool:
        """Whether the volume was deleted since, or its scene closed."""
        node = self._node.Get()
        return node is None or node.GetScene() is None

    def has_changed(self) -> bool:
        """Whether its voxels or its place were changed since; a deleted volume has not changed."""
        if self.is_gone():
            return False
        node = self._node.Get()
        if modified(node) != self._modified:
            return True
        try:
            return not self._geometry_of(node).same_grid(self.geometry)
        except ExplainedError:
            return True


def volume_out(node: Any) -> VolumeOut:
    """The voxels of a volume node, in the scene's own memory, and where they lie.

    Raises:
        VolumeError: deleted, without voxels, a label map, several values a voxel, several frames, one slice only,
            or under a transform that is not linear.
        GeometryError: sheared, singular, not finite, or of absurd spacing.
    """
    geometry = geometry_of_volume(node)
    scalars = node.GetImageData().GetPointData().GetScalars()
    voxels = numpy_support.vtk_to_numpy(scalars).reshape(geometry.shape[::-1]).T
    voxels.setflags(write=False)
    reference = vtk.vtkWeakReference()
    reference.Set(node)
    return VolumeOut(voxels, geometry.ijk_to_ras, node.GetName(), reference, modified(node))


def geometry_of_volume(node: Any) -> Geometry:
    """Where a volume node lies in the patient, its transform included; its voxels are not touched.

    Raises:
        VolumeError, GeometryError: as ``volume_out``.
    """
    image = _image(node)
    geometry = Geometry(image.GetDimensions(), ijk_to_world(node, image))
    check_geometry(geometry)
    return geometry


def _image(node: Any) -> vtk.vtkImageData:
    """The image of a node that holds one scan of several slices."""
    if node is None or node.GetScene() is None:
        raise VolumeError(
            "The volume is no longer in the scene; it was deleted or its scene was closed.",
            "Load it again, or choose another volume.",
        )
    name = f"“{node.GetName()}”"
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise VolumeError(f"{name} is a label map, not a scan.", "Choose the scan itself.")
    if not node.IsA("vtkMRMLVolumeNode"):
        raise VolumeError(f"{name} is not a volume.", "Choose a volume.")
    image = node.GetImageData()
    scalars = None if image is None else image.GetPointData().GetScalars()
    if scalars is None or not image.GetNumberOfPoints():
        raise VolumeError(f"{name} holds no voxels; its file may not have been found.", "Load the volume again.")
    if scalars.GetNumberOfComponents() != 1 or node.IsA("vtkMRMLDiffusionImageVolumeNode"):
        raise VolumeError(
            f"{name} holds {scalars.GetNumberOfComponents()} values a voxel; a scan has one.",
            "Take one of them out (Slicer: Extract Component, Diffusion or Vector to Scalar Volume) and choose that.",
        )
    if scalars.GetDataType() == vtk.VTK_BIT:
        raise VolumeError(f"{name} holds one bit a voxel, as masks do.", "Choose the scan itself.")
    if (frames := frames_of_volume(node)) > 1:
        raise VolumeError(
            f"{name} is the frame that is shown of a sequence of {frames}; it changes when another one is selected.",
            "Clone the frame that is meant (Slicer: Data module, right click, Clone) and choose the copy.",
        )
    shape = image.GetDimensions()
    if min(shape) < 2:
        raise VolumeError(
            f"{name} has one slice only ({' × '.join(map(str, shape))} voxels).",
            "Choose the whole series; a single image is not enough.",
        )
    return image


def frames_of_volume(node: Any) -> int:
    """Number of frames of the sequence whose selected frame this node shows; 1 for an ordinary volume."""
    browsers = node.GetScene().GetNodesByClass("vtkMRMLSequenceBrowserNode")
    browsers.UnRegister(None)
    sequences = [browser.GetSequenceNode(node) for browser in browsers]
    return max((sequence.GetNumberOfDataNodes() for sequence in sequences if sequence is not None), default=1)


def ijk_to_world(node: Any, image: vtk.vtkImageData) -> NDArray[np.float64]:
    """4×4, index in the array → RAS in mm of the world."""
    ijk_to_ras = ijk_to_ras_of(node)
    ijk_to_ras[:, 3] = ijk_to_ras @ [*image.GetExtent()[::2], 1.0]  # an extent may begin elsewhere than at 0
    transform = node.GetParentTransformNode()
    if not is_of_the_reader(transform):  # ours are for the eye only
        return ijk_to_ras
    if not transform.IsTransformToWorldLinear():
        raise VolumeError(
            f"“{node.GetName()}” is under a transform that bends it (“{transform.GetName()}”).",
            "Harden the transform (Slicer: Data module, right click on the transform) or take the volume out of it.",
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return np.asarray(numpy_matrix(matrix) @ ijk_to_ras)


def modified(node: Any) -> int:
    """Changes with each change of the voxels: VTK counts all modifications of a session."""
    image = node.GetImageData()
    return 0 if image is None else int(image.GetMTime())
