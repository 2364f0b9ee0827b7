"""How many true millimetres a unit of a cephalogram's space is; kept on its volume node, never in its geometry.

What a file says of its spacing is believed where it is a length in the patient (DICOM, NRRD, NIfTI) and where
a lateral cephalogram can have it. The resolution of a PNG, JPEG, TIFF or BMP is one of printing: it is no
calibration. Slicer turns it into a spacing all the same, and a saved scene keeps the image as NRRD; that the
spacing is none is therefore noted on the node as soon as the image is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MahtAILib.cephalometry.scale import why_unbelievable
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.flat_images import Plane
from MahtAILib.scene.study import INSTANCES_ATTRIBUTE
from MahtAILib.sequences.tags import tag

FACTOR_ATTRIBUTE = "MahtAI.MillimetresPerUnit"
SOURCE_ATTRIBUTE = "MahtAI.CalibrationSource"
RULER = "MahtAI ruler"

SQUARE_TOLERANCE = 0.01
"""Share by which the true sizes of a unit along both axes may differ."""

LARGEST_MAGNIFICATION = 2.0
"""A cephalogram is enlarged by 5 to 20 %."""

_OF_EITHER_PLANE = "It may be that of the detector: then lengths come out about 10 % too large."
_PRINTED = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")

_TAGS = {
    "PixelSpacing": "0028,0030",
    "PixelSpacingCalibrationType": "0028,0A02",
    "ImagerPixelSpacing": "0018,1164",
    "EstimatedRadiographicMagnificationFactor": "0018,1114",
    "NominalScannedPixelSpacing": "0018,2010",
}


class CalibrationError(ExplainedError):
    """A calibration that no cephalogram can have, or a ruler that is not there."""


@dataclass(frozen=True)
class Calibration:
    """What is known of an image's scale.

    Attributes:
        mm_per_unit: true millimetres a unit; None where the image is not calibrated.
        source: where that is from, or why there is none; a sentence for the reader.
    """

    mm_per_unit: float | None
    source: str


def calibration_of(node: Any) -> Calibration | None:
    """What is noted on an image; None if nothing was noted yet."""
    factor, source = node.GetAttribute(FACTOR_ATTRIBUTE), node.GetAttribute(SOURCE_ATTRIBUTE)
    if factor is None and source is None:
        return None
    try:
        value = float(factor or "nan")
    except ValueError:
        value = math.nan
    known = value if math.isfinite(value) and value > 0 else None
    return Calibration(known, source or "")


def note(node: Any, calibration: Calibration) -> None:
    """Keep a calibration with the image; its geometry stays as it is."""
    factor = "" if calibration.mm_per_unit is None else repr(calibration.mm_per_unit)
    if node.GetAttribute(FACTOR_ATTRIBUTE) != factor or node.GetAttribute(SOURCE_ATTRIBUTE) != calibration.source:
        node.SetAttribute(SOURCE_ATTRIBUTE, calibration.source)
        node.SetAttribute(FACTOR_ATTRIBUTE, factor)


def found(node: Any, plane: Plane, tag_reader: Callable[[str, str], str] | None = None) -> Calibration:
    """What the image's file says, as far as it can be believed.

    Args:
        tag_reader: (SOP instance UID, DICOM tag) → value, empty where it is not known.
    """
    instance = next(iter((node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()), "")
    if instance:
        read = tag_reader or (lambda uid, tag: "")
        return _of_tags({keyword: read(instance, tag) for keyword, tag in _TAGS.items()}, plane)
    storage = node.GetStorageNode()
    file = "" if storage is None else (storage.GetFileName() or "").lower()
    if file.endswith(_PRINTED):
        kind = file.rsplit(".", 1)[1].upper()
        return Calibration(None, f"A {kind} file does not say how large a pixel is in the patient.")
    across, down = plane.spacing
    if abs(across - down) < 1e-9 and abs(down - 1) < 1e-9:
        return Calibration(None, "The file does not say how large a pixel is (1 × 1 means that it is not known).")
    return _if_believable(down, plane, f"From the file: {down:.3g} mm a pixel.")


def typed(mm_per_pixel: float, plane: Plane) -> Calibration:
    """The reader typed the size of a pixel.

    Raises:
        CalibrationError: no cephalogram has it.
    """
    reason = why_unbelievable(mm_per_pixel, plane.height)
    if reason:
        raise CalibrationError(reason, "Check the number: 0.1 mm is usual. Nothing was changed.")
    return Calibration(mm_per_pixel / plane.spacing[1], f"Typed: {mm_per_pixel:.4g} mm a pixel.")


def by_ruler(line: Any, length_mm: float, plane: Plane) -> Calibration:
    """The reader drew a line of known length.

    Args:
        line: vtkMRMLMarkupsLineNode.

    Raises:
        CalibrationError: the line is not there or has no length, or no cephalogram has such pixels.
    """
    ends = ruler_ends(line, plane)
    if ends is None:
        raise CalibrationError("The ruler has no two ends yet.", "Click on both ends of a known length in the image.")
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if length < 10 * plane.spacing[1]:
        raise CalibrationError("The two ends of the ruler lie on one spot.", "Choose a length of at least 10 mm.")
    if not math.isfinite(length_mm) or length_mm <= 0:
        raise CalibrationError("The length of the ruler is missing.", "Type how many millimetres it is.")
    factor = length_mm / length
    reason = why_unbelievable(factor * plane.spacing[1], plane.height)
    if reason:
        raise CalibrationError(reason, "Check the two ends and the length that was typed. Nothing was changed.")
    return Calibration(factor, f"By a ruler of {length_mm:g} mm: {factor * plane.spacing[1]:.4g} mm a pixel.")


def ruler_ends(line: Any, plane: Plane) -> Any:
    """[2, 2]: both ends of the ruler in plane units; None while one is lacking."""
    if line is None or line.GetNumberOfDefinedControlPoints() < 2:
        return None
    ends = np.array([line.GetNthControlPointPositionWorld(index) for index in (0, 1)])
    return plane.units_of(ends) if np.isfinite(ends).all() else None


def _of_tags(tags: Mapping[str, str], plane: Plane) -> Calibration:
    spacing, imager, scanned = (
        _pair(tags, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    )
    magnification, disbelieved = _magnification(tags)
    calibrated = tag(tags, "PixelSpacingCalibrationType")
    if spacing is not None and (calibrated or (imager is not None and not np.allclose(spacing, imager, rtol=1e-4))):
        return _of_pair(spacing, plane, "(Pixel Spacing).")
    if imager is not None and magnification is not None:
        patient = (imager[0] / magnification, imager[1] / magnification)
        return _of_pair(
            patient, plane, f"in the patient: {imager[1]:.4g} at the detector, magnified {magnification:g}×."
        )
    if imager is not None:
        unknown = disbelieved or "The magnification is not known."
        words = "Lengths come out about a tenth too long; calibrate by the ruler in the image if there is one."
        return _of_pair(imager, plane, f"at the detector. {unknown} {words}")
    if spacing is not None:
        return _of_pair(
            spacing, plane, f"(Pixel Spacing). {_OF_EITHER_PLANE} {_not_applied(magnification, disbelieved)}"
        )
    if scanned is not None:
        return _of_pair(scanned, plane, "of the scanned film.")
    return Calibration(None, "The DICOM file does not say how large a pixel is.")


def _pair(tags: Mapping[str, str], keyword: str) -> tuple[float, float] | None:
    """Along I and J; DICOM gives the distance of rows first."""
    try:
        down, across = (float(value) for value in tag(tags, keyword).split("\\"))
    except ValueError:
        return None
    return (across, down) if all(0 < value < math.inf for value in (across, down)) else None


def _magnification(tags: Mapping[str, str]) -> tuple[float | None, str]:
    """The factor if it can be believed, and otherwise why not (empty where the file states none)."""
    try:
        value = float(tag(tags, "EstimatedRadiographicMagnificationFactor"))
    except ValueError:
        return None, ""
    if 1 <= value <= LARGEST_MAGNIFICATION:
        return value, ""
    return None, f"The magnification {value:g} that the file states is not believed (1 to 2 is) and was not applied."


def _not_applied(magnification: float | None, disbelieved: str) -> str:
    """What is said of a magnification where only Pixel Spacing is known."""
    if magnification is None:
        return disbelieved
    return (
        f"The magnification {magnification:g} that the file states was not applied, because it is not known which "
        "plane Pixel Spacing is of."
    )


def _of_pair(mm: tuple[float, float], plane: Plane, words: str) -> Calibration:
    """By the true size of a pixel along I and J; ``words`` say what it is the size of."""
    across, down = (size / spacing for size, spacing in zip(mm, plane.spacing, strict=True))
    if not math.isclose(across, down, rel_tol=SQUARE_TOLERANCE):
        return Calibration(
            None,
            f"DICOM: the pixels are not square ({mm[0]:.4g} × {mm[1]:.4g} mm), but are shown as if they were. "
            "Calibrate by the ruler in the image.",
        )
    return _if_believable(mm[1], plane, f"From DICOM: {mm[1]:.4g} mm a pixel {words}".strip())


def _if_believable(mm_per_pixel: float, plane: Plane, words: str) -> Calibration:
    reason = why_unbelievable(mm_per_pixel, plane.height)
    return Calibration(None, reason) if reason else Calibration(mm_per_pixel / plane.spacing[1], words)
