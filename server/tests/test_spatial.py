"""Resampling between grids agrees with SimpleITK, whatever the axes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from grids import GRIDS, to_sitk
from mahtai.inference.spatial import canonical_grid, crop_grid, resample
from mahtai.volumes.geometry import Geometry


def _blobs(geometry: Geometry, seed: int = 1) -> np.ndarray:
    """A smooth field in 0..1, fixed in RAS space, so that each grid shows the same lesions."""
    random = np.random.default_rng(seed)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), -1)
    ras = indices @ geometry.ijk_to_ras[:3, :3].T + geometry.ijk_to_ras[:3, 3]
    field = np.zeros(geometry.shape)
    for _ in range(6):
        centre, radius = random.uniform(-16, 16, 3), random.uniform(5, 11)
        field = np.maximum(field, np.exp(-((ras - centre) ** 2).sum(-1) / (2 * radius**2)))
    return field.astype(np.float32)


@pytest.mark.parametrize("name", GRIDS)
def test_restored_labels_agree_with_simpleitk_to_the_voxel(name: str) -> None:
    native = GRIDS[name]
    grid = canonical_grid(native, (1.0, 1.0, 1.0), "LPS")
    probability = _blobs(grid)
    restored = resample(torch.from_numpy(probability)[None], grid, native)[0].numpy() >= 0.5
    judge = SimpleITK.Resample(
        to_sitk(probability, grid), to_sitk(np.zeros(native.shape, np.float32), native), SimpleITK.Transform()
    )
    expected = SimpleITK.GetArrayFromImage(judge).transpose(2, 1, 0) >= 0.5
    assert expected.sum() > 500
    assert np.array_equal(restored, expected)


@pytest.mark.parametrize("name", [name for name, grid in GRIDS.items() if max(grid.spacing_mm) == min(grid.spacing_mm)])
def test_one_millimetre_grids_go_there_and_back_without_interpolation(name: str) -> None:
    native = GRIDS[name]
    grid = canonical_grid(native, (1.0, 1.0, 1.0), "LPS")
    source = torch.rand(2, *native.shape)
    there = resample(source, native, grid)
    assert torch.equal(resample(there, grid, native), source)
    assert sorted(grid.shape) == sorted(native.shape)


@pytest.mark.parametrize("name", GRIDS)
def test_the_model_grid_is_canonical_and_covers_the_native_one(name: str) -> None:
    native = GRIDS[name]
    grid = canonical_grid(native, (1.0, 1.0, 1.0), "LPS")
    assert nibabel.aff2axcodes(grid.ijk_to_ras) == ("L", "P", "S")
    np.testing.assert_allclose(grid.spacing_mm, 1.0, rtol=0.021)
    np.testing.assert_allclose(grid.center_ras_mm, native.center_ras_mm, atol=1e-9)
    extents = [np.sort(np.array(item.shape) * item.spacing_mm) for item in (grid, native)]
    assert (extents[0] >= extents[1] - 1e-6).all()


@pytest.mark.parametrize("name", GRIDS)
def test_a_lesion_at_a_known_point_stays_at_that_point(name: str) -> None:
    native = GRIDS[name]
    point_ras_mm = native.center_ras_mm + (9.0, -6.0, 4.0)
    grid = canonical_grid(native, (1.0, 1.0, 1.0), "LPS")
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    ras = indices @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    ball = (np.linalg.norm(ras - point_ras_mm, axis=-1) < 8).astype(np.float32)
    restored = resample(torch.from_numpy(ball)[None], grid, native)[0].numpy() >= 0.5
    centre = native.ijk_to_ras @ [*np.argwhere(restored).mean(0), 1.0]
    assert np.linalg.norm(centre[:3] - point_ras_mm) < max(native.spacing_mm) / 4


def test_a_movement_is_applied_from_the_target_to_the_source() -> None:
    fixed = GRIDS["LPS 1 mm as in BraTS"]
    moving = GRIDS["oblique, anisotropic, left-handed"]
    movement = np.eye(4)
    movement[:3, 3] = (4.0, -7.0, 2.5)
    field = _blobs(moving)
    moved = resample(torch.from_numpy(field)[None], moving, fixed, movement)[0].numpy()
    # SimpleITK's transform maps fixed to moving points as well, in LPS
    judge = SimpleITK.Resample(
        to_sitk(field, moving),
        to_sitk(np.zeros(fixed.shape, np.float32), fixed),
        SimpleITK.TranslationTransform(3, (-4.0, 7.0, 2.5)),
    )
    np.testing.assert_allclose(moved, SimpleITK.GetArrayFromImage(judge).transpose(2, 1, 0), atol=2e-4)


def test_a_coarser_grid_averages_instead_of_skipping_voxels() -> None:
    fine = Geometry((64, 64, 64), np.diag([0.25, 0.25, 0.25, 1.0]))
    coarse = canonical_grid(fine, (1.0, 1.0, 1.0), "RAS")
    stripes = torch.zeros(1, 64, 64, 64)
    stripes[:, ::2] = 1.0
    averaged = resample(stripes, fine, coarse, antialias=True)
    assert coarse.shape == (16, 16, 16)
    assert float((averaged - 0.5).abs().max()) < 1e-5


def test_a_crop_keeps_every_voxel_where_it_was() -> None:
    grid = GRIDS["oblique, anisotropic, left-handed"]
    part = crop_grid(grid, (slice(5, 40), slice(2, 18), slice(11, 60)))
    np.testing.assert_allclose(part.ijk_to_ras @ [1, 1, 1, 1], grid.ijk_to_ras @ [6, 3, 12, 1], atol=1e-9)
    source = torch.rand(1, *grid.shape)
    assert torch.equal(resample(source, grid, part), source[:, 5:40, 2:18, 11:60])
