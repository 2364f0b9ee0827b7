"""The two looks at an image: the locator at all of it, the refiner at a crop round each landmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mahtai.inference.landmarks.decoding import decode
from mahtai.inference.landmarks.sampling import (
    CROP_SCALE,
    CROP_SIZE,
    LOCATOR_SIZE,
    Pyramid,
    locally_normalized,
    moved,
    standardized,
)
from mahtai.networks import MAHTNet
from mahtai.networks.maht_net import LOCATOR_STRIDE, REFINER_STRIDE

LOCATOR_REACH = 2
"""Cells of the locator's heatmap on each side of the highest one."""

REFINER_REACH = 7
"""The same on the refiner's finer heatmap."""


@dataclass(frozen=True)
class Found:
    """Landmarks in the image as it is stored.

    Attributes:
        points: n × 2, x and y in pixels.
        expected_error: n, in pixels.
        frame: of the view in which they were looked for.
    """

    points: np.ndarray
    expected_error: np.ndarray
    frame: np.ndarray

    @property
    def pixel(self) -> float:
        """Image pixels in a pixel of the locator's view."""
        return scale_of(self.frame)


@dataclass(frozen=True)
class Runner:
    """A network on its device, in the number format that suits it.

    Attributes:
        members: how many of the ensemble are asked; None for all.
    """

    network: MAHTNet
    device: torch.device
    precision: str
    members: int | None = None

    def _run(self, stage: str, *inputs: Tensor) -> Tensor:
        on_device = [
            part.to(self.device).contiguous(memory_format=torch.channels_last)
            if part.ndim == 4
            else part.to(self.device)
            for part in inputs
        ]
        enabled = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            return getattr(self.network, stage)(*on_device, members=self.members).float()

    def locate(self, image: Pyramid, frame: np.ndarray) -> Found:
        """First stage, in the view of the whole head that ``frame`` describes."""
        view = standardized(image.view(frame, LOCATOR_SIZE))
        found = decode(self._run("locate", view[None, None])[0], LOCATOR_STRIDE, LOCATOR_REACH)
        return Found(moved(found.points, frame), found.expected_error * scale_of(frame), frame)

    def refine(self, image: Pyramid, located: Found) -> Found:
        """Second stage, a crop round each landmark, turned as the first stage's view was."""
        linear = located.frame[:2, :2] * CROP_SCALE
        centre = np.array([CROP_SIZE[1] - 1, CROP_SIZE[0] - 1]) / 2
        frames = []
        for point in located.points:
            frame = np.eye(3)
            frame[:2, :2] = linear
            frame[:2, 2] = point - linear @ centre
            frames.append(frame)
        crops = torch.stack([standardized(locally_normalized(image.view(frame, CROP_SIZE))) for frame in frames])
        maps = self._run("refine", crops[:, None], torch.arange(len(frames)))
        found = decode(maps, REFINER_STRIDE, REFINER_REACH)
        points = [moved(place[None], frame)[0] for place, frame in zip(found.points, frames, strict=True)]
        return Found(np.array(points), found.expected_error * scale_of(frames[0]), located.frame)


def fuse(located: Found, refined: Found, refiner_weight: np.ndarray) -> Found:
    """Both looks together: they err in different ways, so that their mean errs less.

    Args:
        refiner_weight: n, 0..1, measured for each landmark on held-out images.
    """
    weight = refiner_weight[:, None]
    points = weight * refined.points + (1 - weight) * located.points
    error = refiner_weight * refined.expected_error + (1 - refiner_weight) * located.expected_error
    apart = np.linalg.norm(refined.points - located.points, axis=1)
    # two answers that lie apart are a doubt that neither heatmap shows: the deviation of a mixture of the two
    return Found(points, np.hypot(error, apart * np.sqrt(refiner_weight * (1 - refiner_weight))), located.frame)


def scale_of(frame: np.ndarray) -> float:
    """Image pixels in a pixel of the view."""
    return float(np.sqrt(abs(np.linalg.det(frame[:2, :2]))))
