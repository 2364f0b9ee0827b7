"""What the DICOM tags of a series say about its sequence: timing, contrast agent, kind of image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from MahtAILib.sequences.words import unaccented, vocabulary, words_of

TAGS = {
    "Modality": "0008,0060",
    "ImageType": "0008,0008",
    "AcquisitionTime": "0008,0032",
    "SeriesDescription": "0008,103E",
    "PatientID": "0010,0020",
    "ContrastBolusAgent": "0018,0010",
    "ScanningSequence": "0018,0020",
    "SequenceName": "0018,0024",
    "RepetitionTime": "0018,0080",
    "EchoTime": "0018,0081",
    "InversionTime": "0018,0082",
    "ProtocolName": "0018,1030",
    "StudyInstanceUID": "0020,000D",
    "SeriesNumber": "0020,0011",
}
"""What is read of a series: DICOM keyword → tag as ``gggg,eeee``."""


def tag(tags: Mapping[str, Any], keyword: str) -> str:
    """A tag's value as text without blanks round it, empty where it is lacking."""
    value = tags.get(keyword)
    if value is None:
        return ""
    return ("\\".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)).strip()


def number(tags: Mapping[str, Any], keyword: str) -> float | None:
    """The first value of a tag as a number; None where it is lacking, zero or no number."""
    try:
        value = float(tag(tags, keyword).split("\\")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def timing(tags: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The first timing rule of the vocabulary that fits, or None, and the times as the reader is shown them."""
    times = {
        "echo_ms": ("TE", number(tags, "EchoTime")),
        "repetition_ms": ("TR", number(tags, "RepetitionTime")),
        "inversion_ms": ("TI", number(tags, "InversionTime")),
    }
    scanning = set(tag(tags, "ScanningSequence").upper().replace(" ", "").split("\\"))
    shown = ", ".join(f"{name} {value:g} ms" for name, value in times.values() if value is not None)
    for rule in vocabulary()["timing"]:
        kind = rule.get("scanning", {})
        fits = scanning & set(kind.get("has", scanning)) and not scanning & set(kind.get("lacks", ()))
        if fits and all(_within(times[key][1], rule[key]) for key in times if key in rule):
            return rule, shown or "no times are given, only the kind of sequence"
    return None, shown


def not_a_plain_image(tags: Mapping[str, Any]) -> str:
    """Why these tags are not those of a plain MR image; else empty."""
    modality = tag(tags, "Modality").upper()
    if modality not in ("", "MR"):
        return f"its modality is {modality}, not MR"
    kinds = vocabulary()["image_type"]
    for value in map(str.strip, tag(tags, "ImageType").upper().split("\\")):
        if value in kinds:
            return f"its DICOM image type ({value}) is that of {kinds[value]}"
    return ""


def contrast_agent(tags: Mapping[str, Any]) -> bool | None:
    """Whether a contrast agent is named; None where the tag is lacking or empty, False where it says: none."""
    words = " ".join(words_of(tag(tags, "ContrastBolusAgent")))
    return words not in map(unaccented, vocabulary()["no_agent"]) if words else None


def _within(value: float | None, limits: list[float] | None) -> bool:
    if limits is None:
        return value is None
    return value is not None and limits[0] <= value <= limits[1]
