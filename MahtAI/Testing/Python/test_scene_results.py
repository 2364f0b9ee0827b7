"""A result comes into the scene as one step of undo; edits, provenance and the grid are kept with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_volume, tumour

from MahtAILib.scene import provenance as origins
from MahtAILib.scene.editing import Editor
from MahtAILib.scene.edits import EditWatch, is_edited, mark_edited, mark_saved, not_by_the_reader, seconds_of_work
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.provenance import Provenance, read_provenance, update_provenance
from MahtAILib.scene.results import confidence_of, place_confidence, place_segmentation
from MahtAILib.scene.segments import volumes_ml
from MahtAILib.scene.segments_out import take_segments

GRID = GRIDS["left-handed oblique"]


@pytest.fixture
def volume(slicer_context: SlicerContext) -> Any:
    return add_volume(slicer_context.scene, GRID)


def place(scene: Any, volume: Any, job: str, **more: Any) -> Any:
    return place_segmentation(scene, tumour(GRID), Provenance(job=job, model="toy 1"), "MahtAI", volume, **more)


def test_a_second_result_is_one_step_of_undo_and_brings_its_provenance_along(
    slicer_context: SlicerContext, volume: Any
) -> None:
    node = place(slicer_context.scene, volume, "first")
    editor = Editor(slicer_context.scene, node, volume)
    smaller = tumour(GRID)
    smaller.layers[smaller.layers == 2] = 0
    after = place_segmentation(
        slicer_context.scene,
        smaller,
        Provenance(job="second"),
        "MahtAI",
        volume,
        node,
        lambda _node: editor.save_state(),
    )
    assert after is node and volumes_ml(node)["ed"] == 0
    assert read_provenance(node).job == "second"
    editor.undo()
    np.testing.assert_array_equal(take_segments(node, GRID).segmentation.layers, tumour(GRID).layers)
    assert read_provenance(node).job == "first"
    editor.redo()
    assert volumes_ml(node)["ed"] == 0
    assert read_provenance(node).job == "second"


def test_a_result_never_replaces_edits_that_were_not_saved(slicer_context: SlicerContext, volume: Any) -> None:
    node = place(slicer_context.scene, volume, "first")
    watch = EditWatch(lambda: None)
    watch.watch(node)
    editor = Editor(slicer_context.scene, node, volume)
    editor.paint("et", editor.ball((0, 0, 0), 6))
    edited = take_segments(node, GRID).segmentation.layers
    after = place(slicer_context.scene, volume, "second", into=node)
    assert after is not node
    np.testing.assert_array_equal(take_segments(node, GRID).segmentation.layers, edited)
    assert is_edited(node) and not is_edited(after)


def test_a_result_for_a_segmentation_that_is_gone_comes_as_a_new_one(
    slicer_context: SlicerContext, volume: Any
) -> None:
    node = place(slicer_context.scene, volume, "first")
    slicer_context.scene.RemoveNode(node)
    after = place(slicer_context.scene, volume, "second", into=node)
    assert slicer_context.scene.IsNodePresent(after)
    assert slicer_context.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_result_for_a_volume_that_is_gone_is_kept(slicer_context: SlicerContext) -> None:
    node = place(slicer_context.scene, None, "first")
    np.testing.assert_array_equal(take_segments(node, GRID).segmentation.layers, tumour(GRID).layers)


def test_only_the_reader_s_changes_count_as_edits(slicer_context: SlicerContext, volume: Any) -> None:
    node = place(slicer_context.scene, volume, "first")
    now = [100.0]
    calls: list[int] = []
    watch = EditWatch(lambda: calls.append(1), clock=lambda: now[0])
    watch.watch(node)
    with not_by_the_reader():
        update_provenance(node, status=origins.EDITED)
    assert not is_edited(node) and not calls
    editor = Editor(slicer_context.scene, node, volume)
    now[0] += 10
    editor.paint("et", editor.ball((0, 0, 0), 6))
    now[0] += 1000  # a break is no work
    editor.paint("et", editor.ball((0, 8, 0), 6))
    now[0] += 20
    editor.paint("ed", editor.ball((0, 0, 8), 6), "erase")
    assert is_edited(node) and calls
    assert seconds_of_work(node) == pytest.approx(30, abs=0.2)
    mark_saved(node)
    assert not is_edited(node) and seconds_of_work(node) == 0
    mark_edited(node, 30)
    assert is_edited(node) and seconds_of_work(node) == 30
    watch.stop()
    mark_saved(node)
    editor.undo()
    assert not is_edited(node)


def test_undo_and_redo_and_another_name_are_edits(slicer_context: SlicerContext, volume: Any) -> None:
    node = place(slicer_context.scene, volume, "first")
    watch = EditWatch(lambda: None)
    watch.watch(node)
    editor = Editor(slicer_context.scene, node, volume)
    for change in (
        lambda: editor.paint("et", editor.ball((0, 0, 0), 6)),
        editor.undo,
        editor.redo,
        lambda: node.GetSegmentation().GetSegment("et").SetName("rim"),
        lambda: node.GetSegmentation().RemoveSegment("ncr"),
        lambda: node.GetSegmentation().AddEmptySegment("cyst"),
    ):
        mark_saved(node)
        change()
        assert is_edited(node)


def test_a_surface_a_colour_and_an_undone_stroke_are_no_edits(slicer_context: SlicerContext, volume: Any) -> None:
    node = place(slicer_context.scene, volume, "first")
    watch = EditWatch(lambda: None)
    watch.watch(node)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().GetSegment("et").SetColor(0, 1, 0)
    assert not is_edited(node)
    editor = Editor(slicer_context.scene, node, volume)
    editor.paint("et", editor.ball((0, 0, 0), 6))
    assert is_edited(node)
    editor.undo()
    assert not is_edited(node)
    editor.redo()
    assert is_edited(node)


def test_a_result_on_another_grid_comes_as_a_segmentation_of_its_own(
    slicer_context: SlicerContext, volume: Any
) -> None:
    node = place(slicer_context.scene, volume, "first")
    other = place_segmentation(slicer_context.scene, tumour(GRIDS["LPS"]), Provenance(job="b"), "M", None, node)
    assert other is not node
    np.testing.assert_array_equal(take_segments(node, GRID).segmentation.layers, tumour(GRID).layers)


def test_provenance_and_parameters_survive_saving_closing_and_loading_the_scene(
    slicer_context: SlicerContext, volume: Any, tmp_path: Path
) -> None:
    scene = slicer_context.scene
    node = place(scene, volume, "job-1")
    percent = np.full(GRID.shape, 100, np.uint8, order="F")
    percent[10:20, 10:20, 3:6] = 30
    parameters = Parameters(scene)
    parameters.set_volume("t1c", volume)
    parameters.segmentation = node
    parameters.confidence = place_confidence(scene, percent, GRID)
    parameters.set("comment", "left “temporal”, 3 < 4 & more\nsecond line")
    update_provenance(node, case="c-1", version="v-1", inputs={"t1c": "ab" * 32})
    mark_edited(node, 12)
    for stored in (node, volume, parameters.confidence):
        stored.AddDefaultStorageNode()
        stored.GetStorageNode().SetFileName(str(tmp_path / f"{stored.GetID()}{suffix(stored)}"))
        assert stored.GetStorageNode().WriteData(stored)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    slicer_context.close_scene()
    assert Parameters(scene).segmentation is None
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Connect()
    loaded = Parameters(scene)
    assert loaded.volume("t1c").GetName() == "T1c"
    assert loaded.get("comment") == "left “temporal”, 3 < 4 & more\nsecond line"
    expected = replace(Provenance(job="job-1", model="toy 1"), case="c-1", version="v-1", inputs={"t1c": "ab" * 32})
    assert read_provenance(loaded.segmentation) == expected
    assert is_edited(loaded.segmentation) and seconds_of_work(loaded.segmentation) == 12
    np.testing.assert_array_equal(take_segments(loaded.segmentation, GRID).segmentation.layers, tumour(GRID).layers)
    again, geometry = confidence_of(loaded.confidence)
    centre = geometry.ras_to_ijk @ GRID.ijk_to_ras @ [15, 15, 4, 1]
    assert again[tuple(np.rint(centre[:3]).astype(int))] == 30


def suffix(node: Any) -> str:
    return ".seg.nrrd" if node.IsA("vtkMRMLSegmentationNode") else ".nrrd"


def test_a_confidence_map_is_replaced_not_multiplied_and_hidden_from_selectors(slicer_context: SlicerContext) -> None:
    scene = slicer_context.scene
    first = place_confidence(scene, np.full(GRID.shape, 100, np.uint8), GRID)
    second = place_confidence(scene, np.full(GRID.shape, 50, np.uint8), GRID, "j", first)
    assert first is second and first.GetHideFromEditors()
    assert confidence_of(first)[0].max() == 50
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_two_panels_share_one_node_of_parameters(slicer_context: SlicerContext) -> None:
    first, second = Parameters(slicer_context.scene), Parameters(slicer_context.scene)
    first.set("opacity", "0.25")
    assert second.get("opacity") == "0.25" and first.node is second.node
    with pytest.raises(KeyError):
        first.set("opcaity", "1")


def test_a_provenance_that_somebody_damaged_is_none(slicer_context: SlicerContext, volume: Any) -> None:
    node = place(slicer_context.scene, volume, "first")
    node.SetAttribute(origins.ATTRIBUTE, "{")
    assert read_provenance(node) is None
