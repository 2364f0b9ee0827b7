"""A volume as Slicer holds it after loading the file, voxel for voxel and digit for digit.

The SHA-256 of a volume's bytes is its identity, and a reader may load the same file into Slicer. Slicer (vtkITK and
vtkMRMLVolumeNode) takes the grid from ITK, inverts its matrix twice on the way, splits it into directions and
spacing, and turns the slices round where the axes are left-handed. The same is done here in the same order of
operations, which decides the last digit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume

Matrix = NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ENDING = {"NiftiImageIO": ".nii", "NrrdImageIO": ".nrrd"}


def as_slicer_loads(volume: Volume, grid: Geometry | None = None) -> Volume:
    """The volume with its matrix as Slicer has it; left-handed axes become right-handed by a turn of K.

    Args:
        grid: as ITK reads it from the same file; without it, or where it contradicts the volume, the volume's own.
    """
    chosen = grid if grid is not None and grid.same_grid(volume.geometry) else volume.geometry
    matrix = _recomposed(_inverse(_inverse(chosen.ijk_to_ras)))
    array = volume.array
    if np.linalg.det(matrix[:3, :3]) < 0:
        array = array[:, :, ::-1]
        matrix[:3, 3] = matrix[:3, 3] + matrix[:3, 2] * (array.shape[2] - 1)
        matrix[:3, 2] = -matrix[:3, 2]
    return replace(volume, array=np.asfortranarray(array), geometry=Geometry(array.shape, matrix))


def itk_grid(head: bytes, image_io: str, shape: Sequence[int]) -> Geometry | None:
    """The grid that ITK reads from the header of a volume file; None where it cannot.

    Args:
        head: the beginning of the file, not compressed, with the whole header.
        image_io: ITK's name of the reader.
        shape: voxels along I, J, K.
    """
    with tempfile.TemporaryDirectory(prefix="mahtai-") as folder:
        path = Path(folder) / f"header{_ENDING[image_io]}"
        path.write_bytes(head)
        found = _itk_axes(path, image_io)
    return None if found is None else _geometry(*found, shape)


def itk_series_grid(first: Path, last: Path, shape: Sequence[int]) -> Geometry | None:
    """The grid that ITK gives a DICOM series: the first slice's axes, made orthogonal, and the way to the last one.

    Args:
        first: the slice at K = 0. last: the one at the other end.
        shape: voxels along I, J, K.
    """
    begin, end = _itk_axes(first, "GDCMImageIO"), _itk_axes(last, "GDCMImageIO")
    if begin is None or end is None:
        return None
    (direction, spacing, origin), way = begin, end[2] - begin[2]
    length = float(np.linalg.norm(way))
    if length == 0:
        return None
    direction[:, 2], spacing[2] = way / length, length / (shape[2] - 1)
    return _geometry(direction, spacing, origin, shape)


def _itk_axes(path: Path, image_io: str) -> tuple[Matrix, Matrix, Matrix] | None:
    """Direction (3 × 3), spacing and origin in LPS and mm, of the first three axes."""
    import SimpleITK  # takes a moment to load

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)
    try:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except (RuntimeError, UnicodeError, TypeError):
        return None
    dimensions = reader.GetDimension()
    if dimensions < 3:
        return None
    direction = np.array(reader.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    return direction, np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3])


def _geometry(direction: Matrix, spacing: Matrix, origin: Matrix, shape: Sequence[int]) -> Geometry | None:
    matrix = np.eye(4)
    matrix[:3, :3] = direction * spacing
    matrix[:3, 3] = origin
    return Geometry(shape, _LPS_TO_RAS @ matrix) if np.isfinite(matrix).all() else None


def _recomposed(matrix: Matrix) -> Matrix:
    """Split into directions and spacing and put together again, as vtkMRMLVolumeNode keeps a matrix."""
    spacing = np.sqrt(matrix[0, :3] ** 2 + matrix[1, :3] ** 2 + matrix[2, :3] ** 2)
    result = np.eye(4)
    result[:3, :3] = (matrix[:3, :3] / spacing) * spacing
    result[:3, 3] = matrix[:3, 3]
    return result


def _inverse(matrix: Matrix) -> Matrix:
    """Of an affine matrix, as vtkMatrix4x4::Invert computes it: the adjoint divided by the determinant."""
    (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3) = matrix[:3].tolist()
    determinant = _determinant(a1, a2, a3, b1, b2, b3, c1, c2, c3)
    adjoint = [
        [b2 * c3 - c2 * b3, c1 * b3 - b1 * c3, b1 * c2 - c1 * b2, -_determinant(b1, b2, b3, c1, c2, c3, d1, d2, d3)],
        [c2 * a3 - a2 * c3, a1 * c3 - c1 * a3, c1 * a2 - a1 * c2, _determinant(a1, a2, a3, c1, c2, c3, d1, d2, d3)],
        [a2 * b3 - b2 * a3, b1 * a3 - a1 * b3, a1 * b2 - b1 * a2, -_determinant(a1, a2, a3, b1, b2, b3, d1, d2, d3)],
        [0.0, 0.0, 0.0, determinant],
    ]
    return np.array(adjoint) / determinant


def _determinant(
    a1: float, a2: float, a3: float, b1: float, b2: float, b3: float, c1: float, c2: float, c3: float
) -> float:
    """As vtkMath::Determinant3x3 computes it."""
    return a1 * (b2 * c3 - c2 * b3) - b1 * (a2 * c3 - c2 * a3) + c1 * (a2 * b3 - b2 * a3)
