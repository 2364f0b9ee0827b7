"""Intensity normalization, the same code in training and in inference."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def zscore_foreground(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scale each channel to zero mean and unit standard deviation inside its foreground.

    The same as MONAI's ``NormalizeIntensity(nonzero=True, channel_wise=True)``, on the device that
    ``image`` is on. Voxels outside the foreground become (stay) zero.

    Args:
        image: channels × X × Y × Z, any float type.
        mask: X × Y × Z bool, the brain; without it the foreground of a channel is where it is not 0.

    Returns:
        A new tensor of the same shape. A channel without foreground (a missing sequence) stays zero.
    """
    result = torch.zeros_like(image)
    for channel, source in enumerate(image):
        foreground = source != 0 if mask is None else mask
        count = int(torch.count_nonzero(foreground))
        if count == 0:
            continue
        # arithmetic on the whole box is several times faster than taking the foreground out and putting it back
        inside = foreground.float()
        values = source.float() * inside
        centred = values.sub_(float(values.sum()) / count).mul_(inside)
        deviation = float(torch.linalg.vector_norm(centred)) / math.sqrt(count) or 1.0
        result[channel] = centred.div_(deviation)
    return result
