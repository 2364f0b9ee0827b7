"""MAHT-Net: an attention-enhanced hybrid of convolutions and a transformer that finds landmarks in two stages.

The *locator* sees the whole image at a low resolution and gives every landmark a heatmap; the *refiner*
looks again at a crop of the full image round each of them. The name and the plan (convolutional
encoder at several scales, transformer bottleneck, attention-gated decoder with multi-scale fusion,
heatmaps with an uncertainty) are those of the public project MAHT-Net; nothing of its code is used.
The bottleneck follows TransUNet (Chen et al. 2021), the gates Attention U-Net (Oktay et al. 2018), the
second look the cascades of Zhong et al. (MICCAI 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mahtai.networks.blocks import DecoderStep, convolution, position_embedding, resized
from mahtai.networks.efficientnet_lite import EfficientNetLiteEncoder

LOCATOR_STRIDE = 4
"""Pixels of the input in a cell of the locator's heatmaps."""

REFINER_STRIDE = 2
"""Pixels of the crop in a cell of the refiner's heatmap."""

_C = EfficientNetLiteEncoder.CHANNELS


class TransformerBottleneck(nn.Module):
    """Self-attention over all places of the coarsest feature map."""

    def __init__(self, inputs: int, width: int, heads: int, layers: int, outputs: int) -> None:
        super().__init__()
        if width % heads or width % 4:
            raise ValueError(f"a width of {width} cannot be divided among {heads} heads and 4 kinds of waves")
        self.width = width
        self.reduce = nn.Conv2d(inputs, width, 1)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.merge = convolution(inputs + width, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """B × inputs × h × w → B × outputs × h × w."""
        height, width = features.shape[-2:]
        tokens = self.reduce(features) + position_embedding(height, width, self.width).to(features)
        tokens = self.norm(self.layers(tokens.flatten(2).transpose(1, 2)))
        seen = tokens.transpose(1, 2).unflatten(2, (height, width))
        return self.merge(torch.cat([features, seen.to(features.dtype)], 1))


class Locator(nn.Module):
    """First stage: one heatmap a landmark over the whole image."""

    def __init__(self, landmarks: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLiteEncoder(32)
        self.bottleneck = TransformerBottleneck(_C[32], width, heads, layers, 128)
        self.up16 = DecoderStep(128, _C[16], 96)
        self.up8 = DecoderStep(96, _C[8], 64)
        self.up4 = DecoderStep(64, _C[4], 48)
        self.fuse = convolution(128 + 96 + 64 + 48, 64, 1)
        self.heatmaps = nn.Conv2d(64, landmarks, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """B × 1 × H × W → logits, B × landmarks × H/4 × W/4."""
        scales = self.encoder(image)
        deep = self.bottleneck(scales[32])
        at16 = self.up16(deep, scales[16])
        at8 = self.up8(at16, scales[8])
        at4 = self.up4(at8, scales[4])
        fused = self.fuse(torch.cat([resized(deep, at4), resized(at16, at4), resized(at8, at4), at4], 1))
        return self.heatmaps(fused)


class Refiner(nn.Module):
    """Second stage: one network for all landmarks, told which one the crop is of."""

    def __init__(self, landmarks: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLiteEncoder(16)
        self.which = nn.Embedding(landmarks, 96)
        self.deep = convolution(_C[16], 96, 1)
        self.context = convolution(96, 96)
        self.up8 = DecoderStep(96, _C[8], 64)
        self.up4 = DecoderStep(64, _C[4], 48)
        self.up2 = DecoderStep(48, _C[2], 32)
        self.scales = nn.Embedding(landmarks, 64 + 48 + 32)
        self.heatmap = nn.Conv2d(32, 1, 3, padding=1)
        nn.init.zeros_(self.scales.weight)

    def forward(self, crops: Tensor, landmark: Tensor) -> Tensor:
        """B × 1 × H × W crops and the B numbers of their landmarks → logits, B × H/2 × W/2."""
        scales = self.encoder(crops)
        which = self.which(landmark)[:, :, None, None]
        deep = self.context(self.deep(scales[16]) + which)
        # a gain for each channel and landmark (feature-wise modulation, Perez et al. 2018)
        gain8, gain4, gain2 = (1 + self.scales(landmark)[:, :, None, None]).split((64, 48, 32), 1)
        at8 = self.up8(deep, scales[8]) * gain8
        at4 = self.up4(at8, scales[4]) * gain4
        at2 = self.up2(at4, scales[2]) * gain2
        return self.heatmap(at2)[:, 0]


class MAHTNet(nn.Module):
    """Locators and refiners; more than one of each form an ensemble whose heatmaps are averaged.

    Args:
        landmarks: how many.
        members: pairs of a locator and a refiner.
        width, heads, layers: of the transformer.
    """

    def __init__(self, landmarks: int, members: int = 1, width: int = 192, heads: int = 8, layers: int = 4) -> None:
        super().__init__()
        self.landmarks = landmarks
        self.locators = nn.ModuleList(Locator(landmarks, width, heads, layers) for _ in range(members))
        self.refiners = nn.ModuleList(Refiner(landmarks) for _ in range(members))

    def member(self, number: int) -> tuple[Locator, Refiner]:
        """One pair of the ensemble."""
        locator, refiner = self.locators[number], self.refiners[number]
        assert isinstance(locator, Locator) and isinstance(refiner, Refiner)
        return locator, refiner

    def alone(self, number: int) -> MAHTNet:
        """A network of that member only, with the same weights."""
        network = MAHTNet(self.landmarks, 0)
        network.locators = self.locators[number : number + 1]
        network.refiners = self.refiners[number : number + 1]
        return network

    def locate(self, image: Tensor, members: int | None = None) -> Tensor:
        """The first stage: B × 1 × H × W (sides divisible by 32) → B × landmarks × H/4 × W/4.

        Args:
            members: how many of the ensemble are asked; None for all.

        Returns:
            Probabilities; each map's sum is 1.
        """
        return torch.stack([_probabilities(locator(image)) for locator in self.locators[:members]]).mean(0)

    def refine(self, crops: Tensor, landmark: Tensor, members: int | None = None) -> Tensor:
        """The second stage: B × 1 × H × W (sides divisible by 16), B landmark numbers → B × H/2 × W/2.

        Returns:
            Probabilities; each map's sum is 1.
        """
        return torch.stack([_probabilities(refiner(crops, landmark)) for refiner in self.refiners[:members]]).mean(0)

    def forward(self, image: Tensor) -> Tensor:
        """The first stage, as :meth:`locate`: what a trial run of the bundle shows."""
        return self.locate(image)


def _probabilities(logits: Tensor) -> Tensor:
    """Softmax over the places of a map."""
    return functional.softmax(logits.float().flatten(-2), -1).unflatten(-1, logits.shape[-2:])
