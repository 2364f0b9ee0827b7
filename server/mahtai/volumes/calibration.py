"""How many true millimetres a unit of an image's physical space is, and how far that can be believed.

A calibration is a factor beside the image; it never changes the grid. What DICOM says of a pixel's size
in the patient, or the spacing of an NRRD or NIfTI file, is taken where a lateral cephalogram can have it.
The printing resolution (DPI) of a PNG, JPEG, TIFF or BMP is none: screens write 72 or 96, whatever was shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import StatedPixelSize, Volume, VolumeError, VolumeInfo
from MahtAILib.cephalometry.scale import why_unbelievable

SQUARE_TOLERANCE = 0.01
"""Share by which the true sizes of a unit along both axes may differ."""

_CALIBRATE = "Calibrate it by two points on the ruler, or give the size of a pixel in mm."
_PRINTED = ("png", "jpeg", "tiff", "bmp")


class CalibrationError(VolumeError):
    """A size of a pixel was given that no cephalogram has."""

    kind = "calibration"
    title = "The image cannot be calibrated like this"


@dataclass(frozen=True)
class Calibration:
    """What is known of an image's scale.

    Attributes:
        mm_per_unit: true millimetres a unit; None where the image is not calibrated.
        source: where that is from, or why there is none.
        warnings: for the reader.
    """

    mm_per_unit: float | None
    source: str
    warnings: tuple[str, ...] = ()


def calibrate(volume: Volume, wanted: str = "auto") -> Calibration:
    """The calibration of a 2-D image W × H × 1.

    Args:
        wanted: ``auto`` (what the file says, if it can be believed), ``unknown``, or true millimetres a unit.

    Raises:
        CalibrationError: the number is none, or no cephalogram has such pixels.
    """
    if wanted == "unknown":
        return Calibration(None, "not calibrated, as asked")
    if wanted != "auto":
        return _given(volume, wanted)
    stated = volume.pixel_size or _by_grid(volume)
    if stated.mm is None:
        return Calibration(None, stated.source, stated.warnings)
    across, down = (mm / spacing for mm, spacing in zip(stated.mm, volume.geometry.spacing_mm, strict=False))
    if not math.isclose(across, down, rel_tol=SQUARE_TOLERANCE):
        told = f"Its pixels are not square ({stated.mm[0]:.4g} × {stated.mm[1]:.4g} mm), but are shown as if they were."
        return _none(f"{stated.source}: pixels that are not square", told)
    doubt = _doubt(volume.geometry, down)
    if doubt:
        return _none(f"{stated.source}: not believed", doubt)
    return Calibration(down, stated.source, stated.warnings)


def mm_per_unit_of_pixel(image: Volume | VolumeInfo, mm_per_pixel: float) -> float:
    """True millimetres a unit, for a pixel of that height.

    Raises:
        CalibrationError: no cephalogram has such pixels.
    """
    return _believed(image.geometry, mm_per_pixel / image.geometry.spacing_mm[1])


def _given(volume: Volume, text: str) -> Calibration:
    try:
        factor = float(text)
    except ValueError as error:
        raise CalibrationError(f"{text[:30]!r} is no length in mm.", "Give a number such as 0.1.") from error
    return Calibration(_believed(volume.geometry, factor), "given by the reader")


def _believed(geometry: Geometry, mm_per_unit: float) -> float:
    if not 0 < mm_per_unit < math.inf:
        raise CalibrationError(f"{mm_per_unit:g} is no length in mm.", "Give a number such as 0.1.")
    doubt = _doubt(geometry, mm_per_unit)
    if doubt:
        raise CalibrationError(doubt, "Check the number: 0.1 mm a pixel is usual. Nothing was changed.")
    return mm_per_unit


def _by_grid(volume: Volume) -> StatedPixelSize:
    """What a file without attributes of a radiograph says by its spacing."""
    if volume.format in _PRINTED:
        return StatedPixelSize(None, f"a {volume.format.upper()} file does not say how large a pixel is in the patient")
    across, down, _ = volume.geometry.spacing_mm
    if across == down == 1:
        return StatedPixelSize(None, "a spacing of 1 × 1 means that none is known")
    return StatedPixelSize((across, down), "spacing of the volume")


def _none(source: str, doubt: str) -> Calibration:
    return Calibration(
        None, source, (f"The image is not calibrated. {doubt} {_CALIBRATE} Until then only angles and ratios hold.",)
    )


def _doubt(geometry: Geometry, mm_per_unit: float) -> str:
    """Why such a size is not to be believed; empty if it is."""
    across, down = (mm_per_unit * spacing for spacing in geometry.spacing_mm[:2])
    height = geometry.shape[1]
    return why_unbelievable(down, height) or why_unbelievable(across, round(height * down / across))
