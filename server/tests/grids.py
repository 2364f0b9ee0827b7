"""Voxel grids that trip up software: turned, mirrored, oblique, thin and left-handed ones."""

from __future__ import annotations

import numpy as np
import SimpleITK

from mahtai.volumes.geometry import Geometry

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _grid(shape: tuple[int, int, int], columns: np.ndarray, spacing: tuple[float, float, float]) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(columns, float) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + (3.25, -4.5, 2.75)
    return Geometry(shape, affine)


def _turned(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


RAS = np.eye(3)
LPS = np.diag([-1.0, -1.0, 1.0])
GRIDS = {
    "LPS 1 mm as in BraTS": _grid((60, 72, 54), LPS, (1, 1, 1)),
    "RAS": _grid((60, 72, 54), RAS, (1, 1, 1)),
    "flipped in all axes": _grid((60, 72, 54), -RAS, (1, 1, 1)),
    "axes swapped, sagittal first": _grid((72, 54, 60), RAS[:, [1, 2, 0]], (1, 1, 1)),
    "axes swapped, left-handed": _grid((54, 72, 60), RAS[:, [2, 1, 0]], (1, 1, 1)),
    "left-handed LAS": _grid((60, 72, 54), np.diag([-1.0, 1.0, 1.0]), (1, 1, 1)),
    "anisotropic 0.9 x 0.9 x 5.5 mm": _grid((68, 80, 11), LPS, (0.9, 0.9, 5.5)),
    "fine 0.45 mm in plane": _grid((130, 150, 40), LPS, (0.45, 0.45, 1.5)),
    "oblique": _grid((60, 72, 54), _turned((17, -9, 24)) @ LPS, (1, 1, 1)),
    "oblique, anisotropic, left-handed": _grid((66, 20, 70), _turned((-12, 8, 31)) @ RAS[:, [0, 2, 1]], (0.9, 4, 1.1)),
}


def to_sitk(array: np.ndarray, geometry: Geometry) -> SimpleITK.Image:
    """An image of SimpleITK from an array [i, j, k]."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = LPS_RAS @ geometry.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetSpacing([float(value) for value in spacing])
    image.SetDirection([float(value) for value in (lps[:3, :3] / spacing).ravel()])
    return image


def from_sitk(image: SimpleITK.Image) -> tuple[np.ndarray, np.ndarray]:
    """Array [i, j, k] and IJK-to-RAS from an image of SimpleITK."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), LPS_RAS @ affine
