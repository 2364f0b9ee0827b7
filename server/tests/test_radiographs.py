"""One radiograph in DICOM: on Slicer's grid, bone bright, its true pixel size beside it; and what is refused."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from image_kit import HEIGHT, WIDTH, colours, compressed, grey, ijk_to_ras_by_itk, picture, radiograph, read_by_itk
from mahtai.errors import MahtaiError
from mahtai.volumes.calibration import CalibrationError, calibrate, mm_per_unit_of_pixel
from mahtai.volumes.formats import describe, read_volume
from mahtai.volumes.volume import Volume
from MahtAILib.client import nrrd

CR, DX, SC = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
TALL = grey("uint16", 2400, 1935) >> 4
"""The size of an ISBI film, so that 0.1 mm is believable."""


@pytest.mark.parametrize("sop_class", [CR, DX, SC])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"PixelSpacing": [0.11, 0.11]},
        {"ImagerPixelSpacing": [0.13, 0.14]},
        {"PixelSpacing": [0.11, 0.12], "ImagerPixelSpacing": [0.13, 0.14]},
        {"ImagerPixelSpacing": [0.13, 0.13], "EstimatedRadiographicMagnificationFactor": 1.1},
        {"NominalScannedPixelSpacing": [0.15, 0.15]},
        {
            "ImagerPixelSpacing": [0.13, 0.14],
            "ImagePositionPatient": [1, 2, 3],
            "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
        },
    ],
)
def test_a_radiograph_lies_on_the_grid_that_slicer_gives_it(
    sop_class: str, tags: dict[str, Any], tmp_path: Path
) -> None:
    data = radiograph(sop_class=sop_class, **tags)
    volume, info = read_volume(data), describe(data)
    by_itk = read_by_itk(data, tmp_path / "image.dcm")
    assert volume.geometry.shape == info.geometry.shape == (WIDTH, HEIGHT, 1)
    for geometry in (volume.geometry, info.geometry):
        np.testing.assert_allclose(geometry.ijk_to_ras, ijk_to_ras_by_itk(by_itk))
    np.testing.assert_array_equal(volume.array[:, :, 0].T, SimpleITK.GetArrayFromImage(by_itk)[0])
    assert info.dtype == volume.array.dtype.name == "uint16"


def test_monochrome1_is_inverted_so_that_bone_is_bright(tmp_path: Path) -> None:
    data = radiograph(PhotometricInterpretation="MONOCHROME1")
    array = read_volume(data).array[:, :, 0].T
    np.testing.assert_array_equal(array, 4095 - (grey("uint16") >> 4))
    shown = SimpleITK.GetArrayFromImage(read_by_itk(data, tmp_path / "image.dcm"))[0]
    np.testing.assert_array_equal(array, shown)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("how", ["plain", "RLE", "baseline", "JPEG", "JPEG2000"])
def test_packed_or_not_the_pixels_are_those_that_slicer_shows(
    how: str, dtype: str, photometric: str, tmp_path: Path
) -> None:
    if (how, dtype) == ("baseline", "uint16"):
        pytest.skip("JPEG baseline has 8 bits")
    data = radiograph(grey(dtype) if dtype == "uint8" else grey(dtype) >> 4, PhotometricInterpretation=photometric)
    data = data if how == "plain" else compressed(data, how, tmp_path)
    array = read_volume(data).array[:, :, 0].T
    shown = SimpleITK.GetArrayFromImage(read_by_itk(data, tmp_path / "image.dcm"))[0]
    np.testing.assert_array_equal(array, shown)
    # the corner is the largest stored value
    assert (array[5, 5] > array[30, 3]) == (photometric == "MONOCHROME2")


@pytest.mark.parametrize("how", ["plain", "RLE"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("padding", "limit"), [(4095, None), (0, None), (65535, None), (4000, 4095), (50, 0)])
def test_padding_becomes_background(
    padding: int, limit: int | None, photometric: str, how: str, tmp_path: Path
) -> None:
    pixels = np.clip(grey("uint16") >> 4, 1000, 3000)
    pixels[:, :40] = padding
    pixels[:9, :40] = padding if limit is None else limit
    tags = {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": limit}
    stated = {name: value for name, value in tags.items() if value is not None}
    data = radiograph(pixels, PhotometricInterpretation=photometric, BitsStored=16, HighBit=15, **stated)
    array = read_volume(data if how == "plain" else compressed(data, how, tmp_path)).array[:, :, 0].T
    assert int(array.max()) - int(array.min()) <= 2000
    assert (array[:, :40] == array[:, 40:].min()).all()
    rest = pixels[:, 40:] if photometric == "MONOCHROME2" else 65535 - pixels[:, 40:]
    np.testing.assert_array_equal(array[:, 40:], rest)


def test_padding_with_the_sign_of_another_number_is_found() -> None:
    pixels = np.clip(grey("uint16") >> 4, 1000, 3000).astype(np.int16)
    pixels[:, :40] = -2000
    dataset = pydicom.dcmread(BytesIO(radiograph(pixels, PixelRepresentation=1, BitsStored=16, HighBit=15)))
    dataset[0x00280120] = pydicom.DataElement(0x00280120, "US", 63536)
    stream = BytesIO()
    dataset.save_as(stream)
    assert read_volume(stream.getvalue()).array.min() == 1000


def test_an_image_of_nothing_but_padding_is_left_as_it_is() -> None:
    assert (read_volume(radiograph(np.zeros((300, 300), np.uint16), PixelPaddingValue=0)).array == 0).all()


def test_a_data_set_without_preamble_is_read() -> None:
    whole = radiograph(ImagerPixelSpacing=[0.13, 0.13])
    without_preamble, dataset = whole[132:], pydicom.dcmread(BytesIO(whole))
    del dataset.file_meta
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, implicit_vr=True, little_endian=True)
    expected = read_volume(whole)
    for bare in (without_preamble, stream.getvalue()):
        np.testing.assert_array_equal(read_volume(bare).array, expected.array)
        np.testing.assert_array_equal(describe(bare).geometry.ijk_to_ras, expected.geometry.ijk_to_ras)
    for cut, said in (
        (stream.getvalue()[:300], "its pixels are missing"),
        (b"\x08\0" * 500, "of no kind that is read"),
    ):
        with pytest.raises(MahtaiError, match=said):
            read_volume(cut)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_eight_and_sixteen_bits_are_read(dtype: str) -> None:
    assert read_volume(radiograph(grey(dtype), BitsStored=8 * grey(dtype).itemsize)).array.max() == np.iinfo(dtype).max


def test_a_colour_secondary_capture_becomes_luminance() -> None:
    array = read_volume(radiograph(colours(), sop_class=SC)).array[:, :, 0].T
    assert np.abs(array - colours() @ [0.299, 0.587, 0.114]).max() <= 1


def test_a_zip_with_one_radiograph_is_that_radiograph() -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/b", radiograph())
    assert read_volume(stream.getvalue()).array.shape == (WIDTH, HEIGHT, 1)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"NumberOfFrames": 3, "PixelData": grey("uint16").tobytes() * 3}, "holds 3 frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "no grey levels"),
        ({"PixelData": grey("uint16").tobytes()[:-5000]}, "damaged or cut off"),
        ({"PhotometricInterpretation": None, "BitsAllocated": 12}, "no grey levels"),
        ({"Rows": 0}, "is empty"),
        ({"Rows": 60000, "Columns": 60000}, "claims 60,000"),
        ({"sop_class": MRImageStorage}, "one DICOM image only .MR Image Storage."),
        (
            {
                "sop_class": MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
                "NumberOfFrames": 2,
                "PixelData": grey("uint16").tobytes() * 2,
            },
            "holds 2 frames",
        ),
    ],
)
def test_what_is_not_one_radiograph_is_refused(tags: dict[str, Any], said: str) -> None:
    with pytest.raises(MahtaiError, match=said) as caught:
        read_volume(radiograph(**tags))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("tags", "mm_per_pixel", "source"),
    [
        ({"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, 0.1, "calibrated (FIDUCIAL)"),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.11, 0.11]}, 0.1, "corrected for magnification"),
        ({"PixelSpacing": [0.1, 0.1]}, 0.1, "PixelSpacing"),
        ({"ImagerPixelSpacing": [0.11, 0.11], "EstimatedRadiographicMagnificationFactor": 1.1}, 0.1, "magnification"),
        (
            {
                "PixelSpacing": [0.11, 0.11],
                "ImagerPixelSpacing": [0.11, 0.11],
                "EstimatedRadiographicMagnificationFactor": 1.1,
            },
            0.1,
            "divided by the magnification",
        ),
        ({"ImagerPixelSpacing": [0.11, 0.11]}, 0.11, "ImagerPixelSpacing"),
        ({"NominalScannedPixelSpacing": [0.12, 0.12]}, 0.12, "NominalScanned"),
    ],
)
@pytest.mark.parametrize("sop_class", [CR, DX, SC])
def test_the_true_size_of_a_pixel_is_found_whatever_the_grid(
    sop_class: str, tags: dict[str, Any], mm_per_pixel: float, source: str
) -> None:
    volume = read_volume(radiograph(TALL, sop_class=sop_class, **tags))
    found = calibrate(volume)
    assert found.mm_per_unit is not None
    assert found.mm_per_unit * volume.geometry.spacing_mm[1] == pytest.approx(mm_per_pixel)
    assert source in found.source


def test_what_is_not_corrected_for_magnification_says_so() -> None:
    told = calibrate(read_volume(radiograph(TALL, ImagerPixelSpacing=[0.11, 0.11]))).warnings
    assert "10 % larger" in told[0]
    assert "magnification" not in told[0]
    alone = calibrate(read_volume(radiograph(TALL, PixelSpacing=[0.11, 0.11])))
    assert alone.mm_per_unit is not None and "about 10 % too large" in alone.warnings[0]
    for known in ({"PixelSpacingCalibrationType": "GEOMETRY"}, {"ImagerPixelSpacing": [0.12, 0.12]}):
        assert not calibrate(read_volume(radiograph(TALL, PixelSpacing=[0.11, 0.11], **known))).warnings


def test_a_magnification_that_is_not_applied_is_named() -> None:
    alone = {"PixelSpacing": [0.11, 0.11]}
    told = calibrate(read_volume(radiograph(TALL, **alone, EstimatedRadiographicMagnificationFactor=1.1))).warnings
    assert "magnification 1.1 that the file states was not applied" in told[1]
    for tags in (alone, {"ImagerPixelSpacing": [0.11, 0.11]}):
        found = calibrate(read_volume(radiograph(TALL, **tags, EstimatedRadiographicMagnificationFactor=11)))
        assert found.mm_per_unit is not None
        assert "magnification 11 that the file states is not believed" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PixelSpacing": [5, 5]}, "A pixel of 5 mm is not believed"),
        ({"PixelSpacing": [0.001, 0.001]}, "A pixel of 0.001 mm is not believed"),
        ({"PixelSpacing": [0.1, 0.2]}, "not square"),
    ],
)
def test_a_size_that_no_cephalogram_has_is_not_believed(tags: dict[str, Any], said: str) -> None:
    found = calibrate(read_volume(radiograph(TALL, **tags)))
    assert found.mm_per_unit is None
    assert said in found.warnings[0]
    assert "only angles and ratios" in found.warnings[0]


@pytest.mark.parametrize("spacing", [[0, 0], [-0.1, -0.1]])
def test_a_spacing_that_is_no_length_is_passed_over(spacing: list[float]) -> None:
    found = calibrate(read_volume(radiograph(TALL, PixelSpacing=spacing)))
    assert (found.mm_per_unit, found.source) == (None, "PixelSpacing of the file is no length")


@pytest.mark.parametrize("height", [400, 6000])
def test_an_image_of_an_impossible_height_is_not_believed(height: int) -> None:
    found = calibrate(read_volume(radiograph(grey("uint8", height, 500), PixelSpacing=[0.1, 0.1], BitsStored=8)))
    assert found.mm_per_unit is None
    assert f"{height / 10:.0f} mm high" in found.warnings[0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_printing_resolution_is_no_calibration(kind: str) -> None:
    found = calibrate(read_volume(picture(grey("uint8", 2400, 1935), kind, dpi=(254, 254))))
    assert found.mm_per_unit is None
    assert f"{kind} file does not say" in found.source


def flat(spacing: float) -> Volume:
    matrix = np.diag([-spacing, -spacing, 1, 1])
    return read_volume(nrrd.encode(np.asfortranarray(TALL.T)[:, :, None], matrix))


def test_the_spacing_of_an_nrrd_is_taken_where_it_is_believable() -> None:
    assert calibrate(flat(0.1)).mm_per_unit == pytest.approx(1)
    assert calibrate(flat(1.0)).mm_per_unit is None
    assert calibrate(flat(0.02)).mm_per_unit is None


def test_a_typed_calibration_wins_and_unknown_means_none() -> None:
    assert calibrate(flat(1.0), "0.1").mm_per_unit == 0.1
    assert calibrate(flat(0.1), "unknown").mm_per_unit is None
    assert mm_per_unit_of_pixel(flat(0.05), 0.1) == pytest.approx(2)


@pytest.mark.parametrize("given", ["0.001", "5", "-0.1", "0", "nan", "inf", "a tenth", ""])
def test_an_absurd_typed_calibration_is_refused(given: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        calibrate(flat(1.0), given)
    assert caught.value.hint


def test_a_colour_nrrd_is_refused_with_the_way_out() -> None:
    text = (
        "NRRD0004\ntype: unsigned char\ndimension: 4\nspace: left-posterior-superior\nsizes: 3 4 5 1\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: vector domain domain domain\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    )
    with pytest.raises(MahtaiError, match="in colour") as caught:
        read_volume(text.encode() + bytes(60))
    assert "Vector to Scalar" in caught.value.hint


def test_nothing_that_names_the_patient_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        volume = read_volume(radiograph())
    assert "Mustermann" not in caplog.text + repr(volume)
