"""Views, turns, decoding and shapes: the geometry between an image and its landmarks."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from mahtai.inference.landmarks.decoding import decode
from mahtai.inference.landmarks.orientation import AS_SHOWN, OTHERS, Turn
from mahtai.inference.landmarks.sampling import (
    LOCATOR_SIZE,
    Pyramid,
    about,
    cell_centres,
    locally_normalized,
    moved,
    moved_back,
    normalized,
    whole_image,
)
from mahtai.inference.landmarks.shape import ShapeModel
from mahtai.inference.landmarks.stages import Found, fuse

EVERY_TURN = (AS_SHOWN, *OTHERS)


def _dots(height: int, width: int, places: list[tuple[int, int]], radius: int = 6) -> torch.Tensor:
    """Bright discs at (x, y) on black."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.zeros(height, width)
    for column, row in places:
        image += ((x - column) ** 2 + (y - row) ** 2 <= radius**2).float()
    return image


def _brightest(view: torch.Tensor) -> np.ndarray:
    weight = view.clamp_min(0).numpy() ** 2
    y, x = np.indices(weight.shape)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.75, 6.0])
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_a_place_of_the_image_is_seen_where_the_frame_says(scale: float, angle: float) -> None:
    pyramid = Pyramid(_dots(300, 260, [(130, 103)], radius=9))
    frame = about(110, 120, scale, (128, 128), angle)
    seen = _brightest(pyramid.view(frame, (128, 128)))
    assert np.abs(moved(seen[None], frame)[0] - [130, 103]).max() < 0.25 * max(scale, 1)


def test_the_whole_image_fits_into_its_view() -> None:
    for height, width in ((2400, 1935), (1000, 3000), (300, 250)):
        corners = moved_back(np.array([[0, 0], [width - 1, height - 1]]), whole_image(height, width))
        assert corners.min() > -1
        assert (corners <= [LOCATOR_SIZE[1], LOCATOR_SIZE[0]]).all()
        assert corners.mean(0) == pytest.approx([(LOCATOR_SIZE[1] - 1) / 2, (LOCATOR_SIZE[0] - 1) / 2])


def test_moving_forth_and_back_ends_where_it_began() -> None:
    points = np.random.default_rng(0).normal(500, 200, (7, 2))
    frame = about(123, 456, 2.5, (64, 96), 0.7)
    assert moved(moved_back(points, frame), frame) == pytest.approx(points)


def test_what_lies_outside_of_the_image_is_black() -> None:
    assert Pyramid(torch.rand(300, 300)).view(about(-500, -500, 1, (32, 32)), (32, 32)).abs().max() == 0


def test_grey_values_of_any_range_become_0_to_1() -> None:
    image = torch.rand(400, 300)
    for scaled in (image, image * 60000 - 1000, image.mul(255).byte()):
        values = normalized(scaled)
        assert values.min() == 0
        assert values.max() == 1
        assert (values - normalized(image)).abs().max() < 0.01
    assert normalized(torch.full((300, 300), 7.0)).abs().max() == 0
    assert locally_normalized(torch.full((128, 128), 0.7)).isfinite().all()


@pytest.mark.parametrize("turn", EVERY_TURN, ids=lambda turn: f"{turn.degrees}{'m' if turn.mirrored else ''}")
@pytest.mark.parametrize("size", [(900, 700), (700, 900)])
def test_every_turn_is_undone(turn: Turn, size: tuple[int, int]) -> None:
    """numpy turns an upright image; the turn's frame must show it upright again."""
    upright = _dots(*size, [(150, 200), (500, 640)]).numpy()
    upright[600:, :80] = 0.5
    shown = upright[:, ::-1] if turn.mirrored else upright
    shown = np.ascontiguousarray(np.rot90(shown, -turn.quarter_turns))
    pyramid = Pyramid(torch.from_numpy(shown))
    view = pyramid.view(turn.frame(*shown.shape), LOCATOR_SIZE)
    wanted = Pyramid(torch.from_numpy(upright)).view(AS_SHOWN.frame(*size), LOCATOR_SIZE)
    assert (view - wanted).abs().mean() < 1e-3
    marker = np.array([[150.0, 200.0]])
    x, y = moved(marker, turn.to_image(*shown.shape))[0]
    assert shown[round(y), round(x)] == 1


def test_eight_turns_and_words_for_seven_of_them() -> None:
    assert len({(turn.quarter_turns, turn.mirrored) for turn in EVERY_TURN}) == 8
    assert AS_SHOWN.words() == ""
    assert Turn(0, True).words() == "facing left"
    assert all(turn.words() for turn in OTHERS)


def _gaussian(x: float, y: float, sigma: float, size: tuple[int, int] = (40, 50)) -> torch.Tensor:
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    values = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return values / values.sum()


def test_a_heatmap_is_read_between_its_cells() -> None:
    found = decode(_gaussian(20.3, 11.7, 1.5)[None], stride=4, reach=5)
    assert found.points[0] == pytest.approx(cell_centres(np.array([20.3, 11.7]), 4), abs=0.15)
    # mean distance from the centre of a round Gaussian: sigma times the root of pi / 2
    assert found.expected_error[0] == pytest.approx(4 * 1.5 * math.sqrt(math.pi / 2), rel=0.05)


def test_a_second_hill_far_away_does_not_pull_but_is_told_of() -> None:
    clean = decode(_gaussian(12, 12, 1.5)[None], 4, 5)
    doubled = decode((0.7 * _gaussian(12, 12, 1.5) + 0.3 * _gaussian(40, 30, 1.5))[None], 4, 5)
    assert doubled.points[0] == pytest.approx(clean.points[0], abs=0.3)
    assert doubled.expected_error[0] > 4 * clean.expected_error[0]


def test_a_hill_at_the_border_stays_inside() -> None:
    found = decode(_gaussian(0, 39, 1.0)[None], 4, 5)
    assert 0 <= found.points[0][0] <= 6
    assert 150 <= found.points[0][1] <= 159


def test_both_stages_count_by_their_weights_and_their_disagreement_is_a_doubt() -> None:
    frame = np.eye(3)
    located = Found(np.array([[0.0, 0], [10, 10]]), np.array([1.0, 1]), frame)
    refined = Found(np.array([[0.0, 0], [20, 10]]), np.array([1.0, 1]), frame)
    fused = fuse(located, refined, np.array([0.5, 0.7]))
    assert fused.points == pytest.approx(np.array([[0, 0], [17, 10]]))
    assert fused.expected_error[0] == pytest.approx(1)
    assert fused.expected_error[1] == pytest.approx(math.hypot(1, 10 * math.sqrt(0.7 * 0.3)))
    assert fuse(located, refined, np.zeros(2)).expected_error == pytest.approx([1, 1])


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """200 made-up heads of 8 points in mm, one like the other but for 2 mm."""
    random = np.random.default_rng(1)
    mean = np.array([[0, 0], [60, -5], [50, 25], [-20, 30], [58, 60], [55, 90], [40, 115], [-10, 85]], float)
    common = random.normal(0, 2, (200, 1, 2)) * np.linspace(-1, 1, 8)[None, :, None]
    return mean + common + random.normal(0, 1.0, (200, 8, 2))


@pytest.fixture(scope="module")
def shape(heads: np.ndarray) -> ShapeModel:
    return ShapeModel.fitted(list(heads[:150]), noise_mm=0.5)


def test_heads_that_were_not_learnt_are_about_one_away(shape: ShapeModel, heads: np.ndarray) -> None:
    distances = [shape.fit(head).distance for head in heads[150:]]
    assert 0.6 < np.mean(distances) < 1.4
    assert max(distances) < 3


def test_where_how_large_and_how_turned_a_head_is_does_not_matter(shape: ShapeModel, heads: np.ndarray) -> None:
    head = heads[160]
    turn = np.array([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    plain, changed = shape.fit(head), shape.fit(7 * head @ turn.T + [300, -40])
    assert changed.distance == pytest.approx(plain.distance)
    assert changed.landmark_distance == pytest.approx(plain.landmark_distance)
    assert changed.scale == pytest.approx(7 * plain.scale)
    assert changed.angle == pytest.approx(plain.angle + 0.4)


def test_a_mirrored_head_is_none(shape: ShapeModel, heads: np.ndarray) -> None:
    ordinary = max(shape.fit(head).distance for head in heads[150:])
    assert min(shape.fit(head * [-1, 1]).distance for head in heads[150:]) > 20 * ordinary


def test_a_displaced_point_is_found(shape: ShapeModel, heads: np.ndarray) -> None:
    for number in range(8):
        head = heads[170].copy()
        head[number] += [12, -9]
        fit = shape.fit(head)
        assert fit.landmark_distance.argmax() == number
        assert fit.landmark_distance[number] > 13.8


@pytest.mark.parametrize("points", [np.zeros((8, 2)), np.full((8, 2), 5.0), np.full((8, 2), np.nan)])
def test_points_on_one_spot_or_none_are_infinitely_far(shape: ShapeModel, points: np.ndarray) -> None:
    fit = shape.fit(points)
    assert fit.distance == math.inf
    assert (fit.landmark_distance == math.inf).all()


def test_a_shape_survives_being_written(shape: ShapeModel, heads: np.ndarray) -> None:
    again = ShapeModel.from_json(json.loads(json.dumps(shape.as_json())))
    assert again.fit(heads[155]).distance == pytest.approx(shape.fit(heads[155]).distance, rel=0.01)
