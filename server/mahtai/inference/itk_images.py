"""Volumes as SimpleITK images and back. Ours are RAS and indexed [i, j, k]; ITK's are LPS."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mahtai.volumes.geometry import Geometry

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse."""


def itk_image(array: NDArray[Any], geometry: Geometry) -> sitk.Image:
    """An array [i, j, k] with its place in the patient; ITK keeps the same index order I, J, K."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    turn = RAS_TO_LPS[:3, :3]
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin((turn @ geometry.origin_ras_mm).tolist())
    image.SetDirection((turn @ geometry.direction).ravel().tolist())
    return image


def itk_array(image: sitk.Image) -> NDArray[Any]:
    """The voxels as [i, j, k]."""
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T)


def rigid_matrix_ras(transform: sitk.Transform) -> NDArray[np.float64]:
    """4×4 in RAS mm of an ITK transform that is rigid (or affine): the same mapping, the same direction."""
    points = np.vstack([np.zeros(3), np.eye(3)])
    origin, *axes = (np.array(transform.TransformPoint(point.tolist())) for point in points)
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = np.stack([axis - origin for axis in axes], axis=1)
    result: NDArray[np.float64] = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    return result
