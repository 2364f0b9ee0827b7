"""Segments go into a real segmentation node and come out: same voxels, same place, same label values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import vtk
from kit.scene_context import SlicerContext
from scene_kit import ET, GRIDS, TUMOUR, add_segmentation, add_volume, tumour

from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.scene.editing import Editor
from MahtAILib.scene.images import vtk_matrix
from MahtAILib.scene.segments import geometry_of, volumes_ml
from MahtAILib.scene.segments_out import SegmentsError, take_segments


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_put_in_comes_out_to_the_voxel(slicer_context: SlicerContext, name: str) -> None:
    wanted = tumour(GRIDS[name])
    taken = take_segments(add_segmentation(slicer_context.scene, wanted), GRIDS[name])
    np.testing.assert_array_equal(taken.segmentation.layers, wanted.layers)
    assert [(s.id, s.name, s.label_value) for s in taken.segmentation.segments] == [
        (s.id, s.name, s.label_value) for s in TUMOUR
    ]
    assert taken.segmentation.segments[0].tags == TUMOUR[0].tags
    assert not taken.resampled


@pytest.mark.parametrize("name", GRIDS)
def test_slicer_itself_sees_the_segment_at_the_same_place(
    slicer_context: SlicerContext, tmp_path: Path, name: str
) -> None:
    geometry = GRIDS[name]
    node = add_segmentation(slicer_context.scene, tumour(geometry))
    storage = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    image = SimpleITK.ReadImage(str(tmp_path / "saved.seg.nrrd"))
    index = tuple(int(n * 0.55) for n in geometry.shape)
    ras = (geometry.ijk_to_ras @ [*index, 1])[:3]
    there = image[image.TransformPhysicalPointToIndex((ras * (-1, -1, 1)).tolist())]
    assert there == int(image.GetMetaData("Segment0_LabelValue"))
    assert "MahtAI.LabelValue:1" in image.GetMetaData("Segment0_Tags")


def test_label_values_stay_after_an_edit_and_a_save_by_slicer(slicer_context: SlicerContext, tmp_path: Path) -> None:
    geometry = GRIDS["LPS"]
    node = add_segmentation(slicer_context.scene, tumour(geometry))
    volume = add_volume(slicer_context.scene, geometry)
    editor = Editor(slicer_context.scene, node, volume)
    editor.paint("et", editor.ball((0, 5, 0), 3))
    # what overlapping edits lead to: Slicer parts the shared labelmap and merges it again on save
    for segment_id in ("ncr", "ed", "et"):
        node.GetSegmentation().SeparateSegmentLabelmap(segment_id)
    storage = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    assert [node.GetSegmentation().GetSegment(s).GetLabelValue() for s in ("ncr", "ed", "et")] != [1, 2, 4]
    taken = take_segments(node, geometry).segmentation
    assert [segment.label_value for segment in taken.segments] == [1, 2, 4]
    read = files.decode(files.encode(taken))
    np.testing.assert_array_equal(read.mask("et"), taken.mask("et"))
    loaded = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(loaded)
    again = take_segments(loaded, geometry).segmentation
    assert [segment.label_value for segment in again.segments] == [1, 2, 4]
    np.testing.assert_array_equal(again.layers, taken.layers)


def test_overlapping_segments_stay_overlapping(slicer_context: SlicerContext) -> None:
    geometry = GRIDS["thick oblique"]
    layers = np.zeros((2, *geometry.shape), np.uint8)
    layers[0, 10:20, 10:20, 2:6] = 1
    layers[1, 15:25, 10:20, 2:6] = 2
    wanted = Segmentation((Segment("a", "A", 1, layer=0), Segment("b", "B", 2, layer=1)), layers, geometry)
    taken = take_segments(add_segmentation(slicer_context.scene, wanted), geometry).segmentation
    assert len(taken.layers) == 2
    for name in "ab":
        np.testing.assert_array_equal(taken.mask(name), wanted.mask(name))
    np.testing.assert_array_equal(files.decode(files.encode(taken)).layers, taken.layers)


def test_a_segment_that_the_reader_added_gets_a_free_label_value(slicer_context: SlicerContext) -> None:
    node = add_segmentation(slicer_context.scene, tumour(GRIDS["LPS"]))
    node.GetSegmentation().AddEmptySegment("cyst", "Cyst")
    taken = take_segments(node, GRIDS["LPS"]).segmentation
    assert {segment.id: segment.label_value for segment in taken.segments} == {"ncr": 1, "ed": 2, "et": 4, "cyst": 3}


def test_a_node_without_segments_gives_an_empty_segmentation(slicer_context: SlicerContext) -> None:
    node = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    taken = take_segments(node, GRIDS["LPS"]).segmentation
    assert taken.segments == () and not taken.layers.any()
    assert files.decode(files.encode(taken)).segments == ()


def test_segments_on_a_finer_grid_are_brought_to_the_study_s_and_this_is_said(slicer_context: SlicerContext) -> None:
    fine, coarse = GRIDS["LPS"], Geometry((20, 22, 18), GRIDS["LPS"].ijk_to_ras @ np.diag([2, 2, 2, 1]))
    node = add_segmentation(slicer_context.scene, tumour(fine))
    taken = take_segments(node, coarse)
    assert set(taken.resampled) == {segment.name for segment in TUMOUR}
    ml = taken.segmentation.mask("ed").sum() * coarse.voxel_ml
    assert ml == pytest.approx(tumour(fine).mask("ed").sum() * fine.voxel_ml, rel=0.2)


def test_voxels_that_the_study_cannot_hold_are_refused_not_lost(slicer_context: SlicerContext) -> None:
    node = add_segmentation(slicer_context.scene, tumour(GRIDS["LPS"]))
    smaller = Geometry((20, 20, 20), GRIDS["LPS"].ijk_to_ras)
    with pytest.raises(SegmentsError, match="reaches outside .* Nothing was lost"):
        take_segments(node, smaller)


def test_a_segmentation_under_a_transform_is_taken_where_it_is_seen(slicer_context: SlicerContext) -> None:
    geometry = GRIDS["LPS"]
    node = add_segmentation(slicer_context.scene, tumour(geometry))
    transform = slicer_context.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 3.0
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    moved = take_segments(node, geometry).segmentation.mask("et")
    # i runs to the left: 3 mm to the right are 3 voxels down
    np.testing.assert_array_equal(np.roll(moved, 3, axis=0), tumour(geometry).mask("et"))


def test_a_transform_that_bends_is_refused_with_what_to_do(slicer_context: SlicerContext) -> None:
    node = add_segmentation(slicer_context.scene, tumour(GRIDS["LPS"]))
    bend = slicer_context.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    bend.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(bend.GetID())
    with pytest.raises(SegmentsError, match="bends") as caught:
        take_segments(node, GRIDS["LPS"])
    assert "Harden" in caught.value.hint


def test_volumes_are_those_of_the_voxels(slicer_context: SlicerContext) -> None:
    geometry = GRIDS["left-handed oblique"]
    wanted = tumour(geometry)
    node = add_segmentation(slicer_context.scene, wanted)
    expected = {segment.id: wanted.mask(segment.id).sum() * 0.9 * 1 * 4 / 1000 for segment in TUMOUR}
    assert volumes_ml(node) == pytest.approx(expected)
    editor = Editor(slicer_context.scene, node, add_volume(slicer_context.scene, geometry))
    editor.paint(ET.id, np.ones(geometry.shape, bool))
    whole = float(np.prod(geometry.shape)) * geometry.voxel_ml
    assert volumes_ml(node) == pytest.approx({"ncr": 0, "ed": 0, "et": whole})


def test_the_grid_outlives_the_reference_volume(slicer_context: SlicerContext) -> None:
    node = add_segmentation(slicer_context.scene, tumour(GRIDS["thick oblique"]))
    found: Any = geometry_of(node)
    assert found.same_grid(GRIDS["thick oblique"])
    assert geometry_of(slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) is None
