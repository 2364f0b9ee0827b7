"""Small synthetic studies and labels on them, as files that a client sends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import segments_of_task
from MahtAILib.client import nrrd

CHANNELS = ("t1c", "t1", "t2", "flair")
SHAPE = (48, 48, 40)
TASK = "brain-tumour"

FAST = {"register": "off", "brain_mask": "off", "resample": "off", "check_sequences": "off", "precision": "fp32"}
"""Options with which a run on a small study is little more than the network."""

SLOW = {**FAST, "flips": "on"}
"""Eight passes of the network, between which a run can be interrupted."""


def affine(spacing_mm: float = 2.0) -> np.ndarray:
    """IJK-to-RAS of an LPS grid."""
    return np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])


def synthetic_study(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> dict[str, bytes]:
    """Channel → NRRD file of an ellipsoid head with a lesion; every seed gives other voxels."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij"))
    head = (grid**2).sum(axis=0) < 0.8
    lesion = ((grid - 0.25) ** 2).sum(axis=0) < 0.06
    study = {}
    for number, channel in enumerate(CHANNELS):
        voxels = 300 + 60 * number + 40 * grid[number % 3] + generator.normal(0, 15, shape) + 200 * lesion
        study[channel] = nrrd.encode(np.where(head, voxels, 0).astype(np.int16), affine())
    return study


def label_file(boxes: Sequence[tuple[int, int]] = ((10, 20),), shape: tuple[int, int, int] = SHAPE) -> bytes:
    """A ``.seg.nrrd`` whose segments 1, 2, … are cubes from index a to b."""
    labelmap = np.zeros(shape, dtype=np.uint8)
    for value, (first, last) in enumerate(boxes, start=1):
        labelmap[first:last, first:last, first:last] = value
    return encode_segmentation(labelmap, Geometry(shape, affine()), segments_of_task(TASK))
