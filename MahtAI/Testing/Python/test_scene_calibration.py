"""Single images in the scene: which they are, what is sent of them, how large their pixels are, and bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ceph_kit import HEIGHT, SPACING, WIDTH, add_image, pixels
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_volume

from MahtAILib.errors import ExplainedError
from MahtAILib.scene.calibration import Calibration, by_ruler, calibration_of, found, note, typed
from MahtAILib.scene.flat_images import flat_image_out, flat_images, plane_of
from MahtAILib.scene.images import vtk_matrix
from MahtAILib.scene.study import INSTANCES_ATTRIBUTE


def with_spacing(scene: Any, spacing: float) -> Any:
    return add_image(scene, ijk_to_ras=np.diag([-spacing, -spacing, 1.0, 1.0]))


def stored_as(node: Any, path: Path) -> Any:
    """As if it had been loaded from this file."""
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    node.GetScene().AddNode(storage)
    node.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName(str(path))
    return node


def of_dicom(node: Any, **tags: str) -> Calibration:
    names = {
        "PixelSpacing": "0028,0030",
        "PixelSpacingCalibrationType": "0028,0A02",
        "ImagerPixelSpacing": "0018,1164",
        "EstimatedRadiographicMagnificationFactor": "0018,1114",
        "NominalScannedPixelSpacing": "0018,2010",
    }
    values = {names[key]: value for key, value in tags.items()}
    node.SetAttribute(INSTANCES_ATTRIBUTE, "1.2.3")
    return found(node, plane_of(node), lambda uid, tag: values.get(tag, "") if uid == "1.2.3" else "")


def test_only_images_of_one_slice_are_found(slicer_context: SlicerContext) -> None:
    scene = slicer_context.scene
    add_volume(scene, GRIDS["LPS"], "T1")
    image = add_image(scene)
    assert flat_images(scene) == [image]


def test_the_pixels_go_out_as_they_are_and_lie_where_they_lay(slicer_context: SlicerContext) -> None:
    out = flat_image_out(add_image(slicer_context.scene))
    assert out.array.dtype == np.uint8 and out.array.shape == (WIDTH, HEIGHT, 1)
    np.testing.assert_array_equal(out.array, pixels())
    assert out.ijk_to_ras[0, 0] == pytest.approx(-SPACING)


@pytest.mark.parametrize("components", [3, 4])
def test_colours_are_turned_into_grey(slicer_context: SlicerContext, components: int) -> None:
    scene = slicer_context.scene
    node = add_image(scene)
    vector = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    from vtk.util import numpy_support

    grey = pixels()[:, :, 0].T
    rgb = np.stack([grey] * 3 + [np.full_like(grey, 255)] * (components - 3), -1)
    rgb[:10, :10, :3] = (200, 100, 0)
    image = node.GetImageData()
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(rgb.reshape(-1, components), deep=True))
    vector.SetAndObserveImageData(image)
    vector.SetIJKToRASMatrix(vtk_matrix(np.diag([-SPACING, -SPACING, 1, 1])))
    assert vector in flat_images(scene)
    sent = flat_image_out(vector).array[:, :, 0].T
    np.testing.assert_array_equal(sent[20:], grey[20:])
    assert sent[5, 5] == round(0.299 * 200 + 0.587 * 100)


def test_a_change_of_the_image_is_seen(slicer_context: SlicerContext) -> None:
    node = add_image(slicer_context.scene)
    out = flat_image_out(node)
    assert not out.has_changed()
    node.SetSpacing(0.2, 0.2, 1)
    assert out.has_changed()


@pytest.mark.parametrize(
    ("spacing", "words"), [(float("nan"), "not numbers"), (0.001, "0.01"), (-0.1, "zero or negative"), (0.0, "zero")]
)
def test_an_impossible_spacing_is_explained(slicer_context: SlicerContext, spacing: float, words: str) -> None:
    node = add_image(slicer_context.scene)
    # the node itself corrects a negative spacing in its matrix, a file's reader may set it directly
    node.GetSpacing = lambda: (spacing, spacing, 1.0)
    node.SetSpacing(spacing, spacing, 1)
    with pytest.raises(ExplainedError) as raised:
        plane_of(node)
    assert raised.value.hint


def test_a_small_image_is_explained(slicer_context: SlicerContext) -> None:
    node = add_image(slicer_context.scene, array=np.zeros((32, 32, 1), np.uint8))
    with pytest.raises(ExplainedError, match="32 × 32 pixels"):
        plane_of(node)


def test_the_spacing_of_a_volume_file_is_believed_where_a_cephalogram_can_have_it(
    slicer_context: SlicerContext, tmp_path: Path
) -> None:
    for spacing, believed in ((0.3, True), (1.0, False), (5.0, False), (0.02, False), (0.05, False)):
        node = stored_as(with_spacing(slicer_context.scene, spacing), tmp_path / "image.nrrd")
        calibration = found(node, plane_of(node))
        assert (calibration.mm_per_unit == pytest.approx(1.0)) if believed else calibration.mm_per_unit is None
        assert calibration.source


@pytest.mark.parametrize("ending", ["png", "JPG", "tif", "bmp"])
def test_a_resolution_of_printing_is_no_calibration(slicer_context: SlicerContext, tmp_path: Path, ending: str) -> None:
    node = stored_as(with_spacing(slicer_context.scene, 0.3), tmp_path / f"image.{ending}")
    calibration = found(node, plane_of(node))
    assert calibration.mm_per_unit is None and "does not say how large a pixel is" in calibration.source
    note(node, calibration)
    # a scene keeps the image as NRRD; what was noted is what counts
    node.GetStorageNode().SetFileName(str(tmp_path / "scene" / "image.nrrd"))
    assert calibration_of(node) == calibration


def test_what_dicom_says_of_the_scale(slicer_context: SlicerContext) -> None:
    node = with_spacing(slicer_context.scene, 0.33)
    assert of_dicom(node, PixelSpacing="0.3\\0.3").mm_per_unit == pytest.approx(0.3 / 0.33)
    magnified = {"ImagerPixelSpacing": "0.33\\0.33", "EstimatedRadiographicMagnificationFactor": "1.1"}
    assert of_dicom(node, **magnified).mm_per_unit == pytest.approx(0.3 / 0.33)
    same = {**magnified, "PixelSpacing": "0.33\\0.33"}
    assert of_dicom(node, **same).mm_per_unit == pytest.approx(0.3 / 0.33)
    detector = of_dicom(node, ImagerPixelSpacing="0.33\\0.33")
    assert detector.mm_per_unit == pytest.approx(1.0) and "magnification is not known" in detector.source
    assert of_dicom(node, NominalScannedPixelSpacing="0.3\\0.3").mm_per_unit == pytest.approx(0.3 / 0.33)
    assert of_dicom(node).mm_per_unit is None
    assert of_dicom(node, PixelSpacing="5\\5").mm_per_unit is None
    assert of_dicom(node, PixelSpacing="nonsense").mm_per_unit is None


def test_doubts_about_the_plane_and_the_magnification_are_told(slicer_context: SlicerContext) -> None:
    node = with_spacing(slicer_context.scene, 0.33)
    alone = {"PixelSpacing": "0.3\\0.3"}
    assert "may be that of the detector" in of_dicom(node, **alone).source
    assert "detector" not in of_dicom(node, **alone, PixelSpacingCalibrationType="FIDUCIAL").source
    magnified = of_dicom(node, **alone, EstimatedRadiographicMagnificationFactor="1.1")
    assert magnified.mm_per_unit == pytest.approx(0.3 / 0.33)
    assert "1.1 that the file states was not applied" in magnified.source
    for tags in (alone, {"ImagerPixelSpacing": "0.33\\0.33"}):
        absurd = of_dicom(node, **tags, EstimatedRadiographicMagnificationFactor="11")
        assert (
            absurd.mm_per_unit is not None and "magnification 11 that the file states is not believed" in absurd.source
        )


def test_pixels_that_are_not_square_but_shown_so_are_no_calibration(slicer_context: SlicerContext) -> None:
    node = with_spacing(slicer_context.scene, 0.33)
    uneven = of_dicom(node, PixelSpacing="0.3\\0.4")
    assert uneven.mm_per_unit is None and "not square (0.4 × 0.3 mm)" in uneven.source
    # Slicer shows these as long as they are wide
    stretched = add_image(slicer_context.scene, ijk_to_ras=np.diag([-0.4, -0.3, 1.0, 1.0]))
    assert of_dicom(stretched, ImagerPixelSpacing="0.3\\0.4").mm_per_unit == pytest.approx(1.0)


@pytest.mark.parametrize("mm", [0.001, 5.0, -0.1, float("nan")])
def test_a_typed_size_that_no_cephalogram_has_is_refused(slicer_context: SlicerContext, mm: float) -> None:
    plane = plane_of(add_image(slicer_context.scene))
    with pytest.raises(ExplainedError) as raised:
        typed(mm, plane)
    assert "Nothing was changed" in raised.value.hint


def test_a_ruler_calibrates_and_the_geometry_stays(slicer_context: SlicerContext) -> None:
    scene = slicer_context.scene
    node = add_image(scene)
    plane = plane_of(node)
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "ruler")
    with pytest.raises(ExplainedError, match="no two ends"):
        by_ruler(line, 45, plane)
    for point in ((100.0, 20.0), (100.0, 70.0)):
        line.AddControlPoint(plane.ras_of(point))
    calibration = by_ruler(line, 45.0, plane)
    assert calibration.mm_per_unit == pytest.approx(0.9)
    note(node, calibration)
    assert node.GetSpacing()[:2] == pytest.approx((SPACING, SPACING))
    assert calibration_of(node).mm_per_unit == pytest.approx(0.9)
    with pytest.raises(ExplainedError, match="not believed"):
        by_ruler(line, 4500.0, plane)
    line.SetNthControlPointPosition(1, *plane.ras_of((100.0, 20.0)))
    with pytest.raises(ExplainedError, match="one spot"):
        by_ruler(line, 45.0, plane)
