"""Registration finds the movement that was made, in the direction that the pipeline expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mahtai.demo.phantom import make_phantom
from mahtai.inference.registration import register_rigid
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume

LARGEST_MEAN_ERROR_MM = 1.5


def _movement() -> np.ndarray:
    """A movement without any symmetry, so that an inverse or a swap of LPS and RAS cannot pass."""
    x, y, z = np.radians((4.0, -3.0, 8.0))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    movement = np.eye(4)
    movement[:3, :3] = about_z @ about_y @ about_x
    movement[:3, 3] = (6.0, -9.0, 4.0)
    return movement


def _moved(volume: Volume, movement: np.ndarray, every: int = 1) -> Volume:
    """The same voxels lying elsewhere: exact, nothing is interpolated. ``every`` n-th slice makes thick ones."""
    affine = movement @ volume.geometry.ijk_to_ras
    affine[:3, 2] *= every
    array = np.ascontiguousarray(np.asarray(volume.array)[:, :, ::every])
    return Volume(array, Geometry(array.shape, affine), "nrrd")


def _mean_error_mm(found: np.ndarray, expected: np.ndarray, fixed: Volume) -> float:
    inside = np.argwhere(np.asarray(fixed.array) != 0)[::500]
    points = np.c_[inside, np.ones(len(inside))] @ fixed.geometry.ijk_to_ras.T
    return float(np.linalg.norm((points @ found.T - points @ expected.T)[:, :3], axis=1).mean())


def _phantom() -> dict[str, Volume]:
    phantom = make_phantom()
    grid = Geometry(phantom.labels.shape, phantom.ijk_to_ras)
    return {name: Volume(array, grid, "nrrd") for name, array in phantom.channels.items()}


def test_a_known_movement_of_the_phantom_is_found() -> None:
    study = _phantom()
    found = register_rigid(_moved(study["t2"], _movement()), study["t1c"])
    assert found.accepted
    assert _mean_error_mm(found.fixed_to_moving_ras, _movement(), study["t1c"]) < LARGEST_MEAN_ERROR_MM
    assert found.metric_after > found.metric_before


@pytest.mark.parametrize("every", [1, 5], ids=["1 mm", "5 mm slices"])
def test_a_known_movement_of_a_real_study_is_found(shared_data: Path, every: int) -> None:
    folder = shared_data / "brats" / "Brats18_TCIA02_135_1"
    fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("t1c", "flair"))
    found = register_rigid(_moved(moving, _movement(), every), fixed)
    assert found.accepted
    assert _mean_error_mm(found.fixed_to_moving_ras, _movement(), fixed) < LARGEST_MEAN_ERROR_MM


def test_a_study_that_lies_right_is_moved_by_less_than_a_millimetre(shared_data: Path) -> None:
    folder = shared_data / "brats" / "Brats18_TCIA02_135_1"
    fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("t1c", "t2"))
    found = register_rigid(moving, fixed)
    assert _mean_error_mm(found.fixed_to_moving_ras, np.eye(4), fixed) < 1.0


def test_the_same_study_gives_the_same_movement() -> None:
    study = _phantom()
    moving = _moved(study["flair"], _movement(), every=3)
    first, second = (register_rigid(moving, study["t1c"]) for _ in range(2))
    np.testing.assert_allclose(first.fixed_to_moving_ras, second.fixed_to_moving_ras, atol=1e-5)


def test_pictures_that_do_not_match_are_left_where_they_are_and_it_is_said() -> None:
    study = _phantom()
    noise = np.random.default_rng(0).integers(1, 400, study["t2"].array.shape).astype(np.int16)
    found = register_rigid(Volume(noise, study["t2"].geometry, "nrrd"), study["t1c"])
    assert not found.accepted
    assert np.array_equal(found.fixed_to_moving_ras, np.eye(4))
    assert found.reason
