"""Volume nodes of a real scene: what is handed out lies where other programs see it, and stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from scene_kit import GRIDS, add_volume

from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry, GeometryError
from MahtAILib.client.study import StudyVolume
from MahtAILib.scene.images import vtk_matrix
from MahtAILib.scene.volumes import VolumeError, geometry_of_volume, volume_out

MARKS = {100: (3, 5, 2), 200: (30, 7, 9), 300: (11, 40, 4), 400: (0, 0, 0)}

TURN = np.array([[0.8, -0.6, 0, 12.5], [0.6, 0.8, 0, -3.25], [0, 0, 1, 40], [0, 0, 0, 1.0]])
MIRROR = np.diag([-1.0, 1, 1, 1])
UPSIDE_DOWN = np.array([[1.0, 0, 0, 5], [0, 0, -1, 7], [0, 1, 0, -9], [0, 0, 0, 1]])


def marked(shape: tuple[int, int, int]) -> np.ndarray:
    array = np.zeros(shape, np.int16)
    for value, index in MARKS.items():
        array[index] = value
    return array


def put_under(node: Any, *matrices: np.ndarray) -> None:
    """Nested transforms, the first one next to the node."""
    for matrix in matrices:
        transform = node.GetScene().AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(vtk_matrix(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
        node = transform


def places(array: np.ndarray, ijk_to_ras: np.ndarray) -> dict[int, np.ndarray]:
    """Mark → RAS in mm."""
    return {value: (ijk_to_ras @ [*np.argwhere(array == value)[0], 1.0])[:3] for value in MARKS}


def places_by_simpleitk(path: Path) -> dict[int, np.ndarray]:
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).T
    found = {}
    for value in MARKS:
        index = [int(i) for i in np.argwhere(array == value)[0]]
        found[value] = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
    return found


def places_by_nibabel(path: Path) -> dict[int, np.ndarray]:
    image = nibabel.load(path)
    return places(np.asarray(image.dataobj), image.affine)


def written_by_slicer(node: Any, path: Path) -> Path:
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    return path


def assert_same_places(first: dict[int, np.ndarray], second: dict[int, np.ndarray]) -> None:
    for value, place in first.items():
        np.testing.assert_allclose(second[value], place, atol=2e-4)


TRANSFORMS: dict[str, tuple[np.ndarray, ...]] = {
    "as loaded": (),
    "turned": (TURN,),
    "mirrored": (MIRROR,),
    "turned twice": (TURN, UPSIDE_DOWN),
}


@pytest.mark.parametrize("transforms", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_marked_voxel_lies_where_nibabel_and_simpleitk_find_it(
    slicer_context: Any, tmp_path: Path, grid: Geometry, transforms: tuple[np.ndarray, ...]
) -> None:
    node = add_volume(slicer_context.scene, grid, array=marked(grid.shape))
    put_under(node, *transforms)
    out = volume_out(node)
    ours = places(out.array, out.ijk_to_ras)
    expected = {value: grid.ijk_to_ras @ [*index, 1.0] for value, index in MARKS.items()}
    for matrix in transforms:
        expected = {value: matrix @ place for value, place in expected.items()}
    assert_same_places({value: place[:3] for value, place in expected.items()}, ours)

    sent = tmp_path / "sent.nrrd"
    sent.write_bytes(nrrd.encode(out.array, out.ijk_to_ras))
    assert_same_places(ours, places_by_simpleitk(sent))

    node.HardenTransform()  # a file holds no transform
    for path in (tmp_path / "slicer.nrrd", tmp_path / "slicer.nii.gz"):
        assert_same_places(ours, places_by_simpleitk(written_by_slicer(node, path)))
    assert_same_places(ours, places_by_nibabel(tmp_path / "slicer.nii.gz"))


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, 1, -1), (-1, -1, -1)])
def test_a_nifti_file_that_slicer_reads_keeps_its_places_even_where_slicer_flips_an_axis(
    slicer_context: Any, tmp_path: Path, signs: tuple[int, int, int]
) -> None:
    affine = np.diag([*np.multiply(signs, (1.0, 1.2, 3.0)), 1.0])
    affine[:3, 3] = (10, -20, 30)
    array = marked((33, 44, 12))
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    node = slicer_context.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer_context.scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "scan.nii.gz"))
    assert storage.ReadData(node)
    out = volume_out(node)
    assert_same_places(places(array, affine), places(out.array, out.ijk_to_ras))


def test_an_image_whose_extent_does_not_begin_at_zero_keeps_its_place(slicer_context: Any) -> None:
    grid = GRIDS["thick oblique"]
    node = add_volume(slicer_context.scene, grid, array=marked(grid.shape))
    expected = places(marked(grid.shape), grid.ijk_to_ras)
    clip = vtk.vtkExtractVOI()
    clip.SetInputData(node.GetImageData())
    clip.SetVOI(0, 35, 2, 41, 1, 10)
    clip.Update()
    node.SetAndObserveImageData(clip.GetOutput())
    out = volume_out(node)
    assert out.array.shape == (36, 40, 10)
    for value in (100, 200, 300):
        here = (out.ijk_to_ras @ [*np.argwhere(out.array == value)[0], 1.0])[:3]
        np.testing.assert_allclose(here, expected[value], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int32, np.float32, np.float64])
def test_voxels_keep_their_type_and_their_file_needs_no_further_copy(slicer_context: Any, dtype: Any) -> None:
    grid = GRIDS["RAS"]
    array = np.random.default_rng(1).normal(100, 30, grid.shape).astype(dtype)
    out = volume_out(add_volume(slicer_context.scene, grid, array=array))
    assert out.array.dtype == dtype and out.array.flags.f_contiguous
    np.testing.assert_array_equal(out.array, array)
    np.testing.assert_array_equal(nrrd.decode(nrrd.encode(out.array, out.ijk_to_ras)).array, array)


def test_an_edit_of_the_volume_is_noticed_and_does_not_reach_the_file_that_was_made_of_it(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, GRIDS["LPS"])
    out = volume_out(node)
    volume = StudyVolume(out.array, out.ijk_to_ras, is_shared=True)
    file = volume.pack()
    before = file.data
    assert not out.has_changed() and not out.is_gone() and volume_out(node).key == out.key
    with pytest.raises(ValueError, match="read-only"):
        out.array[0, 0, 0] = 1
    voxels = slicer.util.arrayFromVolume(node)
    voxels[:] = 7
    slicer.util.arrayFromVolumeModified(node)
    assert file.data == before and nrrd.decode(before).array.max() > 7
    assert out.has_changed() and volume_out(node).key != out.key


def test_what_was_taken_stays_in_memory_when_vtk_needs_another_size(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, GRIDS["LPS"])
    out = volume_out(node)
    before = out.array.copy()
    image = node.GetImageData()
    image.SetDimensions(300, 300, 300)
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    slicer.util.arrayFromVolume(node)[:] = 7
    np.testing.assert_array_equal(out.array, before)
    assert out.has_changed()


def test_renaming_showing_and_windowing_are_no_changes(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, GRIDS["LPS"])
    out = volume_out(node)
    node.SetName("another name")
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(500, 200)
    node.GetDisplayNode().SetInterpolate(False)
    node.GetImageDataConnection().GetProducer().Update()
    node.SetAttribute("MahtAI.Note", "seen")
    assert not out.has_changed()


def test_moving_the_volume_or_putting_in_another_image_is_a_change(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, GRIDS["LPS"])
    out = volume_out(node)
    put_under(node, TURN)
    assert out.has_changed()
    node.SetAndObserveTransformNodeID(None)
    assert not out.has_changed()
    node.SetAndObserveImageData(add_volume(slicer_context.scene, GRIDS["LPS"]).GetImageData())
    assert out.has_changed()


def test_a_bending_transform_put_on_later_is_a_change(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, GRIDS["LPS"])
    out = volume_out(node)
    bend(node)
    assert out.has_changed()


def test_a_deleted_volume_is_gone_even_if_another_one_takes_its_id(slicer_context: Any) -> None:
    scene = slicer_context.scene
    node = add_volume(scene, GRIDS["LPS"])
    out, name = volume_out(node), node.GetID()
    scene.RemoveNode(node)
    assert out.is_gone() and not out.has_changed()
    scene.Clear(False)
    assert add_volume(scene, GRIDS["LPS"]).GetID() == name
    assert out.is_gone()
    with pytest.raises(VolumeError, match="no longer in the scene"):
        volume_out(node)
    del node
    assert out.is_gone()


def test_a_closed_scene_takes_its_volumes_along(slicer_context: Any) -> None:
    out = volume_out(add_volume(slicer_context.scene, GRIDS["LPS"]))
    slicer_context.close_scene()
    assert out.is_gone() and out.array.any()


def bend(node: Any) -> None:
    scene = node.GetScene()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for place in ((0, 0, 0), (40, 0, 0), (0, 40, 0), (0, 0, 40), (20, 20, 20)):
        points.InsertNextPoint(place)
        moved.InsertNextPoint([value + (3 if value == 20 else 0) for value in place])
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())


def under(*matrices: np.ndarray) -> Any:
    def make(scene: Any) -> Any:
        node = add_volume(scene, GRIDS["LPS"])
        put_under(node, *matrices)
        return node

    return make


def bent(scene: Any) -> Any:
    node = add_volume(scene, GRIDS["LPS"])
    bend(node)
    return node


def of_class(name: str, components: int = 1) -> Any:
    def make(scene: Any) -> Any:
        node = scene.AddNewNodeByClass(name, "Odd")
        image = vtk.vtkImageData()
        image.SetDimensions(8, 8, 8)
        image.AllocateScalars(vtk.VTK_SHORT, components)
        node.SetAndObserveImageData(image)
        return node

    return make


def with_image(*dimensions: int, kind: int = vtk.VTK_SHORT) -> Any:
    def make(scene: Any) -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Odd")
        image = vtk.vtkImageData()
        image.SetDimensions(*dimensions)
        image.AllocateScalars(kind, 1)
        node.SetAndObserveImageData(image)
        return node

    return make


def with_matrix(matrix: Any) -> Any:
    return lambda scene: add_volume(scene, Geometry((8, 8, 8), matrix), array=np.ones((8, 8, 8), np.int16))


def frame_of_a_sequence(frames: int) -> Any:
    def make(scene: Any) -> Any:
        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(scene)  # makes the scene know these nodes
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Perfusion")
        for frame in range(frames):
            volume = add_volume(scene, GRIDS["LPS"], f"frame {frame}")
            sequence.SetDataNodeAtValue(volume, str(frame))
            scene.RemoveNode(volume)
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
        browser.AddSynchronizedSequenceNode(sequence)
        logic.UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    return make


SHEAR = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

REFUSED: dict[str, tuple[Any, type[Exception], str, str]] = {
    "nothing": (lambda scene: None, VolumeError, "no longer in the scene", "choose another"),
    "without voxels": (
        lambda scene: scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"),
        VolumeError,
        "“Empty” holds no voxels",
        "Load the volume again",
    ),
    "label map": (of_class("vtkMRMLLabelMapVolumeNode"), VolumeError, "label map", "scan itself"),
    "vector": (of_class("vtkMRMLVectorVolumeNode", 3), VolumeError, "3 values a voxel", "Extract"),
    "colour in a scalar volume": (of_class("vtkMRMLScalarVolumeNode", 4), VolumeError, "4 values a voxel", "Extract"),
    "segmentation": (
        lambda scene: scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour"),
        VolumeError,
        "not a volume",
        "Choose a volume",
    ),
    "frame of a sequence": (frame_of_a_sequence(3), VolumeError, "sequence of 3", "Clone"),
    "one slice": (with_image(64, 64, 1), VolumeError, "one slice only", "whole series"),
    "one bit": (with_image(8, 8, 8, kind=vtk.VTK_BIT), VolumeError, "one bit", "scan itself"),
    "bent": (bent, VolumeError, "bends it .“Warp”", "Harden"),
    "sheared by its transform": (under(SHEAR), GeometryError, "not at right angles", "Resample"),
    "sheared by two transforms that are not": (
        under(np.diag([1, 2, 1, 1.0]), TURN, np.diag([1, 2, 1, 1.0])),
        GeometryError,
        "not at right angles",
        "Resample",
    ),
    "flattened by its transform": (under(np.diag([1, 1, 0, 1.0])), GeometryError, "spacing", "Correct"),
    "absurd spacing": (with_matrix(np.diag([1, 1, 80, 1.0])), GeometryError, "spacing", "Correct"),
    "not a number": (with_matrix(np.diag([1, 1, np.nan, 1.0])), GeometryError, "not numbers", "again"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_no_usable_scan_is_refused_with_a_reason_and_a_hint(slicer_context: Any, case: Any) -> None:
    make, error, reason, hint = case
    node = make(slicer_context.scene)
    for ask in (volume_out, geometry_of_volume):
        with pytest.raises(error, match=reason) as caught:
            ask(node)
        assert hint in caught.value.hint


def test_a_uniformly_enlarging_transform_is_followed(slicer_context: Any) -> None:
    node = under(np.diag([2.0, 2, 2, 1]))(slicer_context.scene)
    assert geometry_of_volume(node).spacing_mm == pytest.approx((2, 2, 2))


def test_the_frame_of_a_sequence_of_one_is_an_ordinary_volume(slicer_context: Any) -> None:
    assert volume_out(frame_of_a_sequence(1)(slicer_context.scene)).array.shape == GRIDS["LPS"].shape
