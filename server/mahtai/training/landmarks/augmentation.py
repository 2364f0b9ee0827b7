"""Random views of a cephalogram for training: other heads, other machines, other cropping.

Never mirrored: a mirrored image is to be noticed, not to be taken for a head that looks the other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mahtai.inference.landmarks.sampling import (
    CROP_SCALE,
    CROP_SIZE,
    LOCATOR_SIZE,
    Pyramid,
    about,
    locally_normalized,
    moved_back,
)


@dataclass(frozen=True)
class AugmentationSettings:
    """How strong each change is.

    Attributes:
        rotation_deg: standard deviation.
        scale: standard deviation of the logarithm of the size.
        shift: standard deviation, as a share of the view's width.
        stretch: standard deviation of the logarithm of width over height.
        jitter_pixels: of a crop's centre, in pixels of the locator's view; what the locator errs by.
        gamma, contrast, brightness, noise: standard deviations on grey values 0..1.
        blur: probability.
        erase: probability that a rectangle is blanked.
    """

    rotation_deg: float = 5.0
    scale: float = 0.08
    shift: float = 0.03
    stretch: float = 0.03
    jitter_pixels: float = 6.0
    gamma: float = 0.25
    contrast: float = 0.12
    brightness: float = 0.06
    noise: float = 0.025
    blur: float = 0.2
    erase: float = 0.3


@dataclass(frozen=True)
class Example:
    """A training image in memory: its halved sizes and the landmarks × 2 in pixels."""

    pyramid: Pyramid
    points: np.ndarray


def _normal(deviation: float) -> float:
    return deviation * float(torch.randn(()).clamp(-2.5, 2.5))


def _chance(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _stretched(frame: np.ndarray, size: tuple[int, int], settings: AugmentationSettings) -> np.ndarray:
    """The frame with another ratio of width to height, about its centre."""
    ratio = math.exp(_normal(settings.stretch))
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    stretch = np.array([[ratio, 0, x - ratio * x], [0, 1 / ratio, y - y / ratio], [0, 0, 1]])
    return np.asarray(frame @ stretch)


def locator_view(example: Example, settings: AugmentationSettings) -> tuple[Tensor, np.ndarray]:
    """A view of the whole image, and the landmarks in its pixels."""
    image = example.pyramid
    whole = max(image.height / LOCATOR_SIZE[0], image.width / LOCATOR_SIZE[1])
    scale = whole * math.exp(_normal(settings.scale))
    x = (image.width - 1) / 2 + _normal(settings.shift) * image.width
    y = (image.height - 1) / 2 + _normal(settings.shift) * image.height
    frame = about(x, y, scale, LOCATOR_SIZE, math.radians(_normal(settings.rotation_deg)))
    frame = _stretched(frame, LOCATOR_SIZE, settings)
    return changed_grey(image.view(frame, LOCATOR_SIZE), settings), moved_back(example.points, frame)


def crop_view(example: Example, landmark: int, settings: AugmentationSettings) -> tuple[Tensor, np.ndarray]:
    """A view round one landmark, off centre as a locator's answer would be, and the landmark in its pixels."""
    image = example.pyramid
    whole = max(image.height / LOCATOR_SIZE[0], image.width / LOCATOR_SIZE[1])
    scale = whole * CROP_SCALE * math.exp(_normal(settings.scale))
    x, y = example.points[landmark] + np.array([_normal(settings.jitter_pixels * whole) for _ in range(2)])
    frame = about(float(x), float(y), scale, CROP_SIZE, math.radians(_normal(settings.rotation_deg)))
    frame = _stretched(frame, CROP_SIZE, settings)
    crop = locally_normalized(image.view(frame, CROP_SIZE))
    return changed_grey(crop, settings), moved_back(example.points[landmark][None], frame)[0]


def changed_grey(view: Tensor, settings: AugmentationSettings) -> Tensor:
    """Other exposure, blur, noise and blanked rectangles: height × width in about 0..1."""
    result = view.clamp_min(1e-4) ** math.exp(_normal(settings.gamma))
    result = (result - 0.5) * math.exp(_normal(settings.contrast)) + 0.5 + _normal(settings.brightness)
    if _chance(settings.blur):
        result = functional.avg_pool2d(result[None], 3, 1, 1, count_include_pad=False)[0]
    result = result + settings.noise * abs(_normal(1.0)) * torch.randn_like(result)
    if _chance(settings.erase):
        height, width = result.shape
        rows, columns = (int(length * (0.05 + 0.15 * float(torch.rand(())))) for length in (height, width))
        top, left = (int(float(torch.rand(())) * (full - part)) for full, part in ((height, rows), (width, columns)))
        result[top : top + rows, left : left + columns] = float(torch.rand(()))
    return result
