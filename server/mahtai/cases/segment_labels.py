"""Segmentations as labels: on the grid of the case's reference volume; voxels and Dice between two, by segment id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mahtai.cases.label_kind import Json, LabelError, WrongGrid
from mahtai.volumes.segmentation_file import decode_segmentation, on_grid
from mahtai.volumes.terminology import segment_ids
from mahtai.volumes.volume import VolumeError
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation, encode


@dataclass(frozen=True)
class SegmentContent:
    """How much a segment holds."""

    name: str
    label_value: int
    voxels: int
    volume_ml: float


@dataclass(frozen=True)
class Comparison:
    """Difference between two segmentations.

    Attributes:
        voxels_changed: voxels that belong to other segments than before.
        dice: segment id → 2·|A∩B| / (|A|+|B|); 1 where both are empty, 0 where only one has the segment.
    """

    voxels_changed: int
    dice: dict[str, float]


def contents(segmentation: Segmentation) -> dict[str, SegmentContent]:
    """Voxels and volume of every segment, by id."""
    found = {}
    for segment in segmentation.segments:
        voxels = int(np.count_nonzero(segmentation.mask(segment.id)))
        volume_ml = round(voxels * segmentation.geometry.voxel_ml, 4)
        found[segment.id] = SegmentContent(segment.name, segment.label_value, voxels, volume_ml)
    return found


def compare(saved: Segmentation, other: Segmentation) -> Comparison:
    """Compare two segmentations, both [i, j, k] on the same grid.

    Raises:
        ValueError: the shapes differ.
    """
    if saved.geometry.shape != other.geometry.shape:
        raise ValueError(f"cannot compare grids of {saved.geometry.shape} and {other.geometry.shape} voxels")
    ids = {segment.id for part in (saved, other) for segment in part.segments}
    changed = np.zeros(saved.geometry.shape, dtype=bool)
    dice = {}
    for segment_id in sorted(ids):
        first, second = _mask(saved, segment_id), _mask(other, segment_id)
        changed |= first != second
        both = int(np.count_nonzero(first & second))
        total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
        dice[segment_id] = round(2 * both / total, 6) if total else 1.0
    return Comparison(int(np.count_nonzero(changed)), dice)


def _mask(segmentation: Segmentation, segment_id: str) -> NDArray[Any]:
    try:
        return segmentation.mask(segment_id)
    except KeyError:
        return np.zeros(segmentation.geometry.shape, dtype=bool)


def merged(first: Segmentation, second: Segmentation, from_second: frozenset[str]) -> Segmentation:
    """The segments of ``first``, but those in ``from_second`` as ``second`` has them, or has them not.

    Label values, names and codes stay those of the files, as far as no two segments would share a value. Where
    no segments overlap in either file, none do in the result: what comes from ``second`` lies over the rest.

    Raises:
        ValueError: the shapes differ.
    """
    if first.geometry.shape != second.geometry.shape:
        raise ValueError(f"cannot merge grids of {first.geometry.shape} and {second.geometry.shape} voxels")
    kept = [(first, segment) for segment in first.segments if segment.id not in from_second]
    taken = [(second, segment) for segment in second.segments if segment.id in from_second]
    exclusive = len(first.layers) == len(second.layers) == 1
    layers: list[NDArray[Any]] = []
    segments: list[Segment] = []
    for source, segment in (*kept, *taken):
        mask = source.mask(segment.id)
        number = 0 if exclusive else _layer_with_room(layers, mask)
        if number == len(layers):
            layers.append(np.zeros(first.geometry.shape, np.uint8))
        value = _free_value(segment.label_value, {each.label_value for each in segments if each.layer == number})
        layers[number][mask] = value
        segments.append(replace(segment, label_value=value, layer=number))
    stack = np.stack(layers) if layers else np.zeros((1, *first.geometry.shape), np.uint8)
    return Segmentation(tuple(segments), stack, first.geometry, dict(first.provenance))


def _layer_with_room(layers: Sequence[NDArray[Any]], mask: NDArray[np.bool_]) -> int:
    """The first layer in which the mask overlaps nothing; the number of layers if there is none."""
    return next((number for number, layer in enumerate(layers) if not layer[mask].any()), len(layers))


def _free_value(wanted: int, used: Collection[int]) -> int:
    if 1 <= wanted <= 255 and wanted not in used:
        return wanted
    free = next((value for value in range(1, 256) if value not in used), None)
    if free is None:
        raise LabelError("The two versions have too many segments to be merged.", "Merge them in Slicer.")
    return free


class SegmentLabels:
    """Label versions that are ``.seg.nrrd`` files."""

    word = "a segmentation"
    file_name = "label-{}.seg.nrrd"
    media_type = "application/x-nrrd"

    def read(self, data: bytes, reference: Geometry) -> Segmentation:
        """The segments on the reference's grid, voxel for voxel.

        Raises:
            VolumeError, GeometryError: damaged, or no segmentation.
            WrongGrid: the voxels do not coincide.
        """
        segmentation = decode_segmentation(data)
        try:
            return on_grid(segmentation, reference)
        except VolumeError as error:
            raise WrongGrid(error.reason, error.hint) from error

    def parts(self, content: Segmentation) -> Json:
        """Voxels and volume of each segment."""
        return {segment: asdict(held) for segment, held in contents(content).items()}

    def compare(self, saved: Segmentation, other: Segmentation) -> Json:
        """Voxels that were changed, and Dice."""
        return asdict(compare(saved, other))

    def known_parts(self, task: str) -> frozenset[str] | None:
        """The segments of the terminology."""
        return segment_ids(task) or None

    def merge(self, first: Segmentation, second: Segmentation, from_second: frozenset[str]) -> bytes:
        """See ``merged``."""
        return encode(merged(first, second, from_second))

    def part_of(self, stored: Mapping[str, Any]) -> SegmentContent:
        """A segment."""
        return SegmentContent(**stored)

    def comparison_of(self, stored: Mapping[str, Any]) -> Comparison:
        """The difference."""
        return Comparison(**stored)
