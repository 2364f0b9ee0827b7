"""How sure a segmentation is: per voxel, per region, per slice. Honest about what is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mahtai.inference.spatial import box_of

INDETERMINATE_BELOW = 0.7
"""A region whose confidence is lower is shown as indeterminate, not as a finding.

Chosen on eight cases of the train and validation lists, where it parts tumour cores with a Dice above 0.8
from those below 0.7. On the seven test cases it marks the three cores with a Dice below 0.5 and no other core."""

SHELL_VOXELS = 3
VOLUME_INTERVAL_THRESHOLDS = (0.65, 0.35)


@dataclass(frozen=True)
class RegionConfidence:
    """What is said of one region.

    Attributes:
        confidence: 0..1, mean certainty in a shell of three voxels on both sides of the border.
        indeterminate: too low to be shown as a finding.
        volume_ml: at the threshold 0.5.
        volume_interval_ml: at the thresholds 0.65 and 0.35.
    """

    confidence: float
    indeterminate: bool
    volume_ml: float
    volume_interval_ml: tuple[float, float]


def binary_entropy(probability: Tensor) -> Tensor:
    """Entropy of a yes/no decision in bits, 0..1, any shape."""
    # interpolation can step over 0 and 1 by a rounding error, where the entropy would be infinite
    inside = probability.clamp(0, 1)
    return (torch.special.entr(inside) + torch.special.entr(1 - inside)) / math.log(2)


def voxel_confidence(probabilities: Tensor) -> Tensor:
    """Certainty of the least certain region at each voxel.

    Args:
        probabilities: regions × I × J × K.

    Returns:
        I × J × K, 0..1; 1 is certain.
    """
    # the entropy falls on both sides of 0.5, so the probability nearest to it is the least certain
    return 1 - binary_entropy(0.5 + (probabilities - 0.5).abs_().amin(0))


def _grown(mask: Tensor, voxels: int) -> Tensor:
    """Dilation by a cube, one axis after the other."""
    grown = mask[None, None].float()
    for axis in range(3):
        size = [1, 1, 1]
        size[axis] = 2 * voxels + 1
        grown = functional.max_pool3d(grown, size, stride=1, padding=[side // 2 for side in size])
    return grown[0, 0] > 0


def region_confidence(
    probability: Tensor, voxel_volume_ml: float, factor: float = 1.0, mask: Tensor | None = None
) -> RegionConfidence:
    """Confidence and volume of one region.

    Args:
        probability: I × J × K.
        factor: 0..1, what a missing sequence leaves of the confidence.
        mask: the region as it was decided, if that is not ``probability >= 0.5``.
    """
    # all that is counted lies where the probability is above the lowest threshold, or in the mask
    candidates = probability >= min(VOLUME_INTERVAL_THRESHOLDS)
    box = box_of(candidates if mask is None else candidates | mask, SHELL_VOXELS + 1)
    part = probability if box is None else probability[box]
    inside = part >= 0.5 if mask is None else mask if box is None else mask[box]
    if bool(inside.any()):
        shell = _grown(inside, SHELL_VOXELS) & _grown(~inside, SHELL_VOXELS)
        certainty = float((1 - binary_entropy(part[shell])).mean())
    else:
        # nothing found: as sure as the voxel that came nearest to being found
        certainty = 1 - float(binary_entropy(probability.amax().clamp(max=0.5)))
    confidence = certainty * factor
    low, high = (
        float(torch.count_nonzero(part >= threshold)) * voxel_volume_ml for threshold in VOLUME_INTERVAL_THRESHOLDS
    )
    volume = float(torch.count_nonzero(inside)) * voxel_volume_ml
    return RegionConfidence(
        confidence=round(confidence, 3),
        indeterminate=confidence < INDETERMINATE_BELOW,
        volume_ml=round(volume, 3),
        volume_interval_ml=(round(min(low, volume), 3), round(max(high, volume), 3)),
    )


def doubtful_slices(confidence: Tensor, axis: int, count: int = 10) -> list[int]:
    """Indices of the slices along ``axis`` with the most doubt, most doubtful first."""
    others = [other for other in range(3) if other != axis]
    mass = (1 - confidence).sum(others)
    order = torch.argsort(mass, descending=True)[:count]
    return [int(index) for index in order if float(mass[index]) > 0]
