"""From a reader's segmentation to the labels that a network learns: 0 background, 1 NCR, 2 ED, 3 ET."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mahtai.inference.spatial import resample
from mahtai.training.datasets import regions_of
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import description_of
from mahtai.volumes.terminology import segments_of_task
from MahtAILib.client.segmentation import Segment, Segmentation

TASK = "brain-tumour"

PAINTED: tuple[tuple[str, int], ...] = (("wt", 2), ("ed", 2), ("tc", 1), ("net", 1), ("ncr", 1), ("et", 3))
"""Segments and their labels in the order in which they are laid over each other. ET lies over the rest of the core
and the core over oedema, as in a result; BraTS counts tumour that does not enhance to the necrotic core."""


def reference_labels(segmentation: Segmentation) -> tuple[NDArray[np.uint8], list[str]]:
    """Labels on the segmentation's own grid, [i, j, k].

    Segments are told by their ids, else by their type code; never by their place or value, which Slicer changes.

    Returns:
        the labels, and the names of segments that hold something but mean nothing to the model.
    """
    masks: dict[str, list[Segment]] = {}
    unknown = []
    for segment in segmentation.segments:
        meaning = _meaning(segment)
        if meaning is not None:
            masks.setdefault(meaning, []).append(segment)
        elif (segmentation.layers[segment.layer] == segment.label_value).any():
            unknown.append(segment.name)
    labels = np.zeros(segmentation.geometry.shape, np.uint8)
    for meaning, label in PAINTED:
        for segment in masks.get(meaning, ()):
            labels[segmentation.layers[segment.layer] == segment.label_value] = label
    return labels, unknown


def _meaning(segment: Segment) -> str | None:
    known = {name for name, _ in PAINTED}
    if segment.id.lower() in known:
        return segment.id.lower()
    code = description_of(segment).type
    if code is None:
        return None
    for description in segments_of_task(TASK):
        kind = description.type
        if kind is not None and (kind.scheme, kind.value) == (code.scheme, code.value):
            return description.id
    return None


def labels_on(labels: NDArray[np.uint8], geometry: Geometry, grid: Geometry) -> Tensor:
    """Labels on another grid, X × Y × Z uint8: regions are interpolated and cut at one half, as results are."""
    regions = resample(regions_of(torch.from_numpy(np.ascontiguousarray(labels))), geometry, grid)
    core, whole, enhancing = regions >= 0.5
    moved = whole.to(torch.uint8) * 2
    moved.masked_fill_(core, 1)
    return moved.masked_fill_(enhancing, 3)
