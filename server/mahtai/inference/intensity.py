"""Intensity normalization, the same code in training and in inference."""

from __future__ import annotations

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
        values = source[foreground].float()
        if values.numel() == 0:
            continue
        deviation = values.std(correction=0)
        if deviation == 0:
            deviation = torch.ones_like(deviation)
        result[channel][foreground] = ((values - values.mean()) / deviation).to(image.dtype)
    return result
