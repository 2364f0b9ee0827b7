"""What was measured of a model on images that it had not seen: its radii, its weights, the shapes of heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mahtai.inference.landmarks.shape import ShapeModel
from mahtai.models.checksums import file_sha256
from mahtai.models.config import BundleError
from mahtai.models.landmark_bundle import CALIBRATION_FILE, LandmarkBundle

RAYLEIGH_90 = float(np.sqrt(2 * np.log(10)))
"""Radius of the 90 % circle of a round Gaussian, in its standard deviations."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Read from a bundle's ``configs/calibration.json``.

    Attributes:
        refiner_weight: n, share of the second stage in the answer.
        radius_factor: n, 90 % radius over expected radial error (split-conformal).
        least_radius_mm: n, below which no radius goes, at the size of an average head.
        largest_shape_distance: above which an arrangement is no head's.
        largest_landmark_distance: above which one point does not fit the others.
        largest_expected_error_mm: median over the landmarks above which the image is not understood.
        view_pixels_per_mm: of the locator's view, of the mean head, in training.
        view_centre: x and y of the mean of the points in the locator's view, in training.
        images, date: how many images the radii were measured on, and when.
        weights_sha256: of the weights that were measured.
    """

    refiner_weight: np.ndarray
    radius_factor: np.ndarray
    least_radius_mm: np.ndarray
    largest_shape_distance: float
    largest_landmark_distance: float
    largest_expected_error_mm: float
    view_pixels_per_mm: float
    view_centre: np.ndarray
    shape: ShapeModel
    images: int
    date: str
    weights_sha256: str

    def as_json(self) -> dict[str, Any]:
        """For the bundle."""
        return {
            "comment": "Written by `mahtai train`. Measured on training images that the members had not seen "
            "(split-conformal 90 % radii); a site with other images should measure its own.",
            "images": self.images,
            "date": self.date,
            "weights_sha256": self.weights_sha256,
            "refiner_weight": self.refiner_weight.round(3).tolist(),
            "radius_factor": self.radius_factor.round(4).tolist(),
            "least_radius_mm": self.least_radius_mm.round(3).tolist(),
            "largest_shape_distance": round(self.largest_shape_distance, 3),
            "largest_landmark_distance": round(self.largest_landmark_distance, 3),
            "largest_expected_error_mm": round(self.largest_expected_error_mm, 3),
            "view_pixels_per_mm": round(self.view_pixels_per_mm, 4),
            "view_centre": self.view_centre.round(2).tolist(),
            "shape": self.shape.as_json(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibration:
        """As :meth:`as_json` wrote it."""
        names = ("refiner_weight", "radius_factor", "least_radius_mm", "view_centre")
        vectors = {name: np.array(content[name], float) for name in names}
        return cls(
            **vectors,
            largest_shape_distance=float(content["largest_shape_distance"]),
            largest_landmark_distance=float(content["largest_landmark_distance"]),
            largest_expected_error_mm=float(content["largest_expected_error_mm"]),
            view_pixels_per_mm=float(content["view_pixels_per_mm"]),
            shape=ShapeModel.from_json(content["shape"]),
            images=int(content["images"]),
            date=str(content["date"]),
            weights_sha256=str(content["weights_sha256"]),
        )


@lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int) -> Calibration:
    try:
        return Calibration.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"The calibration of {path.parent.parent.name} cannot be read: {error}.", "Get the model again."
        ) from error


def read_calibration(bundle: LandmarkBundle) -> Calibration:
    """Of a bundle with weights.

    Raises:
        BundleError: there is none, or it is not of these weights; points without a measured radius are not given out.
    """
    path = bundle.folder / CALIBRATION_FILE
    if not path.is_file():
        raise BundleError(
            f"The model {bundle.id} has no calibration: nobody measured how far its points can be trusted.",
            "Train it with `mahtai train`, which measures it, or get the model again.",
        )
    calibration = _read(path, path.stat().st_mtime_ns)
    fits = len(calibration.radius_factor) == len(calibration.shape.mean) == len(bundle.landmarks.ids)
    if not fits or calibration.weights_sha256 != file_sha256(bundle.require_weights()):
        raise BundleError(
            f"The calibration of {bundle.id} was measured on other weights; its radii would be wrong for these.",
            "Run `mahtai train` to its end, which measures them anew, or get the model again.",
        )
    return calibration
