"""The solver behind corrections, on small volumes whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mahtai.inference import correction
from mahtai.inference.correction import correct, label_probabilities
from mahtai.volumes.terminology import segments_of_task

SEGMENTS = segments_of_task("brain-tumour")
VALUES = {segment.id: segment.label_value for segment in SEGMENTS}
REGIONS = ("wt", "tc", "et")
ED = VALUES["ed"]
SHAPE = (24, 26, 22)

Array = NDArray[Any]


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Array:
    """Voxels whose centres lie in a ball."""
    grid = np.indices(shape)
    away = sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True))
    return np.asarray(away <= radius**2)


def bright_ball(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Array]:
    """Images with a bright ball that the model has overlooked, its probabilities, and the ball."""
    truth = ball(SHAPE, (12, 13, 11), 6)
    noise = np.random.default_rng(seed).normal(0, 0.05, (4, *SHAPE))
    images = torch.from_numpy((noise + 2.0 * truth).astype(np.float32))
    return images, torch.full((3, *SHAPE), 0.02), truth


def solved(
    images: torch.Tensor, probabilities: torch.Tensor, labels: Array, strokes: Array, spacing: tuple[float, ...]
) -> Array:
    """New labels."""
    return correct(images, REGIONS, probabilities, labels.astype(np.uint8), strokes, SEGMENTS, spacing)


def test_one_stroke_in_an_overlooked_lesion_finds_most_of_the_rest() -> None:
    images, probabilities, truth = bright_ball()
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[ball(SHAPE, (12, 13, 11), 2)] = ED + 1
    found = solved(images, probabilities, np.zeros(SHAPE), strokes, (1, 1, 1)) == ED
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    stroke_alone = 2 * (strokes > 0).sum() / ((strokes > 0).sum() + truth.sum())
    assert dice > 0.75 and dice > 2.5 * stroke_alone


def test_erasing_in_a_false_finding_takes_it_away_and_leaves_another_one() -> None:
    images = torch.zeros(4, *SHAPE)
    false, right = ball(SHAPE, (7, 7, 7), 4), ball(SHAPE, (17, 18, 15), 4)
    images[:, torch.from_numpy(false)] = 1.0
    images[:, torch.from_numpy(right)] = 3.0
    probabilities = torch.full((3, *SHAPE), 0.02)
    probabilities[0, torch.from_numpy(false | right)] = 0.8
    labels = np.where(false | right, ED, 0)
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[ball(SHAPE, (7, 7, 7), 2)] = 1  # background
    found = solved(images, probabilities, labels, strokes, (1, 1, 1))
    assert (found[false] == 0).mean() > 0.9
    assert (found[right] == ED).all()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 5.5), (5.5, 0.9, 0.9)])
@pytest.mark.parametrize("seed", range(3))
def test_strokes_are_kept_and_faces_stay(seed: int, spacing: tuple[float, ...]) -> None:
    generator = np.random.default_rng(seed)
    images, probabilities, _ = bright_ball(seed)
    labels = generator.integers(0, 4, SHAPE)
    strokes = np.where(generator.random(SHAPE) < 0.02, generator.integers(1, 5, SHAPE), 0).astype(np.uint8)
    before = labels.copy()
    found = solved(images, probabilities, labels, strokes, spacing)
    assert (found[strokes > 0] == strokes[strokes > 0] - 1).all()
    faces = np.ones(SHAPE, bool)
    faces[1:-1, 1:-1, 1:-1] = False
    untouched = faces & (strokes == 0)
    assert (found[untouched] == labels[untouched]).all()
    assert (labels == before).all()


def test_without_strokes_nothing_changes() -> None:
    images, probabilities, truth = bright_ball()
    labels = np.where(truth, ED, 0)
    assert (solved(images, probabilities, labels, np.zeros(SHAPE, np.uint8), (1, 1, 1)) == labels).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (1, 9, 9), (3, 3, 3)])
def test_the_smallest_regions_are_taken(shape: tuple[int, int, int]) -> None:
    strokes = np.zeros(shape, np.uint8)
    strokes[0, 0, 0] = ED + 1
    found = solved(torch.zeros(4, *shape), torch.full((3, *shape), 0.5), np.zeros(shape), strokes, (1, 1, 1))
    assert found.shape == shape and found[0, 0, 0] == ED and np.isin(found, (0, ED)).all()


@pytest.mark.parametrize("level", [0.0, 7.5, -3.0, 1e6])
def test_images_without_contrast_give_a_finite_answer_near_the_stroke(level: float) -> None:
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[12, 13, 11] = ED + 1
    images = torch.full((4, *SHAPE), level)
    found = solved(images, torch.full((3, *SHAPE), 0.02), np.zeros(SHAPE), strokes, (1, 1, 1)) == ED
    assert found[12, 13, 11]
    reach = np.linalg.norm(np.argwhere(found) - (12, 13, 11), axis=1).max()
    assert reach <= 1.5 * correction.REACH_MM


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_region_gives_the_mirrored_answer(axis: int) -> None:
    images, probabilities, _ = bright_ball()
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[ball(SHAPE, (11, 12, 10), 2)] = ED + 1
    labels = np.zeros(SHAPE)
    straight = solved(images, probabilities, labels, strokes, (1, 1, 2))
    mirrored = solved(
        images.flip(axis + 1), probabilities.flip(axis + 1), labels, np.flip(strokes, axis).copy(), (1, 1, 2)
    )
    # sums in another order differ in the last digits, so a voxel on the very border may fall to the other side
    assert (np.flip(mirrored, axis) != straight).sum() <= 2


def test_the_same_question_has_the_same_answer() -> None:
    images, probabilities, _ = bright_ball()
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[ball(SHAPE, (12, 13, 11), 2)] = ED + 1
    answers = [solved(images, probabilities, np.zeros(SHAPE), strokes, (1, 1, 1)) for _ in range(3)]
    assert all((answer == answers[0]).all() for answer in answers)


def test_nested_regions_become_probabilities_of_labels_that_sum_to_one() -> None:
    nested = torch.rand(3, 5, 6, 7).sort(0, descending=True).values
    chances = label_probabilities(REGIONS, nested, SEGMENTS)
    assert np.allclose(sum(chances.values()), 1, atol=1e-6)
    assert all((chance >= -1e-6).all() for chance in chances.values())
    assert np.allclose(chances[VALUES["et"]], nested[2].numpy())
