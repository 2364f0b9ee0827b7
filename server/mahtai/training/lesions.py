"""Synthetic lesions: nested blobs (oedema around core around necrosis) blended into real brains.

Shapes are noisy ellipsoids, intensities are drawn from what real lesions of one donor case look
like in each sequence, so that the sequences stay consistent with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mahtai.training.datasets import Case


@dataclass(frozen=True)
class LesionStatistics:
    """Mean and standard deviation of z-scores: donors × 3 tissues (NCR, ED, ET) × channels."""

    mean: Tensor
    deviation: Tensor


def lesion_statistics(cases: list[Case]) -> LesionStatistics:
    """Measure the tissues of real lesions; a case without one tissue or sequence is no donor for it (NaN)."""
    means, deviations = [], []
    for case in cases:
        image = case.image.float()
        tissues = [image[:, case.label == value] for value in (1, 2, 3)]
        enough = [tissue if tissue.shape[1] > 200 else torch.full((len(image), 2), torch.nan) for tissue in tissues]
        # a sequence that the study lacks is 0 everywhere and tells nothing of its tissues
        lacking = (image == 0).flatten(1).all(1)
        means.append(torch.stack([tissue.mean(1) for tissue in enough]).masked_fill(lacking, torch.nan))
        deviations.append(torch.stack([tissue.std(1) for tissue in enough]).masked_fill(lacking, torch.nan))
    return LesionStatistics(torch.stack(means), torch.stack(deviations))


def smooth_noise(shape: tuple[int, ...], knots: int) -> Tensor:
    """Noise of about unit deviation that varies over ``knots`` points along each axis."""
    coarse = torch.randn(1, 1, knots, knots, knots)
    return functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _radial_field(shape: tuple[int, ...], centre: Tensor, radius_voxels: Tensor) -> Tensor:
    """Distance from the centre in units of the three radii, roughened by noise; 1 is the border."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    squares = [
        ((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radius_voxels, strict=True)
    ]
    return sum(squares, torch.zeros(shape)).sqrt() + 0.22 * smooth_noise(shape, 8) + 0.08 * smooth_noise(shape, 20)


def implant_lesion(
    image: Tensor, label: Tensor, spacing_mm: float, statistics: LesionStatistics
) -> tuple[Tensor, Tensor]:
    """Blend one synthetic lesion into a patch, away from what is already labelled.

    Args:
        image: channels × X × Y × Z z-scores. label: X × Y × Z, 0..3.
        spacing_mm: of the patch, for the lesion's size (radius 6-28 mm).
    """
    brain = (image != 0).all(0)
    candidates = torch.nonzero(brain & (label == 0))
    if len(candidates) < 1000:
        return image, label
    centre = candidates[int(torch.randint(len(candidates), ()))].float()
    radius = (6 + 22 * torch.rand(())) * (0.7 + 0.6 * torch.rand(3)) / spacing_mm
    field = _radial_field(tuple(label.shape), centre, radius)
    core_border = 0.25 + 0.6 * float(torch.rand(()))
    necrosis_border = core_border * float(torch.rand(())) * 1.1
    enhances = float(torch.rand(())) < 0.8
    donor = int(torch.randint(len(statistics.mean), ()))
    mean, deviation = statistics.mean[donor], statistics.deviation[donor]
    # where no donor has the tissue either, an ordinary z-score is as good a guess as any
    mean = torch.where(mean.isnan(), statistics.mean.nanmean(0).nan_to_num(0.0), mean)
    deviation = torch.where(deviation.isnan(), statistics.deviation.nanmean(0).nan_to_num(1.0), deviation)
    room = brain & (label == 0)
    new_label = label.clone()
    new_image = image.clone()
    borders = [(1.0, 2), (core_border, 3 if enhances else 1)]
    if enhances:
        borders.append((necrosis_border, 1))
    for border, tissue in borders:
        new_label[room & (field < border)] = tissue
        softness = 0.03 + 0.07 * float(torch.rand(()))
        alpha = torch.sigmoid((border - field) / softness) * room
        alpha = alpha * (0.6 + 0.4 * float(torch.rand(())) if tissue == 2 else 1.0)
        texture = smooth_noise(tuple(label.shape), 24)
        drawn = mean[tissue - 1] + 0.25 * torch.randn(mean.shape[1])
        filling = drawn[:, None, None, None] + deviation[tissue - 1][:, None, None, None] * 0.6 * texture
        new_image = new_image * (1 - alpha) + filling * alpha
    return new_image, new_label
