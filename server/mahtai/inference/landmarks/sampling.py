"""Views of an image: any part of it, at any size and angle, as a network sees it.

A *frame* is a 3 × 3 matrix that takes the (x, y, 1) of a pixel of the view to the (x, y, 1) of the image;
pixel centres are at integers, x to the right, y down.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LOCATOR_SIZE = (640, 512)
"""Height and width of the view that the locator gets."""

CROP_SIZE = (128, 128)
"""Height and width of the view that the refiner gets."""

CROP_SCALE = 8 / 15
"""Pixels of the locator's view in one of the refiner's: 2 pixels of an image of 2400 rows (0.2 mm on ISBI film)."""

_LEAST_RANGE = 0.08
"""Of the grey values in a crop; noise is not stretched further."""

# mean and deviation of grey in ImageNet, on which the encoder was pretrained
_MEAN, _DEVIATION = 0.45, 0.226


class Pyramid:
    """An image at halved sizes, so that a view of it is neither blocky nor full of moiré.

    Args:
        image: height × width, bone bright; any range.
        levels: how many sizes to keep.
    """

    def __init__(self, image: Tensor, levels: int = 4) -> None:
        self.height, self.width = int(image.shape[0]), int(image.shape[1])
        grey = normalized(image)
        self.levels = [grey]
        self.finest = 0
        while len(self.levels) < levels and min(self.levels[-1].shape) >= 64:
            self.levels.append(functional.avg_pool2d(self.levels[-1][None], 2)[0])

    def drop_full_size(self) -> None:
        """Keep the smaller sizes only, as bytes: what training needs of many images at once."""
        self.finest = 1
        self.levels = [torch.empty(0)] + [(level * 255).round().byte() for level in self.levels[1:]]

    def view(self, frame: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The part of the image that ``frame`` describes: height × width float32; what lies outside is 0."""
        pixel = math.sqrt(abs(np.linalg.det(frame[:2, :2])))
        level = min(max(round(math.log2(max(pixel, 1e-6))), self.finest), len(self.levels) - 1)
        source = self.levels[level]
        if source.dtype == torch.uint8:
            source = source.float() / 255
        # a pixel of this level covers 2^level pixels of the image
        step = 2**level
        to_level = np.array([[1 / step, 0, 0.5 / step - 0.5], [0, 1 / step, 0.5 / step - 0.5], [0, 0, 1]])
        matrix = to_level @ frame
        height, width = source.shape
        to_grid = np.array([[2 / (width - 1), 0, -1], [0, 2 / (height - 1), -1]]) @ np.vstack([matrix[:2], [0, 0, 1]])
        rows, columns = size
        x = torch.arange(columns, dtype=torch.float32)[None, :]
        y = torch.arange(rows, dtype=torch.float32)[:, None]
        a = to_grid.tolist()
        grid = torch.stack([a[0][0] * x + a[0][1] * y + a[0][2], a[1][0] * x + a[1][1] * y + a[1][2]], -1)
        seen = functional.grid_sample(
            source[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=True
        )
        return seen[0, 0]


def normalized(image: Tensor) -> Tensor:
    """0.5th to 99.8th percentile to 0..1: height × width float32, from any range."""
    values = image.float()
    sample = values[:: max(1, values.shape[0] // 256), :: max(1, values.shape[1] // 256)].flatten()
    low, high = torch.quantile(sample, torch.tensor([0.005, 0.998])).tolist()
    if high <= low:
        return torch.zeros_like(values)
    return ((values - low) / (high - low)).clamp(0, 1)


def locally_normalized(crop: Tensor) -> Tensor:
    """The contrast of a crop stretched to 0..1: inside the skull all of it may lie in a tenth of the range."""
    low, high = torch.quantile(crop.flatten(), torch.tensor([0.01, 0.99])).tolist()
    return (crop - low) / max(high - low, _LEAST_RANGE)


def standardized(view: Tensor) -> Tensor:
    """Grey in 0..1 → the numbers that a network pretrained on ImageNet expects."""
    return (view - _MEAN) / _DEVIATION


def whole_image(height: int, width: int, size: tuple[int, int] = LOCATOR_SIZE) -> np.ndarray:
    """The frame in which an image just fits into a view, centred."""
    rows, columns = size
    scale = max(height / rows, width / columns)
    return about((width - 1) / 2, (height - 1) / 2, scale, size)


def about(x: float, y: float, scale: float, size: tuple[int, int], angle: float = 0.0) -> np.ndarray:
    """The frame of a view centred on an image place.

    Args:
        scale: image pixels in a pixel of the view.
        angle: of the view against the image in radians, clockwise as seen.
    """
    rows, columns = size
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    turn = np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
    centre = np.array([[1, 0, -(columns - 1) / 2], [0, 1, -(rows - 1) / 2], [0, 0, 1]])
    return turn @ centre


def moved(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Points of a view → points of the image; n × 2 each."""
    return np.asarray(points @ frame[:2, :2].T + frame[:2, 2])


def moved_back(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Points of the image → points of a view; n × 2 each."""
    return moved(points, np.linalg.inv(frame))


def cell_centres(cells: np.ndarray, stride: int) -> np.ndarray:
    """Places on a heatmap (cells) → places on the view (pixels): a cell's centre is that of its pixels."""
    return np.asarray(cells * stride + (stride - 1) / 2)
