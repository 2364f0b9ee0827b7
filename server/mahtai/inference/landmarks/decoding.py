"""From heatmaps to places, with what the heatmap itself says of their error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mahtai.inference.landmarks.sampling import cell_centres


@dataclass(frozen=True)
class Decoded:
    """One place for each of n heatmaps.

    Attributes:
        points: n × 2, x and y in pixels of the view.
        expected_error: n, expected radial error in pixels of the view: the mean distance of the
            heatmap's probability from the point (McCouat and Voiculescu, "Contour-Hugging Heatmaps for
            Landmark Detection", CVPR 2022).
    """

    points: np.ndarray
    expected_error: np.ndarray


def decode(maps: Tensor, stride: int, reach: int) -> Decoded:
    """The centre of mass in a window round the highest place (local soft-argmax).

    Over the whole map it would be pulled to the middle; the highest cell alone would be as coarse as the grid.

    Args:
        maps: n × h × w probabilities, each map's sum 1.
        stride: pixels of the view in a cell.
        reach: of the window on each side of the highest cell, in cells.
    """
    maps = maps.float()
    count, height, width = maps.shape
    # a little smoothing, so that a single noisy cell does not win
    smooth = functional.avg_pool2d(maps[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    best = smooth.flatten(1).argmax(1)
    row, column = best // width, best % width
    y = torch.arange(height, device=maps.device)
    x = torch.arange(width, device=maps.device)
    near = ((y - row[:, None]).abs() <= reach)[:, :, None] & ((x - column[:, None]).abs() <= reach)[:, None, :]
    inside = maps * near
    mass = inside.sum((1, 2)).clamp_min(1e-12)
    centre_x = (inside.sum(1) * x).sum(1) / mass
    centre_y = (inside.sum(2) * y).sum(1) / mass
    distance = torch.hypot(x[None, None, :] - centre_x[:, None, None], y[None, :, None] - centre_y[:, None, None])
    expected = (maps * distance).sum((1, 2)) * stride
    cells = torch.stack([centre_x, centre_y], 1).cpu().numpy().astype(float)
    return Decoded(cell_centres(cells, stride), expected.cpu().numpy().astype(float))
