"""Stated confidence: between 0 and 1, high for sharp borders, low for blurred ones."""

from __future__ import annotations

import pytest
import torch

from mahtai.inference.confidence import binary_entropy, doubtful_slices, region_confidence, voxel_confidence


def _ball(softness: float) -> torch.Tensor:
    axes = torch.meshgrid(*(torch.arange(40.0) - 19.5 for _ in range(3)), indexing="ij")
    distance = torch.stack(axes).square().sum(0).sqrt()
    return torch.sigmoid((12 - distance) / softness)


def test_entropy_is_one_bit_for_a_coin_and_none_for_certainty() -> None:
    entropy = binary_entropy(torch.tensor([0.0, 0.5, 1.0, 0.25]))
    assert entropy.tolist() == pytest.approx([0, 1, 0, 0.8113], abs=1e-4)


def test_a_rounding_error_beyond_one_does_not_make_confidence_infinite() -> None:
    assert binary_entropy(torch.tensor([1.0000001, -1e-7])).tolist() == [0, 0]


def test_a_sharp_border_is_more_certain_than_a_blurred_one() -> None:
    sharp, blurred = (region_confidence(_ball(softness), 0.001) for softness in (0.2, 3.0))
    assert 0 <= blurred.confidence < sharp.confidence <= 1
    assert blurred.indeterminate
    assert not sharp.indeterminate
    widths = [item.volume_interval_ml[1] - item.volume_interval_ml[0] for item in (sharp, blurred)]
    assert widths[0] < widths[1]


def test_the_factor_of_a_missing_sequence_lowers_the_confidence() -> None:
    whole, lowered = (region_confidence(_ball(0.2), 0.001, factor) for factor in (1.0, 0.5))
    assert lowered.confidence == pytest.approx(whole.confidence / 2, abs=1e-3)


def test_a_region_that_was_nearly_found_is_not_called_certainly_absent() -> None:
    nearly = region_confidence(_ball(0.2) * 0.45, 0.001)
    absent = region_confidence(_ball(0.2) * 0.001, 0.001)
    assert nearly.volume_ml == absent.volume_ml == 0
    assert nearly.indeterminate
    assert absent.confidence > 0.95


def test_a_voxel_is_as_certain_as_its_least_certain_region() -> None:
    maps = torch.tensor([[0.5, 0.99], [0.0, 0.99]]).reshape(2, 2, 1, 1)
    assert voxel_confidence(maps).flatten()[0] == pytest.approx(0, abs=1e-6)
    assert voxel_confidence(maps).flatten()[1] > 0.9


def test_doubtful_slices_are_ordered_by_their_doubt() -> None:
    confidence = torch.ones(4, 4, 6)
    confidence[:, :, 2] = 0.2
    confidence[:2, :, 4] = 0.2
    assert doubtful_slices(confidence, axis=2) == [2, 4]
