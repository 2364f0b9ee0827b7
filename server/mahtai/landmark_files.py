"""``mahtai landmarks``: one cephalogram from files to files, without a server."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahtai.in_process import OutputError, find_bundle, inference
from mahtai.volumes.calibration import CalibrationError, mm_per_unit_of_pixel
from mahtai.volumes.formats import describe, read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.landmark_file import SUFFIX, LandmarkFile, decode_landmarks
from mahtai.volumes.volume import VolumeInfo
from MahtAILib.client.markups import LandmarkPoint

CHANNEL = "ceph"

_LINE = 120
"""Characters that fit below a picture."""


@dataclass(frozen=True)
class Landmarks:
    """What came of an image.

    Attributes:
        file: what was written.
        geometry: of the image.
        summary: as the server gives it.
    """

    file: LandmarkFile
    geometry: Geometry
    summary: dict[str, Any]


def landmark_files(
    image: Path,
    output: Path,
    model: str,
    device: str,
    spacing: str = "auto",
    tracing: Path | None = None,
    measurements: Path | None = None,
) -> Landmarks:
    """Place landmarks in an image and write ``output`` (.mrk.json).

    Args:
        spacing: size of a pixel in mm, ``unknown``, or ``auto`` for what the file says.
        tracing: PNG of the tracing. measurements: JSON of all measurements.

    Raises:
        MahtaiError: the image, the model, the spacing or the output cannot be used.
    """
    if not output.name.endswith(SUFFIX):
        raise OutputError(f"{output.name} does not end in {SUFFIX}.", "Slicer knows a list of points by that ending.")
    if tracing is not None and tracing.suffix.lower() != ".png":
        raise OutputError(f"{tracing.name} does not end in .png.", "The tracing is written as PNG.")
    bundle = find_bundle(model)
    if bundle.kind != "landmarks":
        raise OutputError(f"The model {bundle.id} segments; it places no landmarks.", "Use `mahtai segment`.")
    info = describe(image)
    options = {"mm_per_unit": _mm_per_unit(spacing, info)}
    with inference({CHANNEL: image}, bundle, device, options, output) as found:
        file = decode_landmarks(Path(found.files["landmarks"]).read_bytes())
        os.replace(found.files["landmarks"], output)
        if measurements is not None:
            measurements.parent.mkdir(parents=True, exist_ok=True)
            measurements.write_bytes(Path(found.files["measurements"]).read_bytes())
    made = Landmarks(file, info.geometry, found.summary)
    if tracing is not None:
        from mahtai.pictures.tracing import tracing_picture  # matplotlib takes a moment to load

        tracing.parent.mkdir(parents=True, exist_ok=True)
        tracing_picture(tracing, read_volume(image).array[:, :, 0], info.geometry, file.points, caption(made))
    return made


def _mm_per_unit(spacing: str, info: VolumeInfo) -> str:
    """The option that a size of a pixel comes to."""
    if spacing in ("auto", "unknown"):
        return spacing
    try:
        mm_per_pixel = float(spacing)
    except ValueError as error:
        raise CalibrationError(
            f"The spacing {spacing[:30]!r} is no number.", "Give the size of a pixel in mm, such as 0.1, or `unknown`."
        ) from error
    return repr(mm_per_unit_of_pixel(info, mm_per_pixel))


def caption(made: Landmarks) -> list[str]:
    """What stands below a picture of it."""
    model = made.summary["model"]
    lines = [f"Unreviewed proposal of {model['id']} {model['version']}, not for diagnosis"]
    if made.summary["indeterminate"]:
        lines = ["INDETERMINATE: not to be used", *made.summary["reasons"]]
    scale = made.summary["spacing"]
    calibrated = "calibrated" if scale["mm_per_unit"] else "not calibrated: angles and ratios only"
    lines.append(f"{calibrated} ({scale['source']}); circles hold the true point in 90 % of cases")
    return [part for line in lines for part in textwrap.wrap(line, _LINE)]


def table(made: Landmarks) -> list[str]:
    """Landmark, confidence and radius in plain words, the doubtful ones with the reason."""
    scale, unit = made.file.mm_per_unit, "mm"
    if scale is None:
        scale, unit = 1 / made.geometry.spacing_mm[1], "px"
    rows = [f"{'landmark':32}{'confidence':>10}{'90 % radius':>14}"]
    return rows + [_row(point, scale, unit) for point in made.file.points]


def _row(point: LandmarkPoint, scale: float, unit: str) -> str:
    name = f"{point.id:5}{point.name}"
    if point.position is None:
        return f"{name:32}{'missing':>10}"
    confidence = "-" if point.confidence is None else f"{point.confidence:.2f}"
    radius = "-" if point.radius is None else f"{scale * point.radius:.1f} {unit}"
    return f"{name[:31]:32}{confidence:>10}{radius:>14}{'   ' + point.flag if point.flag else ''}"
