"""Arrays [i, j, k] with a matrix to RAS, and VTK's images of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from numpy.typing import ArrayLike, NDArray
from slicer import vtkOrientedImageData
from vtk.util import numpy_support

from MahtAILib.client.geometry import Geometry


def vtk_matrix(matrix: ArrayLike) -> vtk.vtkMatrix4x4:
    """A VTK matrix of a 4×4 array."""
    copied = vtk.vtkMatrix4x4()
    copied.DeepCopy(np.asarray(matrix, np.float64).ravel().tolist())
    return copied


def numpy_matrix(matrix: vtk.vtkMatrix4x4) -> NDArray[np.float64]:
    """A 4×4 array of a VTK matrix."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def ijk_to_ras_of(volume: Any) -> NDArray[np.float64]:
    """4×4 of a volume node, voxel index → RAS in mm, without its transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return numpy_matrix(matrix)


def plain_image(array: NDArray[Any]) -> vtk.vtkImageData:
    """An image, without a place in the patient, that owns its voxels [i, j, k]."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape)
    _fill(image, array)
    return image


def oriented_image(array: NDArray[Any], ijk_to_ras: ArrayLike) -> vtkOrientedImageData:
    """An image that owns its voxels.

    Args:
        array: [i, j, k]. ijk_to_ras: 4×4, voxel index → RAS in mm.
    """
    image = vtkOrientedImageData()
    image.SetDimensions(array.shape)
    image.SetImageToWorldMatrix(vtk_matrix(ijk_to_ras))
    _fill(image, array)
    return image


def filled_image(array: NDArray[Any], ijk_to_ras: ArrayLike) -> vtkOrientedImageData:
    """An image of the box that is not 0, as Slicer keeps segments; its extent says where in the array that lies.

    Args:
        array: [i, j, k]. ijk_to_ras: 4×4, voxel index of the whole array → RAS in mm.
    """
    box = filled_box(array)
    image = vtkOrientedImageData()
    image.SetExtent(*(edge for side in box for edge in (side.start, side.stop - 1)))
    image.SetImageToWorldMatrix(vtk_matrix(ijk_to_ras))
    _fill(image, array[box])
    return image


def filled_box(array: NDArray[Any]) -> tuple[slice, slice, slice]:
    """First and one past the last index along I, J, K that is not 0; 0 to 0 where all is 0."""
    third = _span(array.any((0, 1)))
    slab = array[:, :, third]
    second = _span(slab.any((0, 2)))
    return _span(slab[:, second].any((1, 2))), second, third


def _span(filled: Any) -> slice:
    where = np.flatnonzero(filled)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


def _fill(image: vtk.vtkImageData, array: NDArray[Any]) -> None:
    """Give an image voxels; they are copied by numpy, which holds up no other thread meanwhile."""
    image.AllocateScalars(numpy_support.get_vtk_array_type(array.dtype), 1)
    if array.size:
        voxels_of(image)[...] = array


def voxels_of(image: vtk.vtkImageData) -> NDArray[Any]:
    """The image's voxels [i, j, k], not copied; empty where it has none."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or image.GetNumberOfPoints() == 0:
        return np.zeros((0, 0, 0), np.uint8)
    return numpy_support.vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]).T


def extent_geometry(image: vtkOrientedImageData) -> Geometry:
    """Where the voxels of an image lie whose extent may begin elsewhere than at 0.

    Raises:
        GeometryError: it has no voxels.
    """
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = numpy_matrix(matrix)
    start = image.GetExtent()[::2]
    ijk_to_ras[:, 3] = ijk_to_ras @ [*start, 1.0]
    return Geometry(image.GetDimensions(), ijk_to_ras)
