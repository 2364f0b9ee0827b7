"""EfficientNet-Lite0 as an encoder: the feature maps of every scale, from one input channel.

M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
The Lite variants leave out squeeze-and-excitation and use ReLU6 in place of swish, which makes them
quick on ordinary processors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# TensorFlow's value, with which the published weights were trained
_EPSILON = 1e-3


@dataclass(frozen=True)
class _Stage:
    """Blocks of one resolution: expansion, kernel, stride of the first block, output channels, repeats."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


_STEM = 32
_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, 112, 3),
    _Stage(6, 5, 2, 192, 4),
)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class _MBConv(nn.Module):
    """Inverted residual: expand, depthwise convolution, project."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.expand = nn.Conv2d(inputs, inner, 1, bias=False) if expand > 1 else None
        self.expand_norm = nn.BatchNorm2d(inner, eps=_EPSILON) if expand > 1 else None
        self.depthwise = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inner, eps=_EPSILON)
        self.project = nn.Conv2d(inner, outputs, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """B × inputs × H × W → B × outputs × H/stride × W/stride."""
        result = features
        if self.expand is not None and self.expand_norm is not None:
            result = self.activation(self.expand_norm(self.expand(result)))
        result = self.activation(self.depthwise_norm(self.depthwise(result)))
        result = self.project_norm(self.project(result))
        return result + features if self.residual else result


class EfficientNetLiteEncoder(nn.Module):
    """Feature maps at strides 2, 4, 8, 16 and, where asked for, 32.

    Args:
        deepest_stride: 16 or 32; later stages are left out.
    """

    CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 192}

    def __init__(self, deepest_stride: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _STEM, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        self.activation = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        self.strides: list[int] = []
        channels, stride = _STEM, 2
        for stage in _STAGES:
            if stride * stage.stride > deepest_stride:
                break
            for number in range(stage.repeats):
                step = stage.stride if number == 0 else 1
                self.blocks.append(_MBConv(channels, stage.channels, stage.expand, stage.kernel, step))
                channels, stride = stage.channels, stride * step
                self.strides.append(stride)

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """B × 1 × H × W → stride → B × ``CHANNELS[stride]`` × H/stride × W/stride."""
        features = self.activation(self.stem_norm(self.stem(image)))
        scales: dict[int, Tensor] = {}
        for block, stride in zip(self.blocks, self.strides, strict=True):
            features = block(features)
            scales[stride] = features
        return scales

    def load_imagenet(self, published: Mapping[str, Tensor]) -> None:
        """Take over published ImageNet weights (names as in ``efficientnet_lite_pytorch``).

        The three colour kernels of the stem become one: a grey image in 0..1, less 0.45 and over 0.226,
        then gives what the published network sees on the same image in grey.
        """
        own = self.state_dict()
        names = {"stem.weight": "_conv_stem.weight"}
        names |= {f"stem_norm.{part}": f"_bn0.{part}" for part in _NORM_PARTS}
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _MBConv)
            norms = ["_bn0", "_bn1", "_bn2"] if block.expand is not None else [None, "_bn1", "_bn2"]
            layers = zip(("expand", "depthwise", "project"), ("_expand", "_depthwise", "_project"), norms, strict=True)
            for layer, theirs, norm in layers:
                if norm is None:
                    continue
                names[f"blocks.{number}.{layer}.weight"] = f"_blocks.{number}.{theirs}_conv.weight"
                names |= {
                    f"blocks.{number}.{layer}_norm.{part}": f"_blocks.{number}.{norm}.{part}" for part in _NORM_PARTS
                }
        weights = {name: published[theirs].clone() for name, theirs in names.items()}
        scale = torch.tensor(_IMAGENET_DEVIATION).mean() / torch.tensor(_IMAGENET_DEVIATION)
        weights["stem.weight"] = (weights["stem.weight"] * scale[None, :, None, None]).sum(1, keepdim=True)
        assert set(weights) == set(own)
        self.load_state_dict(weights)


_NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
