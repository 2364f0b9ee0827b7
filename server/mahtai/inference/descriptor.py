"""What a study looks like to a model, in a few numbers: alike for studies that are alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mahtai.inference.regions import RegionMaps
from mahtai.volumes.geometry import Geometry

STRIDE = 2
"""Every second voxel along each axis is enough for means."""


def describe_study(image: Tensor, mask: Tensor, regions: RegionMaps, grid: Geometry) -> list[float]:
    """Size, place and looks of what was found.

    Args:
        image: channels × X × Y × Z, z-scores. mask: X × Y × Z, the brain. regions: on the same grid.

    Returns:
        For each region log(1 + ml); of the largest region the centre (in the box of the brain, 0..1) and the extent
        (standard deviation, mm) along each axis, mean and standard deviation in each channel; log of the brain's ml.
    """
    thin = (slice(None, None, STRIDE),) * 3
    inside = mask[thin] > 0
    found = regions.probabilities[(slice(None), *thin)] >= 0.5
    voxel_ml = grid.voxel_ml * STRIDE**3
    volumes = [float(torch.count_nonzero(region)) * voxel_ml for region in found]
    largest = found[max(range(len(volumes)), key=volumes.__getitem__)]
    numbers = [math.log1p(volume) for volume in volumes]
    numbers += _place(largest, inside, grid.spacing_mm)
    for channel in image[(slice(None), *thin)]:
        values = channel[largest].float()
        numbers += [float(values.mean()), float(values.std(correction=0))] if len(values) else [0.0, 0.0]
    numbers.append(math.log1p(float(torch.count_nonzero(inside)) * voxel_ml))
    return [round(number, 4) for number in numbers]


def _place(region: Tensor, brain: Tensor, spacing_mm: tuple[float, ...]) -> list[float]:
    where, around = region.nonzero().float(), brain.nonzero().float()
    if not len(where) or not len(around):
        return [0.5] * 3 + [0.0] * 3
    low, high = around.amin(0), around.amax(0)
    centre = (where.mean(0) - low) / (high - low).clamp_min(1)
    extent = where.std(0, correction=0) * STRIDE * torch.tensor(spacing_mm, dtype=torch.float32)
    return [*centre.tolist(), *extent.tolist()]
