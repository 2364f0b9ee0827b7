"""``mahtai landmarks``: one cephalogram from files to files, without a server."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError
from mahtai.in_process import OutputError, check_different, check_output, find_bundle, inference, written_whole
from mahtai.volumes.calibration import CalibrationError, mm_per_unit_of_pixel
from mahtai.volumes.formats import describe, read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.landmark_file import SUFFIX, LandmarkFile, LandmarkFileError, decode_landmarks
from mahtai.volumes.volume import VolumeInfo
from MahtAILib.client.markups import LandmarkPoint

CHANNEL = "ceph"

_OTHER_NAME = "Choose another name for -o, or say --again to write over it. Nothing was changed."

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
    again: bool = False,
) -> Landmarks:
    """Place landmarks in an image and write ``output`` (.mrk.json).

    Args:
        spacing: size of a pixel in mm, ``unknown``, or ``auto`` for what the file says.
        tracing: PNG of the tracing. measurements: JSON of all measurements.
        again: write over points that a reader moved, confirmed or placed.

    Raises:
        MahtaiError: the image, the model, the device, the spacing or an output cannot be used.
    """
    outputs = {"-o": output, "--tracing": tracing, "--measurements": measurements}
    wanted = {name: path for name, path in outputs.items() if path is not None}
    check_different({"The image": image, **wanted})
    if not output.name.endswith(SUFFIX):
        raise OutputError(f"{output.name} does not end in {SUFFIX}.", "Slicer knows a list of points by that ending.")
    if tracing is not None and tracing.suffix.lower() != ".png":
        raise OutputError(f"{tracing.name} does not end in .png.", "The tracing is written as PNG.")
    bundle = find_bundle(model)
    if bundle.kind != "landmarks":
        raise OutputError(f"The model {bundle.id} segments; it places no landmarks.", "Use `mahtai segment`.")
    info = describe(image)
    # the spacing is looked at first: the folders of outputs are made when they are checked
    options = {"mm_per_unit": _mm_per_unit(spacing, info)}
    for path in wanted.values():
        check_output(path)
    if not again:
        _check_no_work_is_lost(output)
    with inference({CHANNEL: image}, bundle, device, options, output) as found:
        file = decode_landmarks(Path(found.files["landmarks"]).read_bytes())
        _move(found.files["landmarks"], output)
        if measurements is not None:
            with _points_are_kept("measurements", output):
                _move(found.files["measurements"], measurements)
    made = Landmarks(file, info.geometry, found.summary)
    if tracing is not None:
        with _points_are_kept("tracing", output):
            _draw(tracing, image, made)
    return made


def _check_no_work_is_lost(output: Path) -> None:
    """Refuse to write over anything but a plain result of a model.

    Raises:
        OutputError: a reader worked on the points that are there, or they cannot be read.
    """
    try:
        data = output.read_bytes()
        seen = sum(point.state not in ("ai", "missing") for point in decode_landmarks(data).points) if data else 0
    except FileNotFoundError:
        return
    except (OSError, LandmarkFileError) as error:
        raise OutputError(
            f"{output} is there, and it is no list of landmarks that can be read.", _OTHER_NAME
        ) from error
    if seen:
        raise OutputError(
            f"{output} holds {seen} points that a reader moved, confirmed or placed; they would be lost.", _OTHER_NAME
        )


@contextmanager
def _points_are_kept(what: str, output: Path) -> Iterator[None]:
    """Whatever goes wrong with a file that is made after the points, the reader is told that they are there."""
    try:
        yield
    except Exception as error:
        said = error.reason if isinstance(error, MahtaiError) else str(error).partition("\n")[0][:200]
        raise OutputError(
            f"The {what} could not be written: {said or type(error).__name__}",
            f"The points were kept: they are in {output}. Run again with another name for the {what}.",
        ) from error


def _move(made: str, output: Path) -> None:
    """Put a file of the model's work where the reader wants it; it may be on another disk."""
    with written_whole(output) as part:
        shutil.copyfile(made, part)


def _draw(tracing: Path, image: Path, made: Landmarks) -> None:
    from mahtai.pictures.tracing import tracing_picture  # matplotlib takes a moment to load

    array = read_volume(image).array[:, :, 0]
    with written_whole(tracing) as part:
        tracing_picture(part, array, made.geometry, made.file.points, caption(made))


def _mm_per_unit(spacing: str, info: VolumeInfo) -> str:
    """The option that a size of a pixel comes to."""
    if spacing.strip().lower() in ("auto", "unknown"):
        return spacing.strip().lower()
    try:
        mm_per_pixel = float(spacing)
    except ValueError as error:
        hint = "Give the size of a pixel in mm, such as 0.1, or `unknown`."
        if re.fullmatch(r"\s*\d*,\d+\s*", spacing):
            hint = f"Write it with a decimal point: {spacing.strip().replace(',', '.')[:30]}"
        raise CalibrationError(f"The spacing {spacing[:30]!r} is no number.", hint) from error
    return repr(mm_per_unit_of_pixel(info, mm_per_pixel))


def caption(made: Landmarks) -> list[str]:
    """What stands below a picture of it."""
    model = made.summary["model"]
    lines = [f"Unreviewed proposal of {model['id']} {model['version']}, not for diagnosis"]
    circles = "circles hold the true point in 90 % of cases"
    if made.summary["indeterminate"]:
        lines = ["INDETERMINATE: not to be used", *made.summary["reasons"]]
        circles = "the circles promise nothing on this image"
    scale = made.summary["spacing"]
    calibrated = "calibrated" if scale["mm_per_unit"] else "not calibrated: angles and ratios only"
    lines.append(f"{calibrated} ({scale['source']}); {circles}")
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
