"""Grids, lesions and nodes for the tests of the scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.scene.images import oriented_image, vtk_matrix


def _turned(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _grid(shape: tuple[int, int, int], axes: Any, spacing: Any, origin: Any) -> Geometry:
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes, float) * np.asarray(spacing, float)
    matrix[:3, 3] = origin
    return Geometry(shape, matrix)


GRIDS = {
    "LPS": _grid((40, 44, 36), np.diag([-1, -1, 1]), (1, 1, 1), (20, 25, -18)),
    "RAS": _grid((40, 44, 36), np.eye(3), (1, 1, 1), (-20, -22, -18)),
    "left-handed": _grid((40, 44, 36), np.diag([-1, 1, 1]), (1, 1.1, 1.2), (20, -22, -18)),
    "thick oblique": _grid((40, 44, 12), _turned((12, -8, 20)) @ np.diag([-1, -1, 1]), (0.9, 0.9, 5.5), (20, 25, -30)),
    "left-handed oblique": _grid(
        (40, 44, 12), _turned((25, 10, -15)) @ np.diag([-1, 1, 1]), (0.9, 1, 4), (20, -22, -20)
    ),
}

NCR = Segment("ncr", "Necrotic core", 1, (0.84, 0.37, 0.0), 0, {"TerminologyEntry": "a~b^1^c~d^2^e~^^~f~g^3^h~^^"})
ED = Segment("ed", "Oedema", 2, (0.34, 0.71, 0.91))
ET = Segment("et", "Enhancing tumour", 4, (0.94, 0.89, 0.26))
TUMOUR = (NCR, ED, ET)


def tumour(geometry: Geometry) -> Segmentation:
    """Nested boxes off the centre in every axis, with label values that are not 1, 2, 3."""
    labels = np.zeros(geometry.shape, np.uint8)
    for segment, low, high in ((ED, 0.3, 0.75), (ET, 0.4, 0.65), (NCR, 0.5, 0.6)):
        labels[tuple(slice(int(n * low), int(n * high)) for n in geometry.shape)] = segment.label_value
    return Segmentation(TUMOUR, labels[None], geometry, {"Model": "toy 1"})


def add_volume(scene: Any, geometry: Geometry, name: str = "T1c", array: np.ndarray | None = None) -> Any:
    """A volume node with voxels [i, j, k]."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    voxels = np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape) if array is None else array
    node.SetAndObserveImageData(oriented_image(voxels, np.eye(4)))
    node.SetIJKToRASMatrix(vtk_matrix(geometry.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


def add_segmentation(scene: Any, segmentation: Segmentation) -> Any:
    """A segmentation node with these segments."""
    from MahtAILib.scene.segments import put_segments

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    node.CreateDefaultDisplayNodes()
    put_segments(node, segmentation)
    return node
