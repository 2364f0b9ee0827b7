"""The network: any input size, heatmaps that are probabilities, ImageNet weights that land where they belong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mahtai.networks import MAHTNet
from mahtai.networks.blocks import AttentionGate, position_embedding
from mahtai.networks.efficientnet_lite import EfficientNetLiteEncoder


@pytest.fixture(scope="module")
def network() -> MAHTNet:
    torch.manual_seed(0)
    return MAHTNet(landmarks=5, members=2, width=32, heads=4, layers=1).eval()


@pytest.mark.parametrize("size", [(640, 512), (320, 256), (416, 608)])
def test_the_first_stage_takes_any_size_and_gives_probabilities(network: MAHTNet, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        maps = network.locate(torch.randn(1, 1, *size))
    assert maps.shape == (1, 5, size[0] // 4, size[1] // 4)
    assert torch.allclose(maps.sum((2, 3)), torch.ones(1, 5), atol=1e-4)
    assert (maps >= 0).all()


def test_the_second_stage_looks_for_the_landmark_that_it_is_told(network: MAHTNet) -> None:
    crop = torch.randn(1, 1, 128, 128)
    with torch.inference_mode():
        maps = network.refine(crop.expand(2, -1, -1, -1), torch.tensor([0, 4]))
    assert maps.shape == (2, 64, 64)
    assert torch.allclose(maps.sum((1, 2)), torch.ones(2), atol=1e-4)
    assert not torch.allclose(maps[0], maps[1])


def test_an_ensemble_is_the_mean_of_its_members(network: MAHTNet) -> None:
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        first = network.locate(image, members=1)
        both = network.locate(image)
        second = network.locators[1](image).flatten(2).softmax(-1).unflatten(2, (16, 16))
    assert torch.allclose(both, (first + second) / 2, atol=1e-6)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="30 cannot be divided among 8 heads"):
        MAHTNet(5, width=30, heads=8)


def test_places_have_the_same_embedding_at_every_size() -> None:
    small, large = position_embedding(4, 6, 16), position_embedding(12, 18, 16)
    # the middle of each small cell is the middle of the middle one of its nine parts
    assert torch.allclose(small, large[:, 1::3, 1::3], atol=1e-5)
    flat = large.flatten(1).T
    distances = torch.cdist(flat, flat) + torch.eye(len(flat)) * 9
    assert distances.min() > 1e-3, "two places look alike"


def test_a_gate_can_close() -> None:
    gate = AttentionGate(3, 4, 8)
    with torch.no_grad():
        gate.weight.bias.fill_(-50)
        gate.weight.weight.zero_()
    assert gate(torch.randn(1, 3, 5, 5), torch.randn(1, 4, 5, 5)).abs().max() < 1e-6


def _published(encoder: EfficientNetLiteEncoder) -> dict[str, Tensor]:
    """Weights under the names of ``efficientnet_lite_pytorch``, each tensor another constant."""
    published = {"_conv_stem.weight": torch.randn(32, 3, 3, 3)}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    published |= {f"_bn0.{part}": getattr(encoder.stem_norm, part).clone() for part in parts}
    number = 0.0
    for index, block in enumerate(encoder.blocks):
        norms = iter(("_bn0", "_bn1", "_bn2") if block.expand is not None else ("_bn1", "_bn2"))
        for layer in ("expand", "depthwise", "project"):
            convolution = getattr(block, layer)
            if convolution is None:
                continue
            number += 1
            published[f"_blocks.{index}._{layer}_conv.weight"] = torch.full_like(convolution.weight, number)
            norm, name = getattr(block, f"{layer}_norm"), next(norms)
            for part in parts:
                published[f"_blocks.{index}.{name}.{part}"] = torch.full_like(getattr(norm, part), number)
    return published


def test_published_weights_land_in_their_layers() -> None:
    encoder = EfficientNetLiteEncoder(32)
    published = _published(encoder)
    encoder.load_imagenet(published)
    assert len(encoder.blocks) == 15
    for index in (0, 7, 14):
        block = encoder.blocks[index]
        for layer in ("depthwise", "project"):
            wanted = published[f"_blocks.{index}._{layer}_conv.weight"]
            assert torch.equal(getattr(block, layer).weight, wanted)
            assert torch.equal(
                getattr(block, f"{layer}_norm").running_var,
                torch.full_like(getattr(block, f"{layer}_norm").running_var, float(wanted.flatten()[0])),
            )


def test_the_grey_stem_answers_to_grey_as_the_colour_stem_did() -> None:
    encoder = EfficientNetLiteEncoder(16)
    published = _published(encoder)
    encoder.load_imagenet(published)
    # without the mean the answers to contrast must agree: grey in all three channels, scaled as ImageNet's are
    grey = torch.rand(1, 1, 32, 32)
    deviations = torch.tensor([0.229, 0.224, 0.225])[None, :, None, None]
    theirs = torch.nn.functional.conv2d(grey / deviations, published["_conv_stem.weight"], None, 2, 1)
    ours = encoder.stem(grey / deviations.mean())
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_batch_norm_learns_fast_enough_for_short_runs(network: MAHTNet) -> None:
    momenta = {module.momentum for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}
