"""What is known of a model whose members each left out a fold: each image is judged by the one that never saw it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from scipy.stats import beta

from mahtai.inference.landmarks.calibration import Calibration
from mahtai.inference.landmarks.orientation import AS_SHOWN
from mahtai.inference.landmarks.sampling import moved_back
from mahtai.inference.landmarks.search import HeadSearch
from mahtai.inference.landmarks.shape import ShapeModel
from mahtai.inference.landmarks.stages import Found, Runner, fuse, scale_of
from mahtai.networks import MAHTNet
from mahtai.training.landmarks.dataset import PIXEL_MM, Cephalogram, read_grey

COVERAGE = 0.9

ASSURANCE = 0.9
"""Probability that the radii of one calibration keep what they promise, for images like those of the calibration."""

_WEIGHTS = np.linspace(0, 1, 11)
# limits lie this far beyond the worst that was seen on images that were understood
_MARGIN = 1.5
# chi-squared with 2 degrees of freedom, 99.9 %
_LEAST_LANDMARK_LIMIT = 13.8


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a member said of an image that it had not seen.

    Attributes:
        located, refined: of the two stages.
    """

    image: Cephalogram
    located: Found
    refined: Found

    def errors_mm(self, weight: np.ndarray) -> np.ndarray:
        """Radial errors against the mean of the readers with these weights of the refiner; n."""
        fused = fuse(self.located, self.refined, weight)
        return np.asarray(np.linalg.norm(fused.points - self.image.mean, axis=1) * PIXEL_MM)


def heads_in(images: Sequence[Cephalogram]) -> Calibration:
    """What can be said before any prediction: how heads are shaped, and how they lie in a view; no limits."""
    landmarks = len(images[0].mean)
    scales, centres = [], []
    for image in images:
        with Image.open(image.path) as file:
            width, height = file.size
        frame = AS_SHOWN.frame(height, width)
        scales.append(1 / (scale_of(frame) * PIXEL_MM))
        centres.append(moved_back(image.mean, frame).mean(0))
    return Calibration(
        refiner_weight=np.full(landmarks, 0.5),
        radius_factor=np.ones(landmarks),
        least_radius_mm=np.zeros(landmarks),
        largest_shape_distance=math.inf,
        largest_landmark_distance=math.inf,
        largest_expected_error_mm=math.inf,
        view_pixels_per_mm=float(np.mean(scales)),
        view_centre=np.mean(centres, axis=0),
        shape=ShapeModel.fitted([image.mean * PIXEL_MM for image in images]),
        images=0,
        date="",
        weights_sha256="",
    )


def held_out_predictions(
    network: MAHTNet,
    folds: Sequence[int],
    images: Sequence[Cephalogram],
    heads: Calibration,
    device: torch.device,
    on_progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> list[HeldOut]:
    """Ask each member for the images of the fold that it left out, the way in which readers are served.

    Args:
        heads: as :func:`heads_in` gives them.
    """
    found = []
    for number, fold in enumerate(folds):
        runner = Runner(network.alone(number).eval(), device, "fp32")
        for image in (one for one in images if one.fold == fold):
            search = HeadSearch(torch.from_numpy(read_grey(image.path).copy()), runner, heads, pixel_aspect=1.0)
            located = search.best("as shown", lambda: False).found
            found.append(HeldOut(image, located, runner.refine(search.image, located)))
            on_progress(number / len(folds), f"calibrating on {image.name}")
    return found


def best_weights(held_out: Sequence[HeldOut]) -> np.ndarray:
    """For each landmark the share of the refiner at which the mean error is least."""
    landmarks = len(held_out[0].located.points)
    errors = [np.mean([one.errors_mm(np.full(landmarks, weight)) for one in held_out], axis=0) for weight in _WEIGHTS]
    return np.asarray(_WEIGHTS[np.argmin(errors, axis=0)])


def conformal_quantile(scores: np.ndarray, coverage: float = COVERAGE, assurance: float = ASSURANCE) -> np.ndarray:
    """Split-conformal quantile of each column: what a new score stays below with that probability.

    The k-th smallest of m scores. The plain rule, k = ⌈(m + 1) · coverage⌉, holds on the average over calibration
    sets; with some 80 images every other set would give radii that are too small. Here k is the smallest one
    whose coverage, Beta(k, m + 1 − k), reaches the promise with the given assurance (V. Vovk, "Conditional validity
    of inductive conformal predictors", 2012; A. Angelopoulos and S. Bates, "A Gentle Introduction to
    Conformal Prediction", 2023, section 3.2).

    Raises:
        ValueError: too few scores for that promise.
    """
    count = len(scores)
    ranks = np.arange(1, count + 1)
    kept = np.flatnonzero(beta.sf(coverage, ranks, count + 1 - ranks) >= assurance)
    if not len(kept):
        raise ValueError(
            f"{count} images are too few for radii that hold {coverage:.0%} with an assurance of {assurance:.0%}"
        )
    return np.asarray(np.sort(scores, axis=0)[kept[0]])


def calibrate_members(held_out: Sequence[HeldOut], heads: Calibration, date: str, weights_sha256: str) -> Calibration:
    """All that the pipeline needs to know of the model.

    Args:
        heads: as :func:`heads_in` gives them.
        weights_sha256: of the weights that made the predictions.
    """
    weights = best_weights(held_out)
    fused = [fuse(one.located, one.refined, weights) for one in held_out]
    errors = np.array([one.errors_mm(weights) for one in held_out])
    expected = np.array([one.expected_error * PIXEL_MM for one in fused])
    located_fits = [heads.shape.fit(one.located.points) for one in held_out]
    misfits = [heads.shape.fit(one.points).landmark_distance for one in fused]
    blur = [float(np.median(one.located.expected_error)) * PIXEL_MM for one in held_out]
    return replace(
        heads,
        refiner_weight=weights,
        radius_factor=conformal_quantile(errors / expected),
        least_radius_mm=0.4 * conformal_quantile(errors),
        largest_shape_distance=_MARGIN * max(fit.distance for fit in located_fits),
        largest_landmark_distance=max(_LEAST_LANDMARK_LIMIT, float(np.quantile(misfits, 0.998))),
        largest_expected_error_mm=_MARGIN * max(blur),
        images=len(held_out),
        date=date,
        weights_sha256=weights_sha256,
    )
