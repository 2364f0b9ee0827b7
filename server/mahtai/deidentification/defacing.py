"""The face taken out of a head scan: everything in front of a plane below the brain, in world coordinates.

After Quickshear (N. Schimke, J. Hale: Quickshear defacing for neuroimages. Proc. 2nd USENIX Conference on Health
Security and Privacy, 2011): the brain's mask is flattened onto the sagittal plane, and the plane that parts face and
brain lies on an edge of the mask's convex hull. The edge taken here is the longest of those that look forwards and
downwards, which spans from the frontal to the temporal lobe or the cerebellum, moved off the brain by a margin. The
plane is a half space in RAS, so that one found in one scan serves all scans of the same frame of reference, whatever
their axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from mahtai.errors import MahtaiError
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume

MARGIN_MM = 5.0
"""Between the brain's hull and the plane."""

_STEEPEST, _FLATTEST = np.deg2rad((15.0, 75.0))
"""How far below straight ahead the plane may look: less would take the forehead alone, more the neck alone."""


class FaceNotFound(MahtaiError):
    """It is not known where the face is."""

    kind = "face-not-found"
    title = "The face was not taken out"
    status = 422


@dataclass(frozen=True)
class FacePlane:
    """A half space in RAS, mm: a point is in the face where ``normal · point > offset``.

    Attributes:
        normal: unit vector (right, anterior, superior); right is 0.
        offset: mm.
    """

    normal: tuple[float, float, float]
    offset: float

    def holds(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points [..., 3] (RAS, mm) lie in the face."""
        result: NDArray[np.bool_] = points @ np.array(self.normal) > self.offset
        return result

    def of_grid(self, shape: tuple[int, int, int], ijk_to_ras: ArrayLike) -> NDArray[np.bool_]:
        """Which voxels [i, j, k] of a grid have their centre in the face."""
        matrix, normal = np.asarray(ijk_to_ras, np.float64), np.array(self.normal)
        steps, start = normal @ matrix[:3, :3], normal @ matrix[:3, 3]
        i, j, k = (np.arange(count) * step for count, step in zip(shape, steps, strict=True))
        result: NDArray[np.bool_] = i[:, None, None] + j[None, :, None] + k + start > self.offset
        return result


def face_plane(brain: NDArray[np.bool_], ijk_to_ras: ArrayLike, margin_mm: float = MARGIN_MM) -> FacePlane:
    """The plane between a brain and its face.

    Args:
        brain: [i, j, k].
        ijk_to_ras: 4×4, of the brain's grid, any axes.
        margin_mm: that stays between the plane and every voxel of the brain (its corners included).

    Raises:
        FaceNotFound: the mask is too small to have a hull.
    """
    matrix = np.asarray(ijk_to_ras, np.float64)
    surface = np.argwhere(brain & ~ndimage.binary_erosion(brain))
    points = (surface @ matrix[:3, :3].T + matrix[:3, 3])[:, 1:]  # anterior and superior
    if len(points) < 3 or np.ptp(points, axis=0).min() < 1.0:
        raise FaceNotFound("The brain that was found is too small to say where the face is.", "Leave this scan out.")
    hull = ConvexHull(points)
    corners = points[hull.simplices]
    lengths = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    below = np.arctan2(-hull.equations[:, 1], hull.equations[:, 0])
    lengths[(below < _STEEPEST) | (below > _FLATTEST)] = 0
    if lengths.max() == 0:
        raise FaceNotFound("The brain that was found has no lower front.", "Leave this scan out.")
    anterior, superior = hull.equations[lengths.argmax(), :2]
    normal = np.array((0.0, anterior, superior))
    half_voxel = float(np.abs(normal @ matrix[:3, :3]).sum() / 2)
    offset = float((points @ normal[1:]).max()) + half_voxel + margin_mm
    return FacePlane((0.0, float(anterior), float(superior)), offset)


def plane_of(head: Volume) -> FacePlane:
    """The plane of a head scan with its skull on.

    Raises:
        FaceNotFound: no brain was recognised, or only a part of one.
    """
    from mahtai.inference.brain_mask import brain_mask  # loads torch

    found = brain_mask(replace(head, array=np.nan_to_num(head.array.astype(np.float32))))
    if found.method == "head" or any(warning.kind == "small" for warning in found.warnings):
        raise FaceNotFound(
            "No whole brain was recognised in the scan, so it is not known where the face is.", "Leave it out."
        )
    return face_plane(found.array, head.geometry.ijk_to_ras)


def defaced(array: NDArray[Any], geometry: Geometry, plane: FacePlane, fill: float = 0) -> NDArray[Any]:
    """A copy of the voxels [i, j, k] in which those of the face are ``fill``."""
    result = array.copy(order="K")
    result[plane.of_grid(tuple(array.shape), geometry.ijk_to_ras)] = fill
    return result
