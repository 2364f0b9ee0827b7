"""Doubtful places are where the confidence map says, in RAS, the worst first."""

from __future__ import annotations

import numpy as np
import pytest
from scene_kit import GRIDS

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.doubt import doubtful_places, doubtful_slices, slice_axis


def ball(geometry: Geometry, center: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    index = np.indices(geometry.shape).reshape(3, -1)
    offset = (index - np.array(center)[:, None]) * np.array(geometry.spacing_mm)[:, None]
    return (np.linalg.norm(offset, axis=0) <= radius_mm).reshape(geometry.shape)


@pytest.mark.parametrize("name", GRIDS)
def test_two_balls_are_two_places_at_their_ras_points_the_larger_first(name: str) -> None:
    geometry = GRIDS[name]
    percent = np.full(geometry.shape, 100, np.uint8)
    small, large = (30, 10, geometry.shape[2] // 4), (12, 30, 3 * geometry.shape[2] // 4)
    percent[ball(geometry, small, 4)] = 20
    percent[ball(geometry, large, 7)] = 20
    places = doubtful_places(percent, geometry)
    assert len(places) == 2
    for place, index in zip(places, (large, small), strict=True):
        expected = (geometry.ijk_to_ras @ [*index, 1])[:3]
        assert np.linalg.norm(np.array(place.ras_mm) - expected) < 8
    assert places[0].size_ml > places[1].size_ml
    assert all(0.3 < place.doubt <= 1 for place in places)


def test_a_thin_shell_of_doubt_round_a_sure_lesion_is_no_place() -> None:
    geometry = GRIDS["RAS"]
    percent = np.full(geometry.shape, 100, np.uint8)
    shell = ball(geometry, (20, 22, 18), 10) & ~ball(geometry, (20, 22, 18), 9)
    percent[shell] = 20
    assert doubtful_places(percent, geometry) == []
    assert doubtful_slices(percent, geometry)


def test_a_dumb_bell_is_parted_at_its_waist() -> None:
    geometry = GRIDS["RAS"]
    percent = np.full(geometry.shape, 100, np.uint8)
    percent[8:32, 20:24, 16:20] = 50
    percent[ball(geometry, (8, 22, 18), 7)] = 10
    percent[ball(geometry, (32, 22, 18), 7)] = 10
    assert len(doubtful_places(percent, geometry)) == 2


def test_a_sure_map_has_no_doubtful_place() -> None:
    geometry = GRIDS["LPS"]
    percent = np.full(geometry.shape, 100, np.uint8)
    assert doubtful_places(percent, geometry) == [] and doubtful_slices(percent, geometry) == []


def test_slices_are_those_with_most_doubt_and_keep_apart() -> None:
    geometry = GRIDS["LPS"]
    percent = np.full(geometry.shape, 100, np.uint8)
    percent[10:30, 10:30, 20] = 10
    percent[10:30, 10:28, 21] = 10
    percent[10:15, 10:15, 5] = 10
    slices = doubtful_slices(percent, geometry)
    heights = [round((geometry.ras_to_ijk @ [*place.ras_mm, 1])[2]) for place in slices]
    assert heights[:2] == [20, 5]


def test_thick_slices_are_scrolled_across_and_thin_ones_from_head_to_foot() -> None:
    assert slice_axis(GRIDS["thick oblique"]) == 2
    sagittal = Geometry((10, 20, 30), np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]))
    assert slice_axis(sagittal) == 1
