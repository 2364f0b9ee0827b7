"""Reading volumes: agreement with nibabel and SimpleITK, and a clear reason for every bad file."""

from __future__ import annotations

import gzip
import struct
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from grids import GRIDS, from_sitk, to_sitk
from mahtai.errors import MahtaiError
from mahtai.volumes.formats import VolumeError, check_voxels, describe, read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume, check_is_stack
from MahtAILib.client import nrrd

AFFINE = np.array([[-0.9, 0, 0, 40], [0, -0.9, 0, 30], [0, 0, 5.5, -20], [0, 0, 0, 1.0]])


def voxels(shape: tuple[int, int, int] = (6, 7, 8), dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 120, shape).astype(dtype)


def nifti(array: np.ndarray, affine: np.ndarray = AFFINE, kind=nibabel.Nifti1Image, **header: object) -> bytes:
    image = kind(array, affine)
    image.set_sform(affine, 1)
    for key, value in header.items():
        image.header[key] = value
    return image.to_bytes()


def patched(data: bytes, offset: int, layout: str, *values: object) -> bytes:
    """A NIfTI header lies at these offsets (nifti1.h)."""
    return data[:offset] + struct.pack(layout, *values) + data[offset + struct.calcsize(layout) :]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd"])
def test_files_of_simpleitk_are_read_as_simpleitk_reads_them(tmp_path: Path, name: str, extension: str) -> None:
    geometry = GRIDS[name]
    path = tmp_path / f"image{extension}"
    SimpleITK.WriteImage(to_sitk(voxels(geometry.shape), geometry), str(path), useCompression=True)
    volume = read_volume(path)
    expected, affine = from_sitk(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, affine, atol=2e-5)
    info = describe(path)
    assert info.geometry.same_grid(volume.geometry)
    assert (info.kind, info.dtype) == ("volume", "int16")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f4"])
def test_every_voxel_type_of_nifti_is_read_as_nibabel_reads_it(kind: type, dtype: str) -> None:
    array = voxels().astype(dtype)
    data = kind(array, AFFINE, kind.header_class(endianness=">" if dtype[0] == ">" else "<")).to_bytes()
    for content in (data, gzip.compress(data)):
        volume = read_volume(content)
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.geometry.ijk_to_ras, AFFINE, atol=1e-5)
        assert volume.array.dtype.isnative
        assert describe(content).dtype == volume.array.dtype.name


@pytest.mark.parametrize(("dtype", "slope", "inter"), [("int16", 0.5, -3.0), ("uint8", 2.0, 0.0), ("int32", 0.1, 7.0)])
def test_intensity_scaling_in_the_header_is_applied(dtype: str, slope: float, inter: float) -> None:
    data = patched(nifti(voxels(dtype=dtype)), 112, "<ff", slope, inter)
    volume = read_volume(data)
    expected = nibabel.Nifti1Image.from_bytes(data).get_fdata()
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert describe(data).dtype == volume.array.dtype.name


def test_without_sform_the_qform_places_the_volume() -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_qform(AFFINE, 1)
    volume = read_volume(image.to_bytes())
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, AFFINE, atol=1e-5)
    assert volume.warnings == ()


def test_a_file_that_says_nothing_of_orientation_is_read_with_a_warning() -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    volume = read_volume(image.to_bytes())
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, image.header.get_base_affine())
    assert "left and right" in volume.warnings[0]


def test_lengths_in_metres_become_millimetres() -> None:
    image = nibabel.Nifti1Image(voxels(), np.diag([0.001, 0.001, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    assert read_volume(image.to_bytes()).geometry.spacing_mm == pytest.approx((1, 1, 3))


def test_a_fourth_axis_of_length_one_does_not_count() -> None:
    assert read_volume(nifti(voxels()[..., None])).array.shape == (6, 7, 8)


def test_extensions_between_header_and_voxels_are_skipped() -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"from a console"))
    np.testing.assert_array_equal(read_volume(image.to_bytes()).array, voxels())


def test_a_nifti_in_several_gzip_streams_is_read() -> None:
    data = nifti(voxels())
    packed = gzip.compress(data[:400]) + gzip.compress(data[400:])
    np.testing.assert_array_equal(read_volume(packed).array, voxels())
    assert describe(packed).geometry.shape == (6, 7, 8)


def test_a_segmentation_is_told_from_a_scan() -> None:
    data = nrrd.encode(voxels(dtype="uint8"), AFFINE, {"Segment0_ID": "wt", "Segment0_LabelValue": "1"}, "gzip")
    assert describe(data).kind == "segmentation"
    with pytest.raises(VolumeError, match="This is a segmentation, not a scan"):
        read_volume(data)


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


RAW = nrrd.encode(voxels(), AFFINE)
PACKED = nrrd.encode(voxels(), AFFINE, encoding="gzip")
NII = nifti(voxels())
BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no byte": (lambda: b"", "empty \\(0 bytes\\)"),
    "text": (lambda: b"hello, this is not an image", "of no kind that is read here"),
    "PNG without a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(400), "damaged or cut off"),
    "gzip of text": (lambda: gzip.compress(b"text" * 200), "of no kind that is read here"),
    "NRRD cut off in the voxels": (lambda: RAW[:-100], "cut off"),
    "NRRD cut off in the header": (lambda: RAW[:90], "header does not end"),
    "NRRD with more voxels than it says": (lambda: RAW + b"xx", "header (does not fit|says)"),
    "NRRD packed and cut off": (lambda: PACKED[:-50], "cut off"),
    "NRRD that claims a larger volume": (lambda: replaced(RAW, b"sizes: 6 7 8", b"sizes: 6 7 9"), "cut off"),
    "NRRD of 20 Gvoxel": (lambda: replaced(RAW, b"sizes: 6 7 8", b"sizes: 2720 2720 2720"), "claims 20,123,648,000"),
    "NRRD without voxels": (lambda: replaced(RAW, b"sizes: 6 7 8", b"sizes: 6 0 8"), "whole numbers above 0"),
    "NRRD with NaN in its directions": (lambda: replaced(RAW, b"(0.9,", b"(nan,"), "three finite numbers"),
    "NRRD without space": (
        lambda: replaced(RAW, b"space: left-posterior-superior\n", b""),
        "where left and right are",
    ),
    "NRRD 4-D": (lambda: nrrd.encode(np.stack([voxels(), voxels()]), AFFINE), "4 dimensions"),
    "NRRD sheared": (lambda: nrrd.encode(voxels(), AFFINE + np.eye(4, k=1) * 0.3 * [[1], [0], [0], [0]]), "sheared"),
    "NRRD singular": (
        lambda: replaced(RAW, b"(0.0,0.9,0.0)", b"(0.9,0.0,0.0)"),
        "lie in one plane",
    ),
    "NRRD with detached voxels": (lambda: replaced(RAW, b"encoding", b"data file: x.raw\nencoding"), "another file"),
    "NIfTI cut off in the voxels": (lambda: NII[:-10], "cut off: 662 of 672 bytes"),
    "NIfTI cut off in the header": (lambda: NII[:200], "cut off inside its header"),
    "NIfTI packed and cut off": (lambda: gzip.compress(NII)[:-30], "cut off|damaged"),
    "NIfTI packed with flipped bits": (lambda: gzip.compress(NII)[:420] + b"\xff" * 500, "cut off|damaged"),
    "NIfTI that claims a larger volume": (lambda: patched(NII, 42, "<h", 7), "cut off"),
    "NIfTI packed that claims a larger volume": (lambda: gzip.compress(patched(NII, 42, "<h", 8)), "cut off"),
    "NIfTI of 20 Gvoxel": (lambda: patched(NII, 42, "<hhh", 2720, 2720, 2720), "claims 20,123,648,000"),
    "NIfTI packed, unpacking to less than a thousandth of its claim": (
        lambda: gzip.compress(patched(NII, 42, "<hhh", 1000, 1000, 1000)),
        "cannot unpack to so many",
    ),
    "NIfTI with negative size": (lambda: patched(NII, 42, "<h", -6), "empty"),
    "NIfTI 4-D": (lambda: nifti(np.stack([voxels()] * 3, -1)), "is 4-D"),
    "NIfTI 2-D": (lambda: nifti(voxels()[..., 0]), "is 2-D"),
    "NIfTI in colour": (lambda: patched(NII, 70, "<hh", 128, 24), "are no scan"),
    "NIfTI of complex numbers": (lambda: nifti(voxels().astype("complex64")), "are no scan"),
    "NIfTI of an unknown type": (lambda: patched(NII, 70, "<h", 777), "header is damaged"),
    "NIfTI header without voxels": (lambda: patched(NII, 344, "4s", b"ni1\0"), "pair"),
    "NIfTI with voxels inside the header": (lambda: patched(NII, 108, "<f", 16.0), "damaged|begin at byte 16"),
    "NIfTI with infinite scaling": (lambda: patched(NII, 112, "<ff", 2.0, np.inf), "scaling"),
    "NIfTI singular": (lambda: patched(NII, 280, "<4f", 0, 0, 0, 0), "spacing is"),
    "NIfTI sheared": (lambda: patched(NII, 284, "<f", 0.4), "sheared"),
    "NIfTI with NaN in its affine": (lambda: patched(NII, 280, "<f", np.nan), "not numbers"),
    "NIfTI of 80 mm slices": (lambda: nifti(voxels(), np.diag([1, 1, 80, 1.0])), "50 mm"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_a_reason_and_a_hint(name: str) -> None:
    make, said = BAD_FILES[name]
    data = make()
    for call in (read_volume, describe):
        with pytest.raises(MahtaiError, match=said) as caught:
            call(data)
        assert caught.value.status == 422
        assert caught.value.hint


def test_a_claim_of_20_gigavoxels_is_refused_before_any_memory_is_taken() -> None:
    started = time.monotonic()
    for name in ("NRRD of 20 Gvoxel", "NIfTI of 20 Gvoxel"):
        with pytest.raises(VolumeError):
            read_volume(BAD_FILES[name][0]())
    assert time.monotonic() - started < 1


def test_the_limit_of_voxels_can_be_lowered() -> None:
    for data in (RAW, PACKED, NII):
        with pytest.raises(VolumeError, match="at most 100"):
            read_volume(data, max_voxels=100)
        with pytest.raises(VolumeError, match="at most 100"):
            describe(data, max_voxels=100)


def scan(array: np.ndarray) -> Volume:
    return Volume(array, Geometry(array.shape[:3], np.eye(4)), "nrrd")


def spoilt(value: float) -> np.ndarray:
    array = voxels(dtype="float32")
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 4)), "empty: every voxel is 0"),
        (np.full((4, 4, 4), 7, np.int16), "constant: every voxel is 7"),
        (spoilt(np.nan), "1 values that are not numbers"),
        (spoilt(np.inf), "not numbers"),
        (spoilt(-np.inf), "not numbers"),
        (np.ones((1, 1, 1)), "one voxel only"),
        (np.ones((4, 4, 4, 2)), "4 dimensions"),
    ],
)
def test_a_scan_in_which_nothing_can_be_seen_is_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(VolumeError, match=said) as caught:
        check_voxels(scan(array))
    assert caught.value.hint


def test_one_slice_is_no_series() -> None:
    check_is_stack((6, 7, 2))
    with pytest.raises(VolumeError, match="one slice only") as caught:
        check_is_stack((6, 7, 1))
    assert caught.value.hint


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_an_ordinary_scan_passes(dtype: str) -> None:
    check_voxels(scan(voxels(dtype=dtype)))
