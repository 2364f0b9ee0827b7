"""Registered sequences are shown lined up; what is sent and saved of them stays as it was scanned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vtk
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_volume

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.alignment import line_up, movement_mm, take_back
from MahtAILib.scene.images import numpy_matrix, vtk_matrix
from MahtAILib.scene.volumes import volume_out

TURN = np.radians(8)
MOVED = np.array(
    [[np.cos(TURN), -np.sin(TURN), 0, 12.0], [np.sin(TURN), np.cos(TURN), 0, -7.0], [0, 0, 1, 5.0], [0, 0, 0, 1]]
)
"""RAS of the reference → RAS of the moved head."""

POINT = np.array([6.0, -9.0, 4.0, 1.0])
"""A place in the patient, in RAS of the reference."""


@pytest.fixture
def study(slicer_context: SlicerContext) -> dict[str, Any]:
    grid = GRIDS["thick oblique"]
    moved = Geometry(grid.shape, MOVED @ grid.ijk_to_ras)
    return {
        "t1c": add_volume(slicer_context.scene, grid, "T1c"),
        "flair": add_volume(slicer_context.scene, moved, "FLAIR"),
        "t2": None,
    }


def shown_at(volume: Any, scanned_ras: np.ndarray) -> np.ndarray:
    """Where the views show a point that was scanned here."""
    matrix = vtk.vtkMatrix4x4()
    if volume.GetParentTransformNode() is not None:
        volume.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return numpy_matrix(matrix) @ scanned_ras


def test_the_same_place_in_the_patient_is_shown_at_the_same_point(
    slicer_context: SlicerContext, study: dict[str, Any]
) -> None:
    assert line_up(slicer_context.scene, study, {"flair": MOVED.tolist(), "t2": MOVED.tolist()}) == ["flair"]
    np.testing.assert_allclose(shown_at(study["flair"], MOVED @ POINT), POINT, atol=1e-9)
    assert study["t1c"].GetParentTransformNode() is None
    take_back(list(study.values()))
    np.testing.assert_allclose(shown_at(study["flair"], MOVED @ POINT), MOVED @ POINT)
    assert slicer_context.scene.GetNumberOfNodesByClass("vtkMRMLLinearTransformNode") == linear_nodes_of_slicer(
        slicer_context
    )


def linear_nodes_of_slicer(context: SlicerContext) -> int:
    """Slicer has some of its own, one a slice view."""
    nodes = [
        context.scene.GetNthNodeByClass(index, "vtkMRMLLinearTransformNode")
        for index in range(context.scene.GetNumberOfNodesByClass("vtkMRMLLinearTransformNode"))
    ]
    return sum("MahtAI" not in node.GetName() for node in nodes)


def test_what_is_sent_does_not_move_with_the_view(slicer_context: SlicerContext, study: dict[str, Any]) -> None:
    before = volume_out(study["flair"])
    line_up(slicer_context.scene, study, {"flair": MOVED.tolist()})
    np.testing.assert_array_equal(volume_out(study["flair"]).ijk_to_ras, before.ijk_to_ras)
    assert not before.has_changed()


def test_a_second_result_replaces_the_transform(slicer_context: SlicerContext, study: dict[str, Any]) -> None:
    line_up(slicer_context.scene, study, {"flair": np.linalg.inv(MOVED).tolist()})
    first = study["flair"].GetParentTransformNode()
    line_up(slicer_context.scene, study, {"flair": MOVED.tolist()})
    assert study["flair"].GetParentTransformNode() is first
    np.testing.assert_allclose(shown_at(study["flair"], MOVED @ POINT), POINT, atol=1e-9)
    assert line_up(slicer_context.scene, study, {"flair": np.eye(4).tolist()}) == []
    assert study["flair"].GetParentTransformNode() is None


def test_a_transform_of_the_reader_is_left_alone_and_is_sent(
    slicer_context: SlicerContext, study: dict[str, Any]
) -> None:
    own = slicer_context.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "mine")
    own.SetMatrixTransformToParent(vtk_matrix(MOVED))
    study["flair"].SetAndObserveTransformNodeID(own.GetID())
    assert line_up(slicer_context.scene, study, {"flair": MOVED.tolist()}) == []
    take_back(list(study.values()))
    assert study["flair"].GetParentTransformNode() is own
    np.testing.assert_allclose(
        volume_out(study["flair"]).ijk_to_ras, MOVED @ MOVED @ GRIDS["thick oblique"].ijk_to_ras, atol=1e-9
    )


def test_the_movement_is_the_largest_one_in_the_head() -> None:
    shift = np.eye(4)
    shift[0, 3] = 3.0
    assert movement_mm(shift) == pytest.approx(3.0)
    assert movement_mm(MOVED) > 12
