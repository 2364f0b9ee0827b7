"""Labelmaps of other programs: one number a voxel, names beside it that come in several forms."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation

MOST_LABELS = 255
LONGEST_NAME = 200

_GOLDEN_ANGLE = 137.5


def names_by_value(labels: Any) -> dict[int, str]:
    """Voxel value → name, without the background; empty where nothing can be understood.

    Args:
        labels: ``{name: value}``, or a list of names.
    """
    pairs: Sequence[tuple[Any, Any]] = ()
    if isinstance(labels, dict):
        pairs = list(labels.items())
    elif isinstance(labels, list):
        # counted from 1, whether or not the background has a place in the list, which would move all names
        first = 0 if labels and str(labels[0]).lower() == "background" else 1
        pairs = [(name, value) for value, name in enumerate(labels, start=first)]
    found = {
        value: shown(name)
        for name, value in pairs
        if isinstance(value, int) and 0 < value <= MOST_LABELS and str(name).lower() != "background"
    }
    return dict(sorted(found.items()))


def segmentation_of(array: NDArray[Any], geometry: Geometry, names: Mapping[int, str]) -> Segmentation | None:
    """A labelmap [i, j, k] as a segmentation; None where its voxels are no labels.

    A value that nobody named becomes a segment whose name claims nothing.
    """
    if array.dtype.kind not in "iuf" or not (array.min() >= 0 and array.max() <= MOST_LABELS):
        return None
    labelmap = array.astype(np.uint8)
    if array.dtype.kind == "f" and not np.array_equal(labelmap, array):
        return None
    present = {int(value) for value in np.flatnonzero(np.bincount(labelmap.ravel(order="K")))} - {0}
    described = {**names, **{value: f"Label {value}" for value in present if value not in names}}
    segments = tuple(
        Segment(one, described[value], value, colour(value), 0, {"Segmentation.Status": "completed"})
        for value, one in ids(described).items()
    )
    return Segmentation(segments, labelmap[None], geometry)


def ids(names: Mapping[int, str]) -> dict[int, str]:
    """Value → a short id made of the name; no two are the same."""
    found: dict[int, str] = {}
    for value, name in sorted(names.items()):
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "label"
        found[value] = slug if slug not in found.values() else f"{slug}-label-{value}"
    return found


def shown(text: Any) -> str:
    """What another program says, in a form that can be shown and written into a file."""
    return "".join(character if character.isprintable() else " " for character in str(text or ""))[:LONGEST_NAME]


def colour(value: int) -> tuple[float, float, float]:
    """A bright colour, unlike that of the neighbouring values; 0..1 each."""
    return colorsys.hsv_to_rgb(value * _GOLDEN_ANGLE / 360 % 1, 0.75, 1.0)


def bytes_colour(value: int) -> tuple[int, int, int]:
    """The same, 0..255 each."""
    red, green, blue = (round(255 * part) for part in colour(value))
    return red, green, blue
