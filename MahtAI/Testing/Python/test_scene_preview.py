"""A preview in the scene: to be looked at and nothing else, and gone without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_segmentation, add_volume, tumour

from MahtAILib.client.segmentation import Segmentation
from MahtAILib.scene.preview import middle_ras_mm, preview_of, remove_preview, show_preview
from MahtAILib.scene.segments import fingerprint, prepare_segments, volumes_ml
from MahtAILib.scene.watch import SceneWatch

GRID = GRIDS["left-handed oblique"]


def coarse(scene: Any) -> Any:
    return show_preview(scene, prepare_segments(tumour(GRID)))


def segmentations(scene: Any) -> int:
    return int(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))


def test_a_preview_is_marked_as_one_and_drawn_in_outlines(slicer_context: SlicerContext) -> None:
    node = coarse(slicer_context.scene)
    display = node.GetDisplayNode()
    assert "preview" in node.GetName() and "coarse" in node.GetName()
    assert node.GetHideFromEditors()
    assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill() and not display.GetVisibility3D()
    assert display.GetOpacity() < 0.7
    assert preview_of(slicer_context.scene) is node and volumes_ml(node)["ed"] > 0


def test_the_reader_s_segmentation_is_left_alone(slicer_context: SlicerContext) -> None:
    scene = slicer_context.scene
    mine = add_segmentation(scene, tumour(GRID))
    before, modified = fingerprint(mine), mine.GetSegmentation().GetMTime()
    coarse(scene)
    remove_preview(scene)
    assert (fingerprint(mine), mine.GetSegmentation().GetMTime()) == (before, modified)
    assert segmentations(scene) == 1


def test_another_preview_takes_the_place_of_the_first_and_removing_leaves_nothing(
    slicer_context: SlicerContext,
) -> None:
    scene = slicer_context.scene
    before = scene.GetNumberOfNodes()
    coarse(scene)
    coarse(scene)
    assert segmentations(scene) == 1
    remove_preview(scene)
    assert preview_of(scene) is None and segmentations(scene) == 0
    # Slicer keeps the colours of a segmentation's terminology once it has made them
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0
    assert scene.GetNumberOfNodes() - before <= 1


def test_a_preview_comes_and_goes_unseen_by_those_who_wait_for_the_reader_s_nodes(
    slicer_context: SlicerContext,
) -> None:
    calls: list[int] = []
    watch = SceneWatch(slicer_context.scene, lambda: None, lambda: None, lambda: calls.append(1))
    coarse(slicer_context.scene)
    remove_preview(slicer_context.scene)
    assert not calls
    add_volume(slicer_context.scene, GRID)
    assert calls
    watch.stop()


@pytest.mark.parametrize("ending", [".mrb", ".mrml"])
def test_a_preview_is_not_saved_with_the_scene(slicer_context: SlicerContext, tmp_path: Path, ending: str) -> None:
    scene = slicer_context.scene
    coarse(scene)
    (tmp_path / "saved").mkdir()
    assert slicer.util.saveScene(str(tmp_path / "saved" / f"scene{ending}"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "saved" / f"scene{ending}"))
    assert segmentations(scene) == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0


def test_a_preview_can_be_hidden_while_something_else_has_the_views(slicer_context: SlicerContext) -> None:
    node = show_preview(slicer_context.scene, prepare_segments(tumour(GRID)), visible=False)
    assert not node.GetDisplayNode().GetVisibility()


def test_the_middle_of_a_preview_lies_in_a_segment(slicer_context: SlicerContext) -> None:
    place = middle_ras_mm(prepare_segments(tumour(GRID)))
    assert place is not None
    i, j, k = np.rint((GRID.ras_to_ijk @ [*place, 1.0])[:3]).astype(int)
    assert tumour(GRID).layers[0, i, j, k] > 0
    empty = Segmentation((), np.zeros((1, *GRID.shape), np.uint8), GRID)
    assert middle_ras_mm(prepare_segments(empty)) is None
