"""How large the pixels of a radiograph are in the patient, by its DICOM attributes (PS3.3 C.7.6.16.2.1, 10.7.1.3).

PixelSpacing is the size in the patient where PixelSpacingCalibrationType says so, or where it differs from
ImagerPixelSpacing. ImagerPixelSpacing is the size at the detector; divided by
EstimatedRadiographicMagnificationFactor it is that in the patient. NominalScannedPixelSpacing is that of
a film on a scanner.
"""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

from mahtai.volumes.volume import StatedPixelSize

PIXEL_SIZE_ATTRIBUTES = (
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "NominalScannedPixelSpacing",
)

LARGEST_MAGNIFICATION = 2.0
"""A cephalogram is enlarged by 5 to 20 %."""

_ENLARGED = "lengths are those on the detector or film, about 10 % larger than in the patient"


def stated_pixel_size(dataset: Dataset) -> StatedPixelSize:
    """What the attributes say; along I (columns) and J (rows)."""
    spacing, imager, scanned = (
        _pair(dataset, name) for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    )
    calibrated = str(dataset.get("PixelSpacingCalibrationType") or "").strip()
    magnification = _magnification(dataset)
    if spacing is not None and calibrated:
        return StatedPixelSize(spacing, f"PixelSpacing, calibrated ({calibrated})")
    if spacing is not None and imager is not None and not _same(spacing, imager):
        return StatedPixelSize(spacing, "PixelSpacing, corrected for magnification")
    detector = imager or spacing
    name = "ImagerPixelSpacing" if imager is not None else "PixelSpacing"
    if detector is not None and magnification is not None and imager is not None:
        across, down = (value / magnification for value in detector)
        return StatedPixelSize((across, down), f"{name} divided by the magnification {magnification:g}")
    if detector is not None:
        told = (f"The file does not say how much the patient is enlarged ({name}): {_ENLARGED}.",)
        return StatedPixelSize(detector, name, told if imager is not None else ())
    if scanned is not None:
        return StatedPixelSize(scanned, "NominalScannedPixelSpacing", (f"The image is a scanned film: {_ENLARGED}.",))
    unusable = [name for name in PIXEL_SIZE_ATTRIBUTES[::2] if dataset.get(name) not in (None, "")]
    if unusable:
        return StatedPixelSize(None, f"{unusable[0]} of the file is no length")
    return StatedPixelSize(None, "the file states no pixel spacing")


def _pair(dataset: Dataset, name: str) -> tuple[float, float] | None:
    """Along I and J; DICOM gives the distance of rows first."""
    try:
        down, across = (float(value) for value in dataset[name].value)
    except (KeyError, TypeError, ValueError):
        return None
    return (across, down) if all(0 < value < math.inf for value in (across, down)) else None


def _magnification(dataset: Dataset) -> float | None:
    try:
        value = float(dataset["EstimatedRadiographicMagnificationFactor"].value)
    except (KeyError, TypeError, ValueError):
        return None
    return value if 1 <= value <= LARGEST_MAGNIFICATION else None


def _same(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(first, second, strict=True))
