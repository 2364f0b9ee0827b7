"""Landmarks in a real scene: in and out, under the mouse, saved and loaded, one step back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from ceph_kit import FACE, GRIDS, add_image, drag, proposal
from kit.scene_context import SlicerContext

from MahtAILib.client.markups import LandmarkFile, encode_markups
from MahtAILib.scene.edits import is_edited, mark_saved, not_by_the_reader
from MahtAILib.scene.flat_images import plane_of
from MahtAILib.scene.landmark_watch import LandmarkWatch
from MahtAILib.scene.landmarks import (
    choose_set,
    index_of,
    landmark_nodes,
    new_landmarks,
    positions_ras,
    put_points,
    read_info,
    take_points,
    unset,
)
from MahtAILib.scene.provenance import Provenance, read_provenance, write_provenance


class Watched:
    """Landmarks of an image that are watched as the panel does."""

    def __init__(self, scene: Any, file: LandmarkFile | None = None) -> None:
        self.image = add_image(scene)
        self.node = new_landmarks(scene, "landmarks", self.image)
        self.moves = self.steps = 0
        self.watch = LandmarkWatch(self._moved, self._stepped)
        self.watch.watch(self.node)
        if file is not None:
            self.arrive(file)

    def arrive(self, file: LandmarkFile, model: str = "toy 1") -> None:
        with not_by_the_reader():
            put_points(self.node, file)
            write_provenance(self.node, Provenance(model=model))
        self.watch.commit()
        mark_saved(self.node)

    def state(self, key: str) -> str:
        return read_info(self.node)[key].state

    def _moved(self) -> None:
        self.moves += 1

    def _stepped(self) -> None:
        self.steps += 1


@pytest.mark.parametrize("grid", GRIDS)
def test_points_come_back_where_they_were_on_every_grid(slicer_context: SlicerContext, grid: str) -> None:
    image = add_image(slicer_context.scene, ijk_to_ras=GRIDS[grid])
    node = new_landmarks(slicer_context.scene, "landmarks", image)
    put_points(node, proposal(ijk_to_ras=GRIDS[grid]))
    plane = plane_of(image)
    for key, ras in positions_ras(node).items():
        np.testing.assert_allclose(plane.units_of(ras), FACE[key], atol=1e-6)
        np.testing.assert_allclose(plane.ras_of(FACE[key]), ras, atol=1e-6)
    assert take_points(node, 1.0, {"Model": "toy 1"}) == proposal(ijk_to_ras=GRIDS[grid])


def test_a_missing_point_has_no_position_and_comes_out_as_missing(slicer_context: SlicerContext) -> None:
    node = new_landmarks(slicer_context.scene, "landmarks", add_image(slicer_context.scene))
    put_points(node, proposal(missing=("Go",)))
    index = index_of(node, "Go")
    assert node.GetNthControlPointPositionStatus(index) == node.PositionUndefined
    assert "Go" not in positions_ras(node)
    assert take_points(node, None, {}).by_id["Go"].position is None


def test_each_point_has_its_definition_and_a_doubtful_one_another_colour(slicer_context: SlicerContext) -> None:
    node = new_landmarks(slicer_context.scene, "landmarks", add_image(slicer_context.scene))
    put_points(node, proposal())
    assert node.GetNthControlPointDescription(index_of(node, "S")).startswith("Sella")
    assert not node.GetNthControlPointSelected(index_of(node, "Go"))
    assert node.GetNthControlPointSelected(index_of(node, "S"))


def test_a_drag_is_one_step_and_the_point_counts_as_moved(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    before = positions_ras(test.node)["Go"]
    drag(test.node, "Go", before + [1, 0, 0])
    assert test.state("Go") == "moved" and test.state("S") == "ai"
    assert is_edited(test.node) and test.moves == 1
    test.watch.step(back=True)
    np.testing.assert_allclose(positions_ras(test.node)["Go"], before)
    assert test.state("Go") == "ai" and not is_edited(test.node)
    test.watch.step(back=False)
    assert test.state("Go") == "moved"


def test_one_step_back_takes_back_what_the_model_placed_and_its_provenance(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    drag(test.node, "Go", positions_ras(test.node)["Go"] + [3, 0, 0])
    own = positions_ras(test.node)["Go"]
    test.arrive(proposal({key: (x + 2, y) for key, (x, y) in FACE.items()}), model="other 2")
    assert read_provenance(test.node).model == "other 2"
    test.watch.step(back=True)
    np.testing.assert_allclose(positions_ras(test.node)["Go"], own)
    assert test.state("Go") == "moved" and read_provenance(test.node).model == "toy 1"
    test.watch.step(back=True)
    test.watch.step(back=True)
    assert positions_ras(test.node) == {} and not test.watch.history.can_undo


def test_a_deleted_point_is_missing_and_comes_back_with_one_step(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    test.node.RemoveNthControlPoint(index_of(test.node, "A"))
    assert test.state("A") == "missing" and "A" not in positions_ras(test.node)
    assert take_points(test.node, None, {}).by_id["A"].state == "missing"
    test.watch.step(back=True)
    assert "A" in positions_ras(test.node) and test.state("A") == "ai"


def test_a_point_of_no_number_is_missing_and_that_is_said(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    test.node.SetNthControlPointPosition(index_of(test.node, "A"), float("nan"), 0, 0)
    assert test.state("A") == "missing" and "A was given a position that is no number" in test.watch.refused
    encode_markups(take_points(test.node, 1.0, {}))


def test_a_point_that_another_module_moves_counts_as_moved(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    test.node.SetNthControlPointPosition(index_of(test.node, "N"), 1, 2, 0)
    assert test.state("N") == "moved" and test.watch.history.can_undo


def test_a_missing_point_that_is_set_counts_as_placed_by_hand(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal(missing=("Go",)))
    test.node.SetNthControlPointPosition(index_of(test.node, "Go"), -20, -50, 0)
    assert test.state("Go") == "manual"


def test_points_of_other_names_are_left_alone(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    test.node.AddControlPoint((1.0, 2.0, 0.0), "my own")
    assert len(take_points(test.node, None, {}).points) == 19
    test.node.SetNthControlPointLabel(index_of(test.node, "A"), "Point A")
    assert take_points(test.node, None, {}).by_id["A"].state == "missing"


def test_the_larger_landmark_set_adds_points_to_be_placed(slicer_context: SlicerContext) -> None:
    test = Watched(slicer_context.scene, proposal())
    choose_set(test.node, "cldetection38")
    file = take_points(test.node, None, {})
    assert len(file.points) == 38 and len(file.positions) == 19 and file.landmark_set == "cldetection38"


def test_a_saved_scene_brings_everything_back(slicer_context: SlicerContext, tmp_path: Path) -> None:
    scene = slicer_context.scene
    test = Watched(scene, proposal(missing=("PNS",)))
    drag(test.node, "Go", positions_ras(test.node)["Go"] + [1, 0, 0])
    with not_by_the_reader():
        unset(test.node, "Or")
    kept = take_points(test.node, 1.0, {})
    test.watch.stop()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    slicer_context.close_scene()
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    image = scene.GetFirstNodeByName("Cephalogram")
    (node,) = landmark_nodes(scene, image)
    loaded = take_points(node, 1.0, {})
    for before, after in zip(kept.points, loaded.points, strict=True):
        assert (before.id, before.state, before.confidence, before.radius, before.flag) == (
            *(after.id, after.state, after.confidence, after.radius, after.flag),
        )
        assert (before.position is None) == (after.position is None)
        if before.position is not None:
            np.testing.assert_allclose(before.position, after.position, atol=1e-3)
    assert is_edited(node) and read_provenance(node).model == "toy 1"
