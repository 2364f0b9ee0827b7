"""Where a voxel grid lies in the patient: shape and IJK-to-RAS, and what makes a grid unusable."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MahtAILib.errors import ExplainedError

SMALLEST_SPACING_MM = 0.01
LARGEST_SPACING_MM = 50.0
SHEAR_TOLERANCE = 1e-3

Matrix = NDArray[np.float64]


class GeometryError(ExplainedError):
    """A grid that no scanner makes: singular, sheared, not finite, or of absurd spacing."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in patient space.

    Attributes:
        shape: number of voxels along I, J, K.
        ijk_to_ras: 4×4 float64, voxel indices (centre of the first voxel is 0, 0, 0) → RAS in mm.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: Matrix

    def __init__(self, shape: ArrayLike, ijk_to_ras: ArrayLike) -> None:
        counts = [int(count) for count in np.asarray(shape).ravel()]
        if len(counts) != 3 or min(counts) < 1:
            raise GeometryError(
                f"A volume of {' × '.join(str(count) for count in counts) or 'no'} voxels is not three-dimensional.",
                "Send one 3-D volume with at least one voxel along each axis.",
            )
        matrix: Matrix = np.array(ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise GeometryError(f"The IJK-to-RAS matrix is {matrix.shape}, not 4 × 4.", "Export the volume again.")
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", (counts[0], counts[1], counts[2]))
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along I, J, K."""
        first, second, third = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(first), float(second), float(third)

    @property
    def direction(self) -> Matrix:
        """3×3; the columns are the RAS unit vectors of the I, J and K axes."""
        return np.asarray(self.ijk_to_ras[:3, :3] / np.asarray(self.spacing_mm))

    @property
    def origin_ras_mm(self) -> Matrix:
        """Centre of the voxel 0, 0, 0."""
        return np.array(self.ijk_to_ras[:3, 3])

    @property
    def center_ras_mm(self) -> Matrix:
        """Middle of the grid."""
        middle = [*((count - 1) / 2 for count in self.shape), 1.0]
        return np.asarray((self.ijk_to_ras @ middle)[:3])

    @property
    def is_left_handed(self) -> bool:
        """Whether I × J points against K; Slicer flips K when it reads such a NIfTI file."""
        return bool(np.linalg.det(self.ijk_to_ras[:3, :3]) < 0)

    @property
    def ras_to_ijk(self) -> Matrix:
        """Inverse of ``ijk_to_ras``."""
        return np.asarray(np.linalg.inv(self.ijk_to_ras), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether every voxel centre of one lies on the same voxel's centre of the other."""
        if self.shape != other.shape:
            return False
        # both maps are affine, so their distance is largest at a corner
        return bool(np.abs(_corners(self, 0.0) - _corners(other, 0.0)).max() <= tolerance_mm)

    def overlap_fraction(self, other: Geometry) -> float:
        """Shared part of the RAS bounding boxes (voxel borders included), of the smaller one: 0 to 1."""
        first, second = _corners(self, 0.5), _corners(other, 0.5)
        low = np.maximum(first.min(axis=0), second.min(axis=0))
        high = np.minimum(first.max(axis=0), second.max(axis=0))
        shared = float(np.prod(np.clip(high - low, 0, None)))
        smaller = min(float(np.prod(np.ptp(corners, axis=0))) for corners in (first, second))
        return shared / smaller

    def as_json(self) -> dict[str, Any]:
        """Shape, spacing in mm, handedness and the matrix, for the API and for provenance."""
        return {
            "shape": list(self.shape),
            "spacing_mm": [round(value, 6) for value in self.spacing_mm],
            "ijk_to_ras": self.ijk_to_ras.tolist(),
            "left_handed": self.is_left_handed,
        }


def _corners(geometry: Geometry, border: float) -> Matrix:
    """8×3 RAS positions in mm of the outermost voxel centres, pushed out by ``border`` voxels."""
    ends = [(-border, count - 1 + border) for count in geometry.shape]
    indices = np.array([[*corner, 1.0] for corner in product(*ends)])
    return np.asarray((indices @ geometry.ijk_to_ras.T)[:, :3])


def check_geometry(geometry: Geometry) -> None:
    """Refuse a grid that cannot be of a scan.

    Raises:
        GeometryError: not finite, singular, sheared, or a spacing outside 0.01-50 mm.
    """
    matrix = geometry.ijk_to_ras
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise GeometryError(
            "The matrix that places the volume in the patient holds values that are not numbers.",
            "Load the original DICOM series again and export it anew.",
        )
    spacing = geometry.spacing_mm
    if min(spacing) < SMALLEST_SPACING_MM or max(spacing) > LARGEST_SPACING_MM:
        listed = " × ".join(f"{value:.4g}" for value in spacing)
        raise GeometryError(
            f"The voxel spacing is {listed} mm; between {SMALLEST_SPACING_MM} and {LARGEST_SPACING_MM:g} mm "
            "is possible.",
            "Correct the spacing (Slicer: Volumes module, Volume Information) or load the DICOM series again.",
        )
    cosines = geometry.direction.T @ geometry.direction
    shear = float(np.abs(cosines - np.eye(3)).max())
    if abs(np.linalg.det(geometry.direction)) < 1e-3:
        raise GeometryError(
            "Two axes of the volume point the same way, so that it has no thickness (singular matrix).",
            "Load the original DICOM series again and export it anew.",
        )
    if shear > SHEAR_TOLERANCE:
        degrees = float(np.degrees(np.arcsin(min(shear, 1.0))))
        raise GeometryError(
            f"The axes of the volume are not at right angles ({degrees:.2g}° off): it is sheared, "
            "as by gantry tilt or a hardened affine transform.",
            "Resample the volume to a straight grid first (Slicer: Resample Scalar/Vector/DWI Volume).",
        )
