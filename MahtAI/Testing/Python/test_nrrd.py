"""The wire format of volumes, read back by SimpleITK and compared with nibabel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from nrrd_bytes import DATA, header

from MahtAILib.client.nrrd import NrrdError, decode, encode, read_header

Encoding = Literal["raw", "gzip"]
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    cx, cy, cz = np.cos([x, y, z])
    sx, sy, sz = np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _affine(direction: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = (-81.25, 12.5, 40.0625)
    return affine


GRIDS = {
    "RAS": _affine(np.eye(3), (1, 1, 1)),
    "LPS": _affine(np.diag([-1.0, -1.0, 1.0]), (1, 1, 1)),
    "left-handed LAS": _affine(np.diag([-1.0, 1.0, 1.0]), (1, 1, 1)),
    "anisotropic": _affine(np.diag([-1.0, -1.0, 1.0]), (0.4, 0.4, 5.5)),
    "axis-swapped": _affine(np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]), (0.9, 1.1, 3.0)),
    "oblique": _affine(_rotation(0.3, -0.2, 0.5), (0.8, 0.8, 4.0)),
    "oblique left-handed": _affine(_rotation(0.3, -0.2, 0.5) @ np.diag([1.0, 1.0, -1.0]), (0.7, 0.9, 2.0)),
}
TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.fixture(params=GRIDS)
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    return GRIDS[request.param]


def _voxels(shape: tuple[int, ...] = (5, 6, 7), dtype: str = "i2") -> np.ndarray:
    return np.random.default_rng(7).integers(0, 100, shape).astype(dtype)


def _sitk_affine(image: SimpleITK.Image) -> np.ndarray:
    """Voxel index → RAS of a SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return RAS_TO_LPS @ affine


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_simpleitk_reads_the_same_voxels_at_the_same_places(
    affine: np.ndarray, encoding: Encoding, tmp_path: Path
) -> None:
    array = _voxels()
    path = tmp_path / "volume.nrrd"
    path.write_bytes(encode(array, affine, encoding=encoding))
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, array)
    np.testing.assert_allclose(_sitk_affine(image), affine, atol=1e-9)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_simpleitk_wrote_from_nifti_agrees_with_nibabel(
    affine: np.ndarray, compressed: bool, tmp_path: Path
) -> None:
    nifti, nrrd = tmp_path / "volume.nii.gz", tmp_path / "volume.nrrd"
    nibabel.save(nibabel.Nifti1Image(_voxels(), affine), nifti)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(nrrd), useCompression=compressed)
    volume = decode(nrrd.read_bytes())
    reference = nibabel.load(nifti)
    np.testing.assert_array_equal(volume.array, np.asanyarray(reference.dataobj))
    np.testing.assert_allclose(volume.ijk_to_ras, reference.affine, atol=1e-4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_every_voxel_type_comes_back_as_it_went(dtype: str, encoding: Encoding, tmp_path: Path) -> None:
    array = _voxels(dtype=dtype)
    data = encode(array, GRIDS["oblique"], encoding=encoding)
    back = decode(data).array
    assert back.dtype == array.dtype
    assert back.flags.writeable
    assert back.flags.aligned
    np.testing.assert_array_equal(back, array)
    path = tmp_path / "volume.nrrd"
    path.write_bytes(data)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T, array)


def test_layers_come_back_in_front_and_simpleitk_reads_them_as_components(tmp_path: Path) -> None:
    array = _voxels((3, 5, 6, 7), "u1")
    data = encode(array, GRIDS["oblique"], encoding="gzip")
    np.testing.assert_array_equal(decode(data).array, array)
    path = tmp_path / "layers.seg.nrrd"
    path.write_bytes(data)
    image = SimpleITK.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, array)


def test_booleans_and_half_floats_are_written_in_types_that_nrrd_has() -> None:
    mask = _voxels() > 50
    assert decode(encode(mask, np.eye(4))).array.dtype == np.uint8
    halves = _voxels().astype(np.float16)
    np.testing.assert_array_equal(decode(encode(halves, np.eye(4))).array, halves)


def test_big_endian_files_are_read_and_written_little_endian() -> None:
    array = _voxels(dtype=">i4")
    assert encode(array, np.eye(4)) == encode(array.astype("<i4"), np.eye(4))
    body = array.T.tobytes()
    volume = decode(header(type="int", endian="big", sizes="5 6 7") + body)
    np.testing.assert_array_equal(volume.array, array)


def test_memory_layout_does_not_change_the_bytes() -> None:
    kji = np.ascontiguousarray(_voxels().T)
    assert encode(kji.T, np.eye(4)) == encode(np.ascontiguousarray(kji.T), np.eye(4))


def test_the_bytes_never_change_so_that_the_hash_can_be_the_identity() -> None:
    data = encode(np.arange(24, dtype="i2").reshape(2, 3, 4), GRIDS["anisotropic"], {"b": "2", "a": "1"})
    assert data == encode(np.arange(24, dtype="i2").reshape(2, 3, 4), GRIDS["anisotropic"], {"a": "1", "b": "2"})
    assert hashlib.sha256(data).hexdigest() == "ff56f212d506c2c52bf1733a5429ea9659d91c30a816daa368e941b26d1ec284"


def test_custom_fields_keep_line_breaks_backslashes_and_accents() -> None:
    fields = {"Segment0_Name": "Ödem é 脳", "comment": "a\nb\\n: c:=d", "empty": "", "Segment0_Tags": "T:~SCT^1^x~^^~|"}
    assert decode(encode(_voxels(), np.eye(4), fields)).fields == fields


@pytest.mark.parametrize("key", ["", "a:=b", "#comment", "a\0b", "a\rb", "\ud800", "type: short"])
def test_a_key_that_would_not_read_back_is_refused(key: str) -> None:
    with pytest.raises(NrrdError):
        encode(_voxels(), np.eye(4), {key: "value"})


def test_simpleitk_reads_the_custom_fields(tmp_path: Path) -> None:
    path = tmp_path / "volume.nrrd"
    path.write_bytes(encode(_voxels(), np.eye(4), {"MahtAI.Model": "brats_segresnet 1.0"}))
    assert SimpleITK.ReadImage(str(path)).GetMetaData("MahtAI.Model") == "brats_segresnet 1.0"


SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "LPS": (-1, -1, 1),
    "Right-Anterior-Superior": (1, 1, 1),
    "RAS": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}


@pytest.mark.parametrize(("space", "flip"), SPACES.items())
def test_every_named_space_ends_in_ras(space: str, flip: tuple[int, int, int]) -> None:
    data = header(space=space, space_origin="(10, 20, 30)") + DATA
    np.testing.assert_array_equal(decode(data).ijk_to_ras[:3, 3], np.multiply(flip, (10, 20, 30)))


def test_windows_line_ends_and_comments_are_read() -> None:
    data = b"NRRD0005\r\n# made by hand\r\n" + header()[9:].replace(b"\n", b"\r\n") + DATA
    np.testing.assert_array_equal(decode(data).array.T.ravel(), np.frombuffer(DATA, "<i2"))


def test_the_header_is_read_without_the_voxels() -> None:
    data = encode(_voxels((2, 5, 6, 7)), GRIDS["oblique"], {"key": "value"})
    end = data.index(b"\n\n") + 2
    found = read_header(data[:end])
    assert (found.components, found.shape, found.data_offset) == (2, (5, 6, 7), end)
    assert found.data_bytes == len(data) - end
    assert found.fields == {"key": "value"}
    np.testing.assert_allclose(found.ijk_to_ras, GRIDS["oblique"], atol=1e-12)


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    dtype=st.sampled_from(TYPES),
    numbers=st.lists(st.floats(-1e4, 1e4), min_size=12, max_size=12),
    fields=st.dictionaries(st.text(min_size=1), st.text(), max_size=4),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_is_written_is_read_back_exactly(
    shape: tuple[int, int, int], dtype: str, numbers: list[float], fields: dict[str, str]
) -> None:
    affine = np.vstack([np.reshape(numbers, (3, 4)), (0, 0, 0, 1)])
    array = _voxels(shape, dtype)
    try:
        data = encode(array, affine, fields)
    except NrrdError:
        return
    volume = decode(data)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.ijk_to_ras, affine)
    assert volume.fields == {key: value.replace("\r\n", "\n").replace("\r", "\n") for key, value in fields.items()}
