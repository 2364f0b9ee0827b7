"""How large the pixels of a radiograph are in the patient, by its DICOM attributes (PS3.3 C.7.6.16.2.1, 10.7.1.3).

PixelSpacing is the size in the patient where PixelSpacingCalibrationType says so, or where it differs from
ImagerPixelSpacing. ImagerPixelSpacing is the size at the detector; divided by
EstimatedRadiographicMagnificationFactor it is that in the patient. NominalScannedPixelSpacing is that of
a film on a scanner. PixelSpacing alone may be of either plane.
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


_OF_EITHER_PLANE = (
    "The file does not say whether its PixelSpacing is that in the patient or that of the detector; "
    "if it is the detector's, lengths are about 10 % too large."
)


def stated_pixel_size(dataset: Dataset) -> StatedPixelSize:
    """What the attributes say; along I (columns) and J (rows)."""
    spacing, imager, scanned = (
        _pair(dataset, name) for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    )
    calibrated = str(dataset.get("PixelSpacingCalibrationType") or "").strip()
    magnification, disbelieved = _magnification(dataset)
    if spacing is not None and calibrated:
        return StatedPixelSize(spacing, f"PixelSpacing, calibrated ({calibrated})")
    if spacing is not None and imager is not None and not _same(spacing, imager):
        return StatedPixelSize(spacing, "PixelSpacing, corrected for magnification")
    if imager is not None and magnification is not None:
        across, down = (value / magnification for value in imager)
        return StatedPixelSize((across, down), f"ImagerPixelSpacing divided by the magnification {magnification:g}")
    if imager is not None:
        unknown = disbelieved or "The file does not say how much the patient is enlarged."
        return StatedPixelSize(imager, "ImagerPixelSpacing", (f"{unknown} With ImagerPixelSpacing {_ENLARGED}.",))
    if spacing is not None:
        return StatedPixelSize(spacing, "PixelSpacing", (_OF_EITHER_PLANE, *_not_applied(magnification, disbelieved)))
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


def _magnification(dataset: Dataset) -> tuple[float | None, str]:
    """The factor if it can be believed, and otherwise why not (empty where the file states none)."""
    try:
        value = float(dataset["EstimatedRadiographicMagnificationFactor"].value)
    except (KeyError, TypeError, ValueError):
        return None, ""
    if 1 <= value <= LARGEST_MAGNIFICATION:
        return value, ""
    return None, f"The magnification {value:g} that the file states is not believed (1 to 2 is) and was not applied."


def _not_applied(magnification: float | None, disbelieved: str) -> tuple[str, ...]:
    """What is said of a magnification where only PixelSpacing is known."""
    if magnification is None:
        return (disbelieved,) if disbelieved else ()
    return (
        f"The magnification {magnification:g} that the file states was not applied, because it is not known which "
        "plane PixelSpacing is of.",
    )


def _same(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(first, second, strict=True))
