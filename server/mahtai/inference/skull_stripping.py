"""Telling whether a scan has been skull-stripped already, from its voxels alone.

A stripped brain floats in a constant background, has a brain's volume and tapers off inside the
grid. A head whose air was set to zero can look the same to those three, but it has what no brain has
under its surface: bright fat, and beneath it dark bone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mahtai.volumes.volume import Volume

MIN_BACKGROUND_SHARE = 0.9
"""Measured: 0.97-1.00 on stripped scans (cropped to the brain or not), 0.07-0.53 on heads."""

BRAIN_VOLUME_ML = (500.0, 2300.0)
"""Measured: 1080-1730 on stripped scans, 2900 and more on adults' heads."""

MAX_CUT_SHARE = 0.4
"""Measured: up to 0.20 on stripped scans, 0.7 and more on heads that run out of the field of view."""

MAX_SCALP_BRIGHTNESS = 1.6
MAX_SKULL_SHARE = 0.005
"""Both exceeded: a head. Measured on heads and slabs of heads: 1.8-3.4 with 0.008-0.06; of stripped scans
none with more than 1.5 had more than 0.0032."""

_WORKING_MM = 2.5


@dataclass(frozen=True)
class SkullEvidence:
    """What speaks for or against a skull; quantities that were not needed for the answer are None.

    Attributes:
        background_share: of the voxels on the grid's six faces, those with one and the same value.
        volume_ml: of the largest object, holes filled.
        cut_share: the largest section that a face of the grid cuts from it, relative to its largest
            section along the same axis.
        scalp_brightness: 90th percentile 2-8 mm below its surface, relative to the median of its middle.
        skull_share: share of voxels 4-20 mm below its surface that are darker than a tenth of that median.
        stripped: the answer.
    """

    background_share: float
    volume_ml: float | None = None
    cut_share: float | None = None
    scalp_brightness: float | None = None
    skull_share: float | None = None
    stripped: bool = False


def is_skull_stripped(volume: Volume) -> bool:
    """Whether only the brain is left, on any grid and for any sequence. In doubt the answer is no."""
    return skull_evidence(volume).stripped


def skull_evidence(volume: Volume) -> SkullEvidence:
    """The quantities on which ``is_skull_stripped`` decides; some 0.1 s for 240 × 240 × 155 voxels."""
    background, share = background_of(volume.array)
    if share < MIN_BACKGROUND_SHARE:
        return SkullEvidence(share)
    array, spacing = _thinned(volume)
    inside = _largest_object(array != background)
    volume_ml = float(inside.sum() * np.prod(spacing) / 1000)
    cut = _cut_share(inside)
    low, high = BRAIN_VOLUME_ML
    if not low <= volume_ml <= high or cut > MAX_CUT_SHARE:
        return SkullEvidence(share, volume_ml, cut)
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    scalp, skull = _layers(np.abs(array[box] - background), inside[box], spacing)
    stripped = not (scalp > MAX_SCALP_BRIGHTNESS and skull > MAX_SKULL_SHARE)
    return SkullEvidence(share, volume_ml, cut, scalp, skull, stripped)


def background_of(array: NDArray[Any]) -> tuple[float, float]:
    """The commonest value on the six faces, and the share of them that has it."""
    faces = [array[index].ravel() for axis in range(3) for index in (_plane(axis, 0), _plane(axis, -1))]
    found = np.concatenate(faces)
    share = float(np.mean(found == found[0]))
    if share > 0.5:  # no other value can be commoner
        return float(found[0]), share
    values, counts = np.unique(found, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]), float(counts[most] / counts.sum())


def _plane(axis: int, index: int) -> tuple[slice | int, ...]:
    return tuple(index if number == axis else slice(None) for number in range(3))


def _thinned(volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Every n-th voxel, to about 2.5 mm; the spacing that results."""
    spacing = np.asarray(volume.geometry.spacing_mm)
    steps = np.maximum(np.round(_WORKING_MM / spacing), 1).astype(int)
    array = volume.array[tuple(slice(None, None, step) for step in steps)]
    return array.astype(np.float32), spacing * steps


def _largest_object(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part with its holes filled; empty if there is none."""
    parts, count = ndimage.label(foreground)
    if count == 0:
        return foreground
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(parts == sizes.argmax())
    return filled


def _cut_share(inside: NDArray[np.bool_]) -> float:
    shares = []
    for axis in range(3):
        sections = inside.sum(axis=tuple(other for other in range(3) if other != axis))
        shares.append(max(sections[0], sections[-1]) / max(sections.max(), 1))
    return float(max(shares))


def _layers(array: NDArray[np.float32], inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[float, float]:
    """Brightness of the layer where scalp would be, share of dark voxels where bone would be."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    middle = float(np.median(array[depth > min(20.0, float(depth.max()) / 2)]))
    outer = array[(depth > 2) & (depth <= 8)]
    below = array[(depth > 4) & (depth <= 20)]
    if middle <= 0 or not outer.size or not below.size:
        return 0.0, 0.0
    return float(np.percentile(outer, 90)) / middle, float(np.mean(below < 0.1 * middle))
