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
from MahtAILib.scene.sequence_tags import number, tag
from MahtAILib.scene.study import INSTANCES_ATTRIBUTE

FACTOR_ATTRIBUTE = "MahtAI.MillimetresPerUnit"
SOURCE_ATTRIBUTE = "MahtAI.CalibrationSource"
RULER = "MahtAI ruler"

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
    spacing, imager = number(tags, "PixelSpacing"), number(tags, "ImagerPixelSpacing")
    magnification = number(tags, "EstimatedRadiographicMagnificationFactor")
    corrected = tag(tags, "PixelSpacingCalibrationType") or spacing != imager
    if spacing is not None and corrected:
        return _if_believable(spacing, plane, f"From DICOM: {spacing:.4g} mm a pixel (Pixel Spacing).")
    if imager is not None and magnification is not None and 1 <= magnification <= 2:
        words = f"From DICOM: {imager:.4g} mm a pixel at the detector, magnified {magnification:.4g} times."
        return _if_believable(imager / magnification, plane, words)
    if imager is not None:
        words = (
            f"From DICOM: {imager:.4g} mm a pixel at the detector. The magnification is not known: "
            "lengths come out about a tenth too long; calibrate by the ruler in the image if there is one."
        )
        return _if_believable(imager, plane, words)
    scanned = number(tags, "NominalScannedPixelSpacing")
    if scanned is not None:
        return _if_believable(scanned, plane, f"From DICOM: {scanned:.4g} mm a pixel of the scanned film.")
    return Calibration(None, "The DICOM file does not say how large a pixel is.")


def _if_believable(mm_per_pixel: float, plane: Plane, words: str) -> Calibration:
    reason = why_unbelievable(mm_per_pixel, plane.height)
    return Calibration(None, reason) if reason else Calibration(mm_per_pixel / plane.spacing[1], words)
