"""Sequences that the server registered are shown lined up: under a transform that can be taken away again.

The volumes themselves stay as they were scanned, and are sent as they were scanned: these transforms are for
the eye only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.scene.images import vtk_matrix

CONTENT_ATTRIBUTE = "MahtAI.Content"
ALIGNMENT = "alignment"

_NOTABLE_MM = 0.5
"""A head moved by less is not worth a transform."""

_HEAD_RADIUS_MM = 80.0


def line_up(scene: Any, volumes: Mapping[str, Any], registration: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """Show volumes where the server's registration puts them; returns the slots that moved.

    A volume that is under a transform of the reader's own is left alone, and so is one that hardly moved.

    Args:
        volumes: slot → volume node or None.
        registration: slot → 4×4, RAS of the reference → RAS of this volume in mm.
    """
    moved = []
    for slot, volume in volumes.items():
        if volume is None or slot not in registration or is_of_the_reader(volume.GetParentTransformNode()):
            continue
        reference_to_volume = np.asarray(registration[slot], float)
        if reference_to_volume.shape != (4, 4) or movement_mm(reference_to_volume) < _NOTABLE_MM:
            take_back([volume])
            continue
        transform = volume.GetParentTransformNode() or _new_transform(scene, volume)
        transform.SetMatrixTransformToParent(vtk_matrix(np.linalg.inv(reference_to_volume)))
        volume.SetAndObserveTransformNodeID(transform.GetID())
        moved.append(slot)
    return moved


def take_back(volumes: Sequence[Any]) -> None:
    """Show volumes where they were scanned."""
    for volume in volumes:
        transform = None if volume is None else volume.GetParentTransformNode()
        if transform is not None and not is_of_the_reader(transform):
            volume.SetAndObserveTransformNodeID(None)
            transform.GetScene().RemoveNode(transform)


def is_of_the_reader(transform: Any) -> bool:
    """Whether this is a transform that did not come from here."""
    return transform is not None and transform.GetAttribute(CONTENT_ATTRIBUTE) != ALIGNMENT


def movement_mm(matrix: NDArray[np.float64]) -> float:
    """The largest way that a point of the head goes."""
    corners = np.array([[x, y, z, 1.0] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners[:, :3] *= _HEAD_RADIUS_MM
    return float(np.linalg.norm((corners @ matrix.T - corners)[:, :3], axis=1).max())


def _new_transform(scene: Any, volume: Any) -> Any:
    transform = scene.AddNewNodeByClass(
        "vtkMRMLLinearTransformNode", scene.GenerateUniqueName(f"{volume.GetName()} lined up by MahtAI")
    )
    transform.SetAttribute(CONTENT_ATTRIBUTE, ALIGNMENT)
    return transform
