"""What a segment is: its name, label value, colour and standard codes, read from ``terminology.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TERMINOLOGY_FILE = Path(__file__).with_name("terminology.json")


@dataclass(frozen=True)
class Code:
    """A coded concept as DICOM writes it: coding scheme (SCT, NCIt, DCM), code value and meaning."""

    scheme: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"

    @classmethod
    def from_json(cls, triple: Sequence[str]) -> Code:
        """From ``[scheme, value, meaning]``."""
        scheme, value, meaning = triple
        return cls(str(scheme), str(value), str(meaning))


@dataclass(frozen=True)
class SegmentDescription:
    """One segment of a segmentation.

    Attributes:
        id: short and stable; programs key on it, never on the label value, which Slicer renumbers on save.
        name: for the reader.
        label_value: voxel value in the labelmap, 1..255.
        color_rgb: 0..255 each.
        category: property category code; None where nothing is known of the segment.
        type: property type code.
        region: anatomic region code.
    """

    id: str
    name: str
    label_value: int
    color_rgb: tuple[int, int, int]
    category: Code | None = None
    type: Code | None = None
    region: Code | None = None

    @classmethod
    def from_json(cls, item: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> SegmentDescription:
        """From an entry of ``terminology.json`` or of a bundle's ``mahtai.labels``.

        Raises:
            KeyError, TypeError, ValueError: the entry lacks a key or a value has the wrong form.
        """
        merged = {**(defaults or {}), **item}
        codes = {
            key: Code.from_json(merged[key]) if merged.get(key) else None for key in ("category", "type", "region")
        }
        red, green, blue = (int(value) for value in merged["color_rgb"])
        return cls(
            id=str(merged["id"]),
            name=str(merged["name"]),
            label_value=int(merged["label_value"]),
            color_rgb=(red, green, blue),
            **codes,
        )

    def as_json(self) -> dict[str, Any]:
        """For the API; codes as ``{"scheme", "value", "meaning"}``."""
        codes = {"category": self.category, "type": self.type, "region": self.region}
        return {
            "id": self.id,
            "name": self.name,
            "label_value": self.label_value,
            "color_rgb": list(self.color_rgb),
            "codes": {
                key: {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}
                for key, code in codes.items()
                if code is not None
            },
        }


@dataclass(frozen=True)
class SegmentGroup:
    """Several segments that are reported as one, such as the whole tumour.

    Attributes:
        id: such as ``wt``. name: for the reader. color_rgb: 0..255 each.
        segments: ids of the segments that it is made of.
        type: property type code.
    """

    id: str
    name: str
    color_rgb: tuple[int, int, int]
    segments: tuple[str, ...]
    type: Code


@cache
def _tasks() -> dict[str, Any]:
    return dict(json.loads(TERMINOLOGY_FILE.read_text("utf-8"))["tasks"])


def segments_of_task(task: str, ids: Sequence[str] | None = None) -> tuple[SegmentDescription, ...]:
    """The standard segments of a task, or those named in ``ids``; empty for a task without any.

    Raises:
        KeyError: an id is not in the table.
    """
    entry = _tasks().get(task)
    if entry is None:
        return ()
    known = {item["id"]: item for item in entry["segments"]}
    defaults = {"category": entry["category"], "region": entry["region"]}
    wanted = entry["standard"] if ids is None else ids
    return tuple(SegmentDescription.from_json(known[segment], defaults) for segment in wanted)


def segment_ids(task: str) -> frozenset[str]:
    """Ids of all segments that a task knows, the standard ones and others; empty for a task without any."""
    return frozenset(item["id"] for item in _tasks().get(task, {"segments": []})["segments"])


def groups_of_task(task: str) -> tuple[SegmentGroup, ...]:
    """What is reported of a task besides its segments; empty for a task without any."""
    entry = _tasks().get(task, {"groups": []})
    return tuple(
        SegmentGroup(
            id=item["id"],
            name=item["name"],
            color_rgb=tuple(item["color_rgb"]),
            segments=tuple(item["segments"]),
            type=Code.from_json(item["type"]),
        )
        for item in entry["groups"]
    )
