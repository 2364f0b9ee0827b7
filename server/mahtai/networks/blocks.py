"""Parts that the locator and the refiner share: attention gates, decoder steps, position embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class AttentionGate(nn.Module):
    """Additive attention gate: the coarser level decides which places of a skip connection pass.

    O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
    """

    def __init__(self, skip: int, gate: int, inner: int) -> None:
        super().__init__()
        self.from_skip = nn.Conv2d(skip, inner, 1)
        self.from_gate = nn.Conv2d(gate, inner, 1)
        self.weight = nn.Conv2d(inner, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """Skip and gate of the same height and width → the weighted skip."""
        return skip * self.weight(functional.relu(self.from_skip(skip) + self.from_gate(gate))).sigmoid()


class DecoderStep(nn.Module):
    """Twice the resolution: upsample, gate the skip connection, join, convolve."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.reduce = convolution(inputs, outputs, 1)
        self.gate = AttentionGate(skip, outputs, max(8, outputs // 2))
        self.join = convolution(outputs + skip, outputs)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """B × inputs × h × w and B × skip × 2h × 2w → B × outputs × 2h × 2w."""
        upsampled = resized(self.reduce(features), skip)
        return self.join(torch.cat([upsampled, self.gate(skip, upsampled)], 1))


def resized(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of another map."""
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def position_embedding(height: int, width: int, channels: int) -> Tensor:
    """Sines and cosines of row and column, for any size: channels × height × width float32.

    Half of the channels hold the row and half the column. Vaswani et al., "Attention Is All You Need", 2017,
    in the two-dimensional form of Carion et al., "End-to-End Object Detection with Transformers", 2020, whose
    normalization to the map's size makes a place mean the same at every input size.
    """
    quarter = channels // 4
    frequency = math.tau / 10000 ** (torch.arange(quarter) / quarter)
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width

    def waves(place: Tensor) -> Tensor:
        angles = frequency[:, None] * place[None]
        return torch.cat([angles.sin(), angles.cos()])

    return torch.cat([waves(rows)[:, :, None].expand(-1, -1, width), waves(columns)[:, None, :].expand(-1, height, -1)])
