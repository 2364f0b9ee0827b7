"""A region of a result, corrected around what a reader painted: out of the file that came, into the one that goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mahtai.inference.correction import correct
from mahtai.inference.regions import regions_from_outputs
from mahtai.inference.spatial import resample
from mahtai.inference.study import PreparedStudy
from mahtai.models.bundle import SegmentationBundle
from mahtai.volumes.geometry import Geometry
from MahtAILib.client import nrrd


@dataclass(frozen=True, eq=False)
class Region:
    """What a reader sends.

    Attributes:
        labels: I × J × K uint8, as they are now.
        strokes: I × J × K uint8: 0 none, 1 the reader says background, 1 + v the reader says label v.
        geometry: of both; a box of the grid of the result.
    """

    labels: NDArray[np.uint8]
    strokes: NDArray[np.uint8]
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the network saw of a study, and its probabilities (outputs × X × Y × Z) on the same grid."""

    prepared: PreparedStudy
    probabilities: Tensor


def read_region(content: bytes) -> Region:
    """Read what was checked before (``jobs.corrections``)."""
    volume = nrrd.decode(content)
    labels, strokes = volume.array
    return Region(labels, strokes, Geometry(labels.shape, volume.ijk_to_ras))


def encode_region(labels: NDArray[np.uint8], region: Region, seconds: float) -> bytes:
    """The answer: the new labels of the region, and what it took."""
    changed = int(np.count_nonzero(labels != region.labels))
    fields = {"MahtAI_Seconds": f"{seconds:.3f}", "MahtAI_Changed": str(changed)}
    return nrrd.encode(labels, region.geometry.ijk_to_ras, fields, "gzip")


def correct_region(region: Region, evidence: Evidence, bundle: SegmentationBundle) -> NDArray[np.uint8]:
    """New labels of the region, I × J × K; every stroke has the label that the reader gave it."""
    prepared, grid = evidence.prepared, region.geometry
    images = resample(prepared.image, prepared.grid, grid)
    regions = regions_from_outputs(evidence.probabilities, bundle)
    probabilities = resample(regions.probabilities * prepared.mask, prepared.grid, grid)
    return correct(images, regions.ids, probabilities, region.labels, region.strokes, bundle.labels, grid.spacing_mm)
