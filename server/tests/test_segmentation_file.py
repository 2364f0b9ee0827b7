"""Segmentation files: written as Slicer stores them, read by Slicer itself and by SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from grids import GRIDS, from_sitk
from mahtai.errors import MahtaiError
from mahtai.volumes.formats import describe
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import decode_segmentation, description_of, encode_segmentation, on_grid
from mahtai.volumes.terminology import Code, SegmentDescription, groups_of_task, segments_of_task
from mahtai.volumes.volume import VolumeError
from MahtAILib.client import nrrd

TUMOUR = segments_of_task("brain-tumour")
GRID = GRIDS["oblique, anisotropic, left-handed"]
PROVENANCE = {"Model": "brats_segresnet 0.1.0", "Note": "two\nlines: ~|^ and ü"}


def tumour(geometry: Geometry = GRID) -> np.ndarray:
    """Nested boxes: oedema around core around enhancement, off the centre in every axis."""
    labelmap = np.zeros(geometry.shape, np.uint8)
    for value, shrink in ((2, 0.30), (1, 0.37), (3, 0.42)):
        box = tuple(slice(int(n * shrink), max(int(n * (0.8 - shrink)), int(n * shrink) + 1)) for n in geometry.shape)
        labelmap[box] = value
    return labelmap


@pytest.mark.parametrize("name", GRIDS)
def test_simpleitk_reads_the_same_labels_in_the_same_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / "result.seg.nrrd"
    path.write_bytes(encode_segmentation(tumour(GRIDS[name]), GRIDS[name], TUMOUR))
    array, affine = from_sitk(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(array, tumour(GRIDS[name]))
    np.testing.assert_allclose(affine, GRIDS[name].ijk_to_ras, atol=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_a_lesion_drawn_at_a_ras_point_is_at_that_point_in_the_file(tmp_path: Path, name: str) -> None:
    geometry = GRIDS[name]
    index = tuple(int(n * 0.6) for n in geometry.shape)
    labelmap = np.zeros(geometry.shape, np.uint8)
    labelmap[index] = 3
    path = tmp_path / "point.seg.nrrd"
    path.write_bytes(encode_segmentation(labelmap, geometry, TUMOUR))
    ras = (geometry.ijk_to_ras @ [*index, 1])[:3]
    image = SimpleITK.ReadImage(str(path))
    assert image[image.TransformPhysicalPointToIndex((ras * (-1, -1, 1)).tolist())] == 3


def test_what_is_written_is_what_is_read() -> None:
    data = encode_segmentation(tumour(), GRID, TUMOUR, PROVENANCE)
    segmentation = decode_segmentation(data)
    assert [description_of(segment) for segment in segmentation.segments] == list(TUMOUR)
    assert segmentation.provenance == PROVENANCE
    assert segmentation.geometry.same_grid(GRID)
    for segment in TUMOUR:
        np.testing.assert_array_equal(segmentation.mask(segment.id), tumour() == segment.label_value)
    assert describe(data).kind == "segmentation"


def test_the_same_segmentation_gives_the_same_bytes() -> None:
    fortran = np.asfortranarray(tumour())
    assert encode_segmentation(tumour(), GRID, TUMOUR) == encode_segmentation(fortran, GRID, TUMOUR)


def test_a_segmentation_without_any_voxel_keeps_its_segments() -> None:
    segmentation = decode_segmentation(encode_segmentation(np.zeros(GRID.shape, np.uint8), GRID, TUMOUR))
    assert [segment.id for segment in segmentation.segments] == ["ncr", "ed", "et"]
    assert not segmentation.mask("et").any()


@pytest.mark.parametrize(
    ("labelmap", "segments"),
    [
        (tumour().astype(np.int16), TUMOUR),
        (tumour()[1:], TUMOUR),
        (tumour(), TUMOUR[:2]),
        (tumour(), (TUMOUR[0], TUMOUR[0], TUMOUR[1])),
        (tumour(), (*TUMOUR, replace(TUMOUR[0], id="again"))),
    ],
)
def test_a_labelmap_that_its_segments_do_not_describe_is_not_written(labelmap: Any, segments: Any) -> None:
    with pytest.raises(ValueError, match="labelmap|layers are|described twice|belong to no segment"):
        encode_segmentation(labelmap, GRID, segments)


def test_overlapping_segments_lie_in_layers() -> None:
    layers = np.zeros((2, 4, 5, 6), np.uint8)
    layers[0, 1:3, 1:3, 1:3] = 1
    layers[1, 2:4, 1:3, 1:3] = 1
    fields = {"Segment0_ID": "a", "Segment0_LabelValue": "1", "Segment0_Layer": "0", "Segment0_Color": "1 0 0"}
    fields |= {"Segment1_ID": "b", "Segment1_LabelValue": "1", "Segment1_Layer": "1", "Segment1_Name": "B"}
    segmentation = decode_segmentation(nrrd.encode(layers, np.eye(4), fields, "gzip"))
    assert segmentation.segments[0].color_rgb == (1, 0, 0)
    assert segmentation.segments[1].name == "B"
    assert (segmentation.mask("a") & segmentation.mask("b")).sum() == 4


def fields(**changes: str) -> dict[str, str]:
    usual = {"Segment0_ID": "a", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    return {**usual, **{f"Segment{key[1:]}": value for key, value in changes.items()}}


ONE = np.pad(np.ones((2, 2, 2), np.uint8), 2)


@pytest.mark.parametrize(
    ("array", "header", "said"),
    [
        (ONE, {}, "plain labelmap"),
        (ONE.astype(np.float32), fields(), "whole numbers"),
        (ONE * 2, fields(), "value 2 that belong to no segment"),
        (ONE, fields(s0_LabelValue="x"), "damaged"),
        (ONE, fields(s0_LabelValue="0"), "label value 0"),
        (ONE, fields(s0_Layer="3"), "layer that is not there"),
        (ONE, fields(s1_ID="a", s1_LabelValue="2", s1_Layer="0"), "described twice"),
        (ONE, fields(s1_ID="b", s1_LabelValue="1", s1_Layer="0"), "described twice"),
    ],
)
def test_a_bad_segmentation_is_refused_with_a_reason_and_a_hint(array: Any, header: Any, said: str) -> None:
    with pytest.raises(VolumeError, match=said) as caught:
        decode_segmentation(nrrd.encode(array, np.eye(4), header, "gzip"))
    assert "Slicer" in caught.value.hint


def test_a_segmentation_that_was_cut_off_is_refused() -> None:
    with pytest.raises(MahtaiError, match="cut off"):
        decode_segmentation(encode_segmentation(tumour(), GRID, TUMOUR)[:-20])


def cropped(labelmap: np.ndarray, start: tuple[int, int, int], stop: tuple[int, int, int]) -> bytes:
    affine = np.array(GRID.ijk_to_ras)
    affine[:, 3] = GRID.ijk_to_ras @ [*start, 1]
    part = labelmap[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return encode_segmentation(np.asfortranarray(part), Geometry(part.shape, affine), TUMOUR)


def test_a_file_that_holds_only_the_filled_part_is_put_back_in_its_place() -> None:
    part = decode_segmentation(cropped(tumour(), (5, 2, 6), (60, 19, 65)))
    whole = part.on_grid(GRID)
    assert whole.geometry.same_grid(GRID)
    np.testing.assert_array_equal(whole.layers[0], tumour())


def test_a_file_with_an_empty_border_more_than_the_reference_is_cut_to_it() -> None:
    wide = np.pad(tumour(), 3)
    affine = np.array(GRID.ijk_to_ras)
    affine[:, 3] = GRID.ijk_to_ras @ [-3, -3, -3, 1]
    data = encode_segmentation(wide, Geometry(wide.shape, affine), TUMOUR)
    np.testing.assert_array_equal(decode_segmentation(data).on_grid(GRID).layers[0], tumour())


def test_voxels_outside_the_reference_are_refused_not_lost() -> None:
    segmentation = decode_segmentation(encode_segmentation(tumour(), GRID, TUMOUR))
    smaller = Geometry((30, 10, 30), GRID.ijk_to_ras)
    with pytest.raises(VolumeError, match="outside the volume"):
        on_grid(segmentation, smaller)


@pytest.mark.parametrize("name", [name for name in GRIDS if GRIDS[name] is not GRID])
def test_a_segmentation_of_another_grid_is_refused_with_a_hint(name: str) -> None:
    segmentation = decode_segmentation(encode_segmentation(tumour(), GRID, TUMOUR))
    with pytest.raises(VolumeError, match="another voxel grid") as caught:
        on_grid(segmentation, GRIDS[name])
    assert "source geometry" in caught.value.hint


def test_the_codes_of_the_brain_tumour_are_those_of_the_standards() -> None:
    types = {segment.id: segment.type for segment in segments_of_task("brain-tumour", ["ncr", "ed", "et", "net"])}
    assert types["ncr"] == Code("SCT", "6574001", "Necrosis")
    assert types["ed"] == Code("SCT", "79654002", "Edema")
    assert types["et"] == Code("NCIt", "C113842", "Enhancing Lesion")
    assert types["net"].value == "C81175"
    assert {group.id: group.type.value for group in groups_of_task("brain-tumour")} == {
        "wt": "108369006",
        "tc": "108369006",
        "et": "C113842",
    }
    assert [(s.id, s.label_value) for s in TUMOUR] == [("ncr", 1), ("ed", 2), ("et", 3)]
    assert segments_of_task("unheard-of") == ()
    assert groups_of_task("unheard-of") == ()


def test_a_segment_tells_the_api_its_codes() -> None:
    described = TUMOUR[2].as_json()
    assert described["codes"]["type"] == {"scheme": "NCIt", "value": "C113842", "meaning": "Enhancing Lesion"}
    plain = SegmentDescription("x", "X", 1, (1, 2, 3))
    assert plain.as_json()["codes"] == {}


# --- in Slicer itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slicer() -> Any:
    """Slicer's own MRML with the segmentation logic (slicer-core), without its window."""
    slicer = pytest.importorskip("slicer")
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    slicer.mrmlScene, slicer.kept_alive = scene, (application, logic)
    return slicer


def loaded(slicer: Any, path: Path) -> Any:
    storage, node = slicer.vtkMRMLSegmentationStorageNode(), slicer.vtkMRMLSegmentationNode()
    slicer.mrmlScene.AddNode(storage)
    slicer.mrmlScene.AddNode(node)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


@pytest.mark.parametrize("name", GRIDS)
def test_slicer_shows_names_colours_codes_and_voxels_as_written(slicer: Any, tmp_path: Path, name: str) -> None:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    geometry = GRIDS[name]
    path = tmp_path / "result.seg.nrrd"
    path.write_bytes(encode_segmentation(tumour(geometry), geometry, TUMOUR, PROVENANCE))
    segmentation = loaded(slicer, path).GetSegmentation()
    assert [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())] == ["ncr", "ed", "et"]
    for expected in TUMOUR:
        segment = segmentation.GetSegment(expected.id)
        assert segment.GetName() == expected.name
        assert segment.GetLabelValue() == expected.label_value
        assert tuple(round(255 * part) for part in segment.GetColor()) == expected.color_rgb
        tag = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", tag)
        assert f"~{expected.category}~{expected.type}~" in str(tag)
        assert f"~{expected.region}~" in str(tag)
        image = segment.GetRepresentation("Binary labelmap")
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        np.testing.assert_allclose(
            [[matrix.GetElement(r, c) for c in range(4)] for r in range(4)], geometry.ijk_to_ras, atol=1e-6
        )
        low, extent = np.array(image.GetExtent()[::2]), image.GetDimensions()
        array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(extent[::-1]).T
        shown = np.argwhere(array == expected.label_value) + low
        np.testing.assert_array_equal(shown, np.argwhere(tumour(geometry) == expected.label_value))


def test_what_slicer_saves_again_comes_back_on_the_whole_grid(slicer: Any, tmp_path: Path) -> None:
    path, again = tmp_path / "result.seg.nrrd", tmp_path / "again.seg.nrrd"
    path.write_bytes(encode_segmentation(tumour(), GRID, TUMOUR))
    node = loaded(slicer, path)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(str(again))
    assert storage.WriteData(node) == 1
    segmentation = decode_segmentation(again.read_bytes())
    assert segmentation.geometry.shape == GRID.shape
    assert [description_of(segment) for segment in segmentation.segments] == list(TUMOUR)
    np.testing.assert_array_equal(segmentation.on_grid(GRID).layers[0], tumour())
