"""Random patches with strong augmentation, so that a few real cases stand for many scanners.

Spatial changes are one ``grid_sample`` (rotation, scale, flip and resolution together); intensity
changes follow on the patch. Values are z-scores; background is 0 and stays 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mahtai.training.datasets import Case
from mahtai.training.lesions import LesionStatistics, implant_lesion, smooth_noise


@dataclass(frozen=True)
class AugmentationSettings:
    """How strong each change is; probabilities unless a unit is named."""

    rotation_deg: float = 20.0
    scale_range: tuple[float, float] = (0.8, 1.25)
    rotate_scale: float = 0.7
    centre_on_tumour: float = 0.7
    synthetic_lesion: float = 0.2
    drop_one_sequence: float = 0.2
    drop_two_sequences: float = 0.06
    intensity_scale: float = 0.2
    intensity_shift: float = 0.2
    gamma: float = 0.3
    bias_field: float = 0.2
    thick_slices: float = 0.15
    blur: float = 0.15
    noise: float = 0.2


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _chance(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _random_rotation(degrees: float) -> Tensor:
    x, y, z = (math.radians(_uniform(-degrees, degrees)) for _ in range(3))
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    about_y = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = torch.tensor([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _patch_centre(case: Case, extent: Tensor, tumour: float) -> Tensor:
    """A voxel position: on the tumour, or anywhere that keeps most of the patch inside the volume."""
    shape = torch.tensor(case.label.shape, dtype=torch.float32)
    if _chance(tumour):
        inside = torch.nonzero(case.label)
        # small enhancing foci are what is missed: every second tumour patch is centred on one
        enhancing = torch.nonzero(case.label == 3)
        pool = enhancing if len(enhancing) and _chance(0.5) else inside
        if len(pool):
            voxel = pool[int(torch.randint(len(pool), ()))].float()
            return voxel + (torch.rand(3) - 0.5) * extent * 0.5
    slack = (shape - extent).clamp(min=0)
    return (shape - 1) / 2 + (torch.rand(3) - 0.5) * slack


def sample_patch(
    case: Case, size: tuple[int, int, int], spacing_mm: float, settings: AugmentationSettings
) -> tuple[Tensor, Tensor]:
    """Cut a randomly placed, turned, scaled and mirrored patch at a given resolution.

    Returns:
        The image, channels × ``size`` float32, and the label, ``size`` uint8.
    """
    zoom = torch.full((3,), spacing_mm) / torch.tensor(case.spacing_mm)
    matrix = torch.eye(3)
    if _chance(settings.rotate_scale):
        matrix = _random_rotation(settings.rotation_deg) * _uniform(*settings.scale_range)
    flips = torch.where(torch.rand(3) < 0.5, -1.0, 1.0)
    matrix = (matrix * zoom) @ torch.diag(flips)
    offsets = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in size), indexing="ij")
    extent = torch.tensor(size, dtype=torch.float32) * zoom
    voxels = torch.stack(offsets, -1) @ matrix.T + _patch_centre(case, extent, settings.centre_on_tumour)
    # grid_sample wants (last axis first) positions in -1..1
    shape = torch.tensor(case.label.shape, dtype=torch.float32)
    grid = (2 * voxels / (shape - 1) - 1).flip(-1)[None]
    image = functional.grid_sample(case.image[None].float(), grid, mode="bilinear", align_corners=True)[0]
    label = functional.grid_sample(case.label[None, None].float(), grid, mode="nearest", align_corners=True)[0, 0]
    return image, label.to(torch.uint8)


def _blurred(channel: Tensor) -> Tensor:
    return functional.avg_pool3d(channel[None, None], 3, stride=1, padding=1)[0, 0]


def _as_thick_slices(channel: Tensor) -> Tensor:
    """What a scan with thick slices along one axis looks like after resampling."""
    axis = int(torch.randint(3, ()))
    factors = [1, 1, 1]
    factors[axis] = int(torch.randint(2, 6, ()))
    coarse = functional.avg_pool3d(channel[None, None], tuple(factors), ceil_mode=True)
    return functional.interpolate(coarse, size=channel.shape, mode="trilinear", align_corners=False)[0, 0]


def _gamma(channel: Tensor) -> Tensor:
    low, high = channel.min(), channel.max()
    if high <= low:
        return channel
    unit = (channel - low) / (high - low)
    return unit ** math.exp(_uniform(-0.45, 0.45)) * (high - low) + low


def augment_intensity(image: Tensor, settings: AugmentationSettings) -> Tensor:
    """Change every sequence on its own as other scanners, coils and protocols would."""
    channels = []
    for channel in image:
        brain = channel != 0
        if _chance(settings.gamma):
            channel = _gamma(channel)
        channel = channel * _uniform(1 - settings.intensity_scale, 1 + settings.intensity_scale)
        channel = channel + _uniform(-settings.intensity_shift, settings.intensity_shift)
        if _chance(settings.bias_field):
            channel = channel + channel.abs() * smooth_noise(tuple(channel.shape), 3) * 0.15
        if _chance(settings.thick_slices):
            channel = _as_thick_slices(channel)
        elif _chance(settings.blur):
            channel = _blurred(channel)
        if _chance(settings.noise):
            channel = channel + torch.randn_like(channel) * _uniform(0.0, 0.2)
        channels.append(torch.where(brain, channel, 0.0))
    return torch.stack(channels)


def drop_sequences(image: Tensor, settings: AugmentationSettings) -> Tensor:
    """Blank one or two sequences, so that the network learns to do without them."""
    draw = float(torch.rand(()))
    count = 0
    if draw < settings.drop_two_sequences:
        count = 2
    elif draw < settings.drop_two_sequences + settings.drop_one_sequence:
        count = 1
    image = image.clone()
    image[torch.randperm(len(image))[:count]] = 0
    return image


def training_patch(
    case: Case,
    size: tuple[int, int, int],
    spacing_mm: float,
    settings: AugmentationSettings,
    statistics: LesionStatistics,
) -> tuple[Tensor, Tensor]:
    """One fully augmented training example: image channels × size, label size uint8."""
    image, label = sample_patch(case, size, spacing_mm, settings)
    if _chance(settings.synthetic_lesion):
        image, label = implant_lesion(image, label, spacing_mm, statistics)
    image = augment_intensity(image, settings)
    return drop_sequences(image, settings), label
