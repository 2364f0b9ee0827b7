"""Which DICOM objects cannot be made safe by changing attributes, and why."""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import UID, AllTransferSyntaxes, DeflatedExplicitVRLittleEndian

_CLASSES = "1.2.840.10008.5.1.4.1.1."
_REFUSED = {
    "1.2.840.10008.1.3.10": "a directory of files (DICOMDIR), which is not needed",
    f"{_CLASSES}88.": "a structured report: its content is free text",
    f"{_CLASSES}104.": "an encapsulated document (PDF, CDA, model), which cannot be looked into",
    f"{_CLASSES}11.": "a presentation state: its annotations are free text",
    f"{_CLASSES}9.": "a waveform or a voice recording",
    f"{_CLASSES}66": "raw data of a maker, which cannot be looked into",
    f"{_CLASSES}77.1.1.1": "a video",
    f"{_CLASSES}77.1.2.1": "a video",
    f"{_CLASSES}77.1.4": "a video or a picture of a person",
}
_NOT_REFUSED = (f"{_CLASSES}66.",)
"""Segmentations, registrations and fiducials, whose numbers begin as raw data's does."""

_VIDEO = ("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")
_OFTEN_BURNED_IN = {"US", "IVUS", "ES", "XC", "GM", "SM", "OT", "SC", "DOC", "OP"}
_SCREEN = ("SCREEN", "REPORT", "PROTOCOL", "SCANNED")
_CAPTURES = f"{_CLASSES}7"


class Refused(ValueError):
    """An object that cannot be made safe; the message says why and names no value."""


def why_refused(dataset: Dataset, transfer_syntax: str) -> str:
    """Why an object is put aside; empty where it can be made safe."""
    sop_class = str(dataset.get("SOPClassUID", ""))
    if not sop_class:
        return "it does not say what it is (no SOP class)"
    for beginning, reason in _REFUSED.items():
        if sop_class.startswith(beginning) and not sop_class.startswith(_NOT_REFUSED):
            return reason
    if sop_class not in UID_dictionary:
        return "of a private kind (SOP class), which cannot be looked into"
    if transfer_syntax.startswith(_VIDEO):
        return "a video"
    if UID(transfer_syntax) not in AllTransferSyntaxes or transfer_syntax == DeflatedExplicitVRLittleEndian:
        return "its transfer syntax is private or packs the whole file"
    return _burned_in(dataset, sop_class) or _drawn_in(dataset)


def _burned_in(dataset: Dataset, sop_class: str) -> str:
    """Clean Pixel Data is not done: where text may be drawn into the image, nothing goes out."""
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if said == "YES":
        return "it says that text is burned into its pixels"
    if "Rows" not in dataset or said == "NO":
        return ""
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality in _OFTEN_BURNED_IN:
        return f"text may be burned into its pixels ({modality} that does not say NO in Burned In Annotation)"
    if sop_class == _CAPTURES or sop_class.startswith(f"{_CAPTURES}."):
        return "text may be burned into its pixels (a secondary capture)"
    kind = str(dataset.get("ImageType") or "").upper()
    if any(word in kind for word in _SCREEN):
        return "text may be burned into its pixels (a picture of a screen or report)"
    if modality in {"CT", "MR"} and dataset.get("SamplesPerPixel") == 3:
        return "text may be burned into its pixels (a CT or MR in colour)"
    return ""


def _drawn_in(dataset: Dataset) -> str:
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and position.value not in (None, 0, ""):
            return "an overlay lies in unused bits of its pixels"
    return ""
