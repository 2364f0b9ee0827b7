"""Whether points can be those of a head: a Gaussian model of their arrangement.

The arrangement is compared after moving, turning and scaling it onto the mean head (Procrustes), never
mirrored, so that a mirrored head is far from every head. T. F. Cootes et al., "Active Shape Models", 1995.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ShapeFit:
    """An arrangement compared with the model.

    Attributes:
        distance: squared Mahalanobis distance over its degrees of freedom: about 1 for a head.
        scale: units of the points in a millimetre of the mean head.
        angle: by which the head is turned against the mean head, radians, clockwise as seen (y down).
        landmark_distance: n, squared Mahalanobis distance of each point from where the others lead one to
            expect it; 2 degrees of freedom.
    """

    distance: float
    scale: float
    angle: float
    landmark_distance: np.ndarray


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Mean and covariance of heads.

    Attributes:
        mean: n × 2, x to the front and y down, in mm, centred.
        covariance: 2n × 2n in mm², of the points in the order x1 y1 x2 y2 ….
    """

    mean: np.ndarray
    covariance: np.ndarray

    @cached_property
    def _precision(self) -> np.ndarray:
        return np.linalg.inv(self.covariance)

    @classmethod
    def fitted(cls, heads: Sequence[np.ndarray], noise_mm: float = 1.0) -> ShapeModel:
        """Learn from heads in mm, n × 2 each.

        Args:
            noise_mm: standard deviation of the error of points that will be judged; it is added to that of the
                heads, whose points were placed by readers, and keeps the covariance invertible.
        """
        mean = heads[0] - heads[0].mean(0)
        size = float(np.mean([np.sqrt(((head - head.mean(0)) ** 2).sum()) for head in heads]))
        for _ in range(5):
            aligned = np.array([_onto(head, mean)[0] for head in heads])
            mean = aligned.mean(0)
            mean *= size / np.sqrt((mean**2).sum())
        flat = (aligned - mean).reshape(len(heads), -1)
        covariance = flat.T @ flat / (len(heads) - 1)
        return cls(mean, covariance + noise_mm**2 * np.eye(len(covariance)))

    def fit(self, points: np.ndarray) -> ShapeFit:
        """Compare n × 2 points (any units, y down) with the model; points on one spot are infinitely far."""
        if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1e-6:
            return ShapeFit(np.inf, np.nan, np.nan, np.full(len(self.mean), np.inf))
        aligned, rotation, scale = _onto(points, self.mean)
        difference = (aligned - self.mean).flatten()
        pull = self._precision @ difference
        blocks = [self._precision[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(len(points))]
        away = np.array([np.linalg.solve(block, pull[2 * i : 2 * i + 2]) for i, block in enumerate(blocks)])
        distances = np.array([float(step @ block @ step) for step, block in zip(away, blocks, strict=True)])
        angle = float(np.arctan2(rotation[0, 1], rotation[0, 0]))
        return ShapeFit(float(difference @ pull) / (len(difference) - 4), 1 / scale, angle, distances)

    def as_json(self) -> dict[str, Any]:
        """For the model's calibration file."""
        return {"mean_mm": self.mean.round(3).tolist(), "covariance_mm2": self.covariance.round(4).tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ShapeModel:
        """As :meth:`as_json` wrote it."""
        return cls(np.array(content["mean_mm"], float), np.array(content["covariance_mm2"], float))


def _onto(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares move, turn and scale of points onto a centred target (Umeyama 1991), without mirroring.

    Returns:
        The moved points, and rotation and scale, with moved = scale · (points − their mean) · rotationᵀ.
    """
    centre = points.mean(0)
    centred = points - centre
    left, values, right = np.linalg.svd(target.T @ centred)
    sign = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(sign) @ right
    scale = float((values * sign).sum() / (centred**2).sum())
    scale = scale if scale > 1e-9 else 1e-9
    return scale * centred @ rotation.T, rotation, scale
