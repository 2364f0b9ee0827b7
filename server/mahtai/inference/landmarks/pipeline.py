"""A cephalogram in, landmarks and measurements out: the way from one to the other, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mahtai.inference.landmarks.calibration import RAYLEIGH_90, Calibration, read_calibration
from mahtai.inference.landmarks.search import Head, HeadSearch, grey_image
from mahtai.inference.landmarks.stages import Found, Runner, fuse
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import Cancelled, LoadedModel
from mahtai.inference.segmentation import Stopwatch
from mahtai.inference.study import StudyError
from mahtai.models.landmark_bundle import LandmarkBundle
from mahtai.networks import MAHTNet
from mahtai.volumes.calibration import calibrate
from mahtai.volumes.volume import Volume
from MahtAILib.cephalometry import evaluate, to_json
from MahtAILib.client.markups import FARTHEST, LandmarkPoint

TOLERANCE_MM = 2.0
"""The error that orthodontists accept; a point's confidence is the probability of a smaller one."""

DOUBTFUL_CONFIDENCE = 0.5

JUST_DOUBTFUL = 0.49
"""The most that is said of a point that is doubtful for another reason than its radius."""


@dataclass(frozen=True)
class LandmarkResult:
    """What the pipeline found.

    Attributes:
        landmarks: in the order of the model's set; doubtful ones carry a flag.
        measurements: as :func:`MahtAILib.cephalometry.to_json` writes them.
        summary: as the API gives it.
    """

    landmarks: list[LandmarkPoint]
    measurements: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Placed:
    """Points with their uncertainty.

    Attributes:
        points: n × 2 pixels of the image.
        radius, expected_error: n, in square pixels, as high as those of the image.
        confidence: n.
        flags: n, why a point is doubtful.
    """

    points: np.ndarray
    radius: np.ndarray
    expected_error: np.ndarray
    confidence: np.ndarray
    flags: list[str]


def detect(
    volume: Volume,
    model: LoadedModel[LandmarkBundle],
    options: LandmarkOptions,
    report: Callable[[str, float], object],
    cancelled: Callable[[], bool],
) -> LandmarkResult:
    """Place the landmarks of a model's set in a 2-D volume W × H × 1, bone bright.

    Args:
        report: called with the stage's name and the fraction of it that is done.

    Raises:
        Cancelled: the reader no longer wants the result.
        CalibrationError: the option ``mm_per_unit`` is no size that a cephalogram's pixel has.
        BundleError: the model was never calibrated.
    """
    assert isinstance(model.network, MAHTNet)
    watch = Stopwatch()
    scale = calibrate(volume, options.mm_per_unit)
    limits = read_calibration(model.bundle)
    runner = Runner(model.network, model.device, model.precision)
    _check_place(volume)
    with watch.time("prepare"):
        report("preparing", 0.0)
        spacing = volume.geometry.spacing_mm
        search = HeadSearch(grey_image(volume.array), runner, limits, spacing[1] / spacing[0])
    with watch.time("locate"):
        report("finding landmarks", 0.2)
        head = search.best(options.orientation, cancelled)
    if cancelled():
        raise Cancelled
    with watch.time("refine"):
        report("refining landmarks", 0.6)
        refined = runner.refine(search.pyramid(head.inverted), head.found)
        found = _near_the_image(fuse(head.found, refined, limits.refiner_weight), volume)
    reasons = _reasons(search, head, volume)
    placed = _placed(found, search, head, limits, scale.mm_per_unit and scale.mm_per_unit * spacing[1])
    if reasons:
        placed = _all_doubtful(placed)
    with watch.time("measure"):
        landmarks = _landmark_points(placed, volume, model.bundle)
        measurements = _measured(placed, volume, model.bundle, scale.mm_per_unit, reasons)
    summary = {
        "task": model.bundle.task,
        "model": model.bundle.identity,
        "options": options.as_json(),
        "device": str(model.device),
        "precision": model.precision,
        "indeterminate": bool(reasons),
        "reasons": reasons,
        "warnings": [*volume.warnings, *scale.warnings, *_warnings(head)],
        "image": _image_summary(head, volume),
        "spacing": {"mm_per_unit": scale.mm_per_unit, "source": scale.source},
        "calibration": {"images": limits.images, "date": limits.date, "coverage": 0.9},
        "landmarks": _landmarks_summary(landmarks, placed),
        "geometry": volume.geometry.as_json(),
        "timings_s": watch.seconds,
    }
    return LandmarkResult(landmarks, measurements, summary)


def _image_summary(head: Head, volume: Volume) -> dict[str, Any]:
    """The size of the image, and how the head lies in it."""
    return {
        "width": volume.geometry.shape[0],
        "height": volume.geometry.shape[1],
        "facing": "left" if head.turn.mirrored else "right",
        "rotation_deg": head.turn.degrees,
        "mirrored": head.turn.mirrored,
        "inverted": head.inverted,
    }


def _landmarks_summary(landmarks: list[LandmarkPoint], placed: _Placed) -> dict[str, Any]:
    """Landmark id → where it lies, in pixels too, and how sure that is."""
    return {
        point.id: {
            "name": point.name,
            "pixel": pixel.round(2).tolist(),
            "position_lps": list(point.position or ()),
            "confidence": point.confidence,
            "radius": point.radius,
            "expected_error": point.expected_error,
            "flag": point.flag,
        }
        for point, pixel in zip(landmarks, placed.points, strict=True)
    }


def _check_place(volume: Volume) -> None:
    """Refuse a grid on which no file of points could say where they are.

    Raises:
        StudyError: it lies, or reaches, too far from the origin.
    """
    width, height, _ = volume.geometry.shape
    corners = volume.geometry.ijk_to_ras @ np.array([[-width, -height, 0, 1], [2 * width, 2 * height, 0, 1]]).T
    if not np.abs(corners[:3]).max() < FARTHEST:
        raise StudyError(
            "The image reaches farther from the origin of its space than any image does.",
            "Correct its spacing and origin (Slicer: Volumes module, Volume Information), then run again.",
        )


def _near_the_image(found: Found, volume: Volume) -> Found:
    """Points at most an image's size away from it: what was found farther off is no place, and flagged anyway."""
    size = np.array(volume.geometry.shape[:2], float)
    return replace(found, points=np.clip(found.points, -size, 2 * size))


def _reasons(search: HeadSearch, head: Head, volume: Volume) -> list[str]:
    """Why the whole result is indeterminate; empty if it is not."""
    if float(np.ptp(volume.array)) == 0:
        return ["The image is blank: all of it has one grey value."]
    doubts = list(search.doubts(head))
    if not doubts:
        return []
    return [*doubts, "It may be no lateral cephalogram, cropped, or turned in a way that was not recognized."]


def _warnings(head: Head) -> list[str]:
    found = []
    if head.turn.words():
        found.append(f"The image was taken as {head.turn.words()}; the points lie in it as it is shown.")
    if head.inverted:
        found.append("The image was taken as a negative (bone dark).")
    return found


def _placed(found: Found, search: HeadSearch, head: Head, limits: Calibration, mm_per_pixel: float | None) -> _Placed:
    """Radii by the calibration, confidences by the radii, flags by both, the image's border and the other points."""
    # errors were found in pixels of the image; make them those of square ones
    square = float(np.sqrt(abs(np.linalg.det(search.to_pixels))))
    expected = found.expected_error / square
    average = search.pixels_per_mm(head)
    radius = np.maximum(expected * limits.radius_factor, limits.least_radius_mm * average)
    radius_mm = radius * mm_per_pixel if mm_per_pixel else radius / average
    confidence = 1 - np.exp(-0.5 * (TOLERANCE_MM * RAYLEIGH_90 / radius_mm) ** 2)
    misfit = limits.shape.fit(search.square(found.points, head.turn)).landmark_distance
    image = search.image
    corner = np.array([image.width, image.height]) - 0.5
    inside = np.all((found.points >= -0.5) & (found.points <= corner), axis=1)
    flags = []
    for number in range(len(radius)):
        if not inside[number]:
            flags.append("It lies outside of the image.")
        elif not misfit[number] <= limits.largest_landmark_distance:
            flags.append("It lies where the other points do not lead one to expect it.")
        elif confidence[number] < DOUBTFUL_CONFIDENCE:
            flags.append(f"The model is not sure of it: it may be {radius_mm[number]:.1f} mm off.")
        else:
            flags.append("")
    doubtful = np.array([bool(flag) for flag in flags]) & ~(confidence < DOUBTFUL_CONFIDENCE)
    return _Placed(
        found.points, radius, expected, np.where(doubtful, np.minimum(confidence, JUST_DOUBTFUL), confidence), flags
    )


def _all_doubtful(placed: _Placed) -> _Placed:
    """The points of an image that was not understood: each keeps its own reason, or gets that one."""
    flags = [flag or "The whole result is indeterminate." for flag in placed.flags]
    return replace(placed, flags=flags, confidence=np.minimum(placed.confidence, JUST_DOUBTFUL))


def _landmark_points(placed: _Placed, volume: Volume, bundle: LandmarkBundle) -> list[LandmarkPoint]:
    unit = volume.geometry.spacing_mm[1]
    points = []
    for number, landmark in enumerate(bundle.landmarks.landmarks):
        x, y = placed.points[number]
        ras = volume.geometry.ijk_to_ras @ np.array([x, y, 0, 1])
        points.append(
            LandmarkPoint(
                id=landmark.id,
                name=landmark.name,
                position=(-float(ras[0]), -float(ras[1]), float(ras[2])),
                state="ai",
                confidence=round(float(placed.confidence[number]), 3),
                radius=round(float(placed.radius[number]) * unit, 4),
                expected_error=round(float(placed.expected_error[number]) * unit, 4),
                flag=placed.flags[number],
                description=landmark.definition,
            )
        )
    return points


def _measured(
    placed: _Placed, volume: Volume, bundle: LandmarkBundle, mm_per_unit: float | None, reasons: list[str]
) -> dict[str, Any]:
    """The measurements; those of an indeterminate image say so and fall into no class."""
    ids = bundle.landmarks.ids
    spacing = np.array(volume.geometry.spacing_mm[:2])
    points = dict(zip(ids, placed.points * spacing, strict=True))
    radii = dict(zip(ids, (placed.radius * spacing[1]).tolist(), strict=True))
    measured = to_json(evaluate(points, radii, mm_per_unit))
    if reasons:
        for entry in measured["measurements"]:
            entry |= {"classification": None, "possible_classes": []}
    return {"indeterminate": bool(reasons), "reasons": reasons, **measured}
