"""Voxel grids: what is read off them, agreement with SimpleITK, and which ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from grids import GRIDS, to_sitk
from mahtai.volumes.geometry import Geometry, GeometryError, check_geometry


def grid(diagonal: tuple[float, float, float] = (1, 1, 1), origin=(0, 0, 0), shape=(10, 20, 30)) -> Geometry:
    affine = np.diag([*diagonal, 1.0])
    affine[:3, 3] = origin
    return Geometry(shape, affine)


@pytest.mark.parametrize("name", GRIDS)
def test_positions_spacing_and_directions_agree_with_simpleitk(name: str) -> None:
    geometry = GRIDS[name]
    image = to_sitk(np.zeros(geometry.shape, np.uint8), geometry)
    for index in ((0, 0, 0), (3, 5, 7), (geometry.shape[0] - 1, 0, geometry.shape[2] - 1)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((geometry.ijk_to_ras @ [*index, 1])[:3], lps * (-1, -1, 1), atol=1e-9)
    np.testing.assert_allclose(geometry.spacing_mm, image.GetSpacing(), atol=1e-9)
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ geometry.direction,
                               np.array(image.GetDirection()).reshape(3, 3), atol=1e-9)  # fmt: skip
    np.testing.assert_allclose(geometry.ras_to_ijk @ geometry.ijk_to_ras, np.eye(4), atol=1e-9)
    assert geometry.is_left_handed == (np.linalg.det(np.array(image.GetDirection()).reshape(3, 3)) < 0)


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_of_a_scanner_is_accepted(name: str) -> None:
    check_geometry(GRIDS[name])


def test_the_centre_is_the_middle_of_the_voxel_centres() -> None:
    np.testing.assert_allclose(grid((2, 1, 1), (5, 0, 0)).center_ras_mm, (5 + 9, 9.5, 14.5))


def test_a_voxel_of_2_by_1_by_1_5_mm_has_3_microlitres() -> None:
    assert grid((2, -1, 1.5)).voxel_ml == pytest.approx(0.003)


def test_the_matrix_cannot_be_changed_afterwards() -> None:
    source = np.eye(4)
    geometry = Geometry((4, 4, 4), source)
    source[0, 0] = 9
    assert geometry.spacing_mm == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        geometry.ijk_to_ras[0, 0] = 2


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (grid(origin=(0.0005, 0, 0)), True),
        (grid(origin=(0.01, 0, 0)), False),
        (grid((1.0001, 1, 1)), True),  # 0.9 micrometres a voxel, 0.0009 mm at the far end
        (grid((1.001, 1, 1)), False),
        (grid((-1, 1, 1)), False),
        (grid(shape=(10, 20, 31)), False),
        (grid(shape=(20, 10, 30)), False),
    ],
)
def test_the_same_grid_means_every_voxel_within_a_micrometre(other: Geometry, same: bool) -> None:
    assert grid().same_grid(other) is same


@pytest.mark.parametrize(
    ("other", "fraction"),
    [
        (grid(), 1.0),
        (grid((-1, 1, 1), (9, 0, 0)), 1.0),
        (grid(origin=(5, 0, 0)), 0.5),
        (grid(origin=(500, 0, 0)), 0.0),
        (grid(origin=(2, 2, 2), shape=(3, 3, 3)), 1.0),
        (grid((2, 2, 2), (0.5, 0.5, 0.5), (5, 10, 15)), 1.0),
    ],
)
def test_overlap_is_the_shared_part_of_the_smaller_box(other: Geometry, fraction: float) -> None:
    assert grid().overlap_fraction(other) == pytest.approx(fraction)
    assert other.overlap_fraction(grid()) == pytest.approx(fraction)


def changed(row: int, column: int, value: float) -> np.ndarray:
    affine = np.eye(4)
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (changed(0, 0, np.nan), "not numbers"),
        (changed(0, 3, np.inf), "not numbers"),
        (changed(3, 0, 1), "not numbers"),
        (changed(2, 2, 0), "spacing is 1 × 1 × 0 mm"),
        (changed(2, 2, 80), "between 0.01 and 50 mm"),
        (changed(0, 1, 0.01), "sheared"),
        (changed(0, 1, 1.0), "45° off"),
        (np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]]), "no thickness"),
    ],
)
def test_a_grid_that_no_scanner_makes_is_refused_with_reason_and_hint(affine: np.ndarray, said: str) -> None:
    with pytest.raises(GeometryError, match=said) as caught:
        check_geometry(Geometry((4, 4, 4), affine))
    assert caught.value.status == 422
    assert caught.value.hint


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), (0, 4, 4), ()])
def test_a_grid_without_three_axes_of_voxels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="not three-dimensional"):
        Geometry(shape, np.eye(4))
