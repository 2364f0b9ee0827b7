"""The volumes of a case in the scene: every grid as SimpleITK sees it, whose case it is, two versions as outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import slicer
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_segmentation, tumour
from scene_kit import add_volume as add_plain_volume

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.case_volumes import (
    CaseRef,
    CaseVolumeError,
    add_volume,
    case_of,
    read_volume,
    remove_nodes,
    segmentations_on,
    sha256_of,
    volumes_of_cases,
)
from MahtAILib.scene.comparison import COLOURS, compared, remove_comparison, show_comparison
from MahtAILib.scene.images import ijk_to_ras_of, voxels_of
from MahtAILib.scene.segments import prepare_segments, put_segments
from MahtAILib.scene.segments_out import snapshot_segments, take_segments
from MahtAILib.scene.study import candidates

CASE = CaseRef("http://127.0.0.1:8391", "1234", 7, "Case 7", "brain-tumour")


def voxels(geometry: Geometry) -> np.ndarray:
    return np.random.default_rng(3).integers(-50, 900, geometry.shape, dtype=np.int16)


def by_itk(path: Path, ras_mm: np.ndarray) -> float:
    """The voxel at a point, by a reader that shares no code with us."""
    image = SimpleITK.ReadImage(str(path))
    return float(image.GetPixel(image.TransformPhysicalPointToIndex([float(v) for v in ras_mm * (-1, -1, 1)])))


@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "nii"])
@pytest.mark.parametrize("axes", list(GRIDS))
def test_each_voxel_lies_where_simpleitk_sees_it(
    slicer_context: SlicerContext, tmp_path: Path, axes: str, ending: str
) -> None:
    geometry = GRIDS[axes]
    path = tmp_path / "volume.nrrd"
    path.write_bytes(nrrd.encode(voxels(geometry), geometry.ijk_to_ras))
    if ending != "nrrd":
        path, image = tmp_path / f"volume.{ending}", SimpleITK.ReadImage(str(path))
        SimpleITK.WriteImage(image, str(path))
    node = add_volume(slicer_context.scene, read_volume(path.read_bytes(), "a" * 64), CASE, "t1c", "T1c")
    assert node.GetName() == "T1c Case 7"
    found, matrix = voxels_of(node.GetImageData()), ijk_to_ras_of(node)
    assert found.dtype == np.int16
    if ending == "nrrd":
        np.testing.assert_allclose(matrix, geometry.ijk_to_ras, atol=1e-9)
        np.testing.assert_array_equal(found, voxels(geometry))
    for index in np.random.default_rng(1).integers(0, np.array(found.shape), (60, 3)):
        assert found[tuple(index)] == by_itk(path, (matrix @ [*index, 1.0])[:3])


@pytest.mark.parametrize("axes", ["thick oblique", "left-handed oblique"])
def test_labels_of_a_case_lie_where_simpleitk_sees_them(
    slicer_context: SlicerContext, tmp_path: Path, axes: str
) -> None:
    geometry = GRIDS[axes]
    node = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    put_segments(node, prepare_segments(files.decode(files.encode(tumour(geometry)))))
    path = tmp_path / "label.seg.nrrd"
    path.write_bytes(files.encode(take_segments(node, geometry).segmentation))
    labels = tumour(geometry).layers[0]
    for index in np.argwhere(labels)[::97]:
        assert by_itk(path, (geometry.ijk_to_ras @ [*index, 1.0])[:3]) == labels[tuple(index)]


def test_a_window_shows_the_tissue_and_slicer_does_not_count_voxels(slicer_context: SlicerContext) -> None:
    array = np.zeros((40, 40, 30), np.int16)
    array[10:30, 10:30, 8:22] = np.linspace(200, 1000, 20 * 20 * 14).reshape(20, 20, 14)
    data = nrrd.encode(array, np.diag([-1.0, -1.0, 1.0, 1.0]))
    display = add_volume(slicer_context.scene, read_volume(data, "a"), CASE, "t1", "T1").GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    assert display.GetLevel() - display.GetWindow() / 2 == 0
    assert 950 < display.GetLevel() + display.GetWindow() / 2 < 1000
    flat = nrrd.encode(np.full((4, 4, 4), 7, np.int16), np.eye(4))
    assert add_volume(slicer_context.scene, read_volume(flat, "b"), CASE, "t1", "T1").GetDisplayNode().GetWindow() > 0


@pytest.mark.parametrize(
    "data", [b"", b"NRRD0004\nno", b"\x1f\x8bdamaged", b"\x89PNG", nrrd.encode(np.zeros((2, 4, 4, 4)), np.eye(4))]
)
def test_what_is_no_volume_is_explained(slicer_context: SlicerContext, data: bytes) -> None:
    with pytest.raises(CaseVolumeError):
        read_volume(data, "a")


def test_a_study_is_a_case_only_while_each_volume_is_in_its_slot(slicer_context: SlicerContext) -> None:
    scene, geometry = slicer_context.scene, GRIDS["LPS"]
    data = nrrd.encode(voxels(geometry), geometry.ijk_to_ras)
    other = CaseRef(CASE.server, "5678", 8, "Case 8", CASE.task)

    def added(case: CaseRef, slot: str) -> Any:
        return add_volume(scene, read_volume(data, slot * 16), case, slot, slot)

    t1, t2 = added(CASE, "t1"), added(CASE, "t2")
    assert case_of({"t1": t1, "t2": t2, "flair": None}) == CASE and sha256_of(t1) == "t1" * 16
    assert case_of({"t1": t2, "t2": t1}) is None
    assert case_of({"t1": t1, "t2": added(other, "t2")}) is None
    assert case_of({"t1": t1, "flair": add_plain_volume(scene, geometry)}) is None
    assert case_of({"t1": None}) is None
    assert len(volumes_of_cases(scene)) == 3


def test_a_case_leaves_the_scene_with_all_that_was_its_own(slicer_context: SlicerContext) -> None:
    scene, geometry = slicer_context.scene, GRIDS["LPS"]
    kept = add_plain_volume(scene, geometry, "the reader's own")
    before = scene.GetNumberOfNodes()
    node = add_volume(scene, read_volume(nrrd.encode(voxels(geometry), geometry.ijk_to_ras), "a"), CASE, "t1", "T1")
    segmentation = add_segmentation(scene, tumour(geometry))
    segmentation.SetNodeReferenceID("referenceImageGeometryRef", node.GetID())
    assert segmentations_on(scene, [node]) == [segmentation] and segmentations_on(scene, [kept]) == []
    remove_nodes(scene, [segmentation, node])
    assert scene.GetNumberOfNodes() == before and scene.IsNodePresent(kept)


def test_two_versions_are_outlines_in_two_colours_that_are_nobody_s(slicer_context: SlicerContext) -> None:
    scene, geometry = slicer_context.scene, GRIDS["left-handed"]
    mine = add_segmentation(scene, tumour(geometry))
    before = scene.GetNumberOfNodes()
    for _ in range(2):
        pair = (("Version 1", prepare_segments(tumour(geometry))), ("Version 2", prepare_segments(tumour(geometry))))
        show_comparison(scene, pair)
    shown = compared(scene)
    assert [node.GetName() for node in shown] == ["Version 1", "Version 2"]
    for node, colour in zip(shown, COLOURS, strict=True):
        display = node.GetDisplayNode()
        assert node.GetHideFromEditors() and not node.GetSaveWithScene()
        assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill()
        assert all(node.GetSegmentation().GetSegment(one).GetColor() == colour for one in ("ncr", "ed", "et"))
    np.testing.assert_array_equal(take_segments(mine, geometry).segmentation.layers, tumour(geometry).layers)
    assert mine.GetSegmentation().GetSegment("ed").GetColor() != COLOURS[0]
    remove_comparison(scene)
    assert compared(scene) == [] and scene.GetNumberOfNodes() == before


def test_a_snapshot_is_not_changed_by_what_is_edited_after_it(slicer_context: SlicerContext) -> None:
    geometry = GRIDS["left-handed oblique"]
    node = add_segmentation(slicer_context.scene, tumour(geometry))
    taken = snapshot_segments(node)
    image = (
        node.GetSegmentation()
        .GetSegment("ed")
        .GetRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())
    )
    voxels_of(image)[...] = 0
    node.GetSegmentation().RemoveSegment("et")
    np.testing.assert_array_equal(taken.on_grid(geometry).segmentation.layers, tumour(geometry).layers)


def test_volumes_of_a_case_are_found_by_slicer_s_selectors_and_by_the_study(slicer_context: SlicerContext) -> None:
    geometry = GRIDS["LPS"]
    data = nrrd.encode(voxels(geometry), geometry.ijk_to_ras)
    for slot, name in (("t1c", "T1c"), ("flair", "FLAIR")):
        add_volume(slicer_context.scene, read_volume(data, slot), CASE, slot, name)
    assert [one.name for one in candidates(slicer_context.scene, None)] == ["T1c Case 7", "FLAIR Case 7"]
