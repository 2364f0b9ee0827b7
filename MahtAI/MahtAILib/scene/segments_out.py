"""The segments of a node on one grid, to be saved: copied out in a moment, put together in any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation, SegmentationError
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.images import extent_geometry, numpy_matrix, oriented_image, voxels_of
from MahtAILib.scene.segments import LABEL_TAG, LARGEST_LABEL, binary_labelmap, segment_tag

_KEPT_TAGS = ("TerminologyEntry", "Segmentation.Status")
"""VTK does not tell Python which tags a segment has."""


class SegmentsError(ExplainedError):
    """A segmentation that cannot be handed out as it is."""


@dataclass(frozen=True)
class Taken:
    """A segmentation taken out of the scene.

    Attributes:
        segmentation: on the grid that was asked for.
        resampled: names of segments that lay on another grid and were brought to this one by nearest neighbour.
    """

    segmentation: Segmentation
    resampled: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Shared:
    """Segments that share an image, taken out of the scene.

    Attributes:
        voxels: [i, j, k], a copy; of the box that is filled. here: where they lie.
        values: label value in the voxels → label value to write.
        ids, names: of the segments.
    """

    voxels: NDArray[Any]
    here: Geometry | None
    values: dict[int, int]
    ids: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The segments of a node as they were at one moment; what is made of it afterwards may be made in a thread."""

    segments: tuple[Segment, ...]
    shared: tuple[_Shared, ...]

    def on_grid(self, geometry: Geometry) -> Taken:
        """All segments on one grid; those that overlap come in layers.

        Args:
            geometry: of the volume that the segmentation belongs to.

        Raises:
            SegmentsError: a segment reaches outside the grid.
        """
        layers: list[NDArray[np.uint8]] = []
        layer_of: dict[str, int] = {}
        resampled: list[str] = []
        for one in self.shared:
            labelmap, was_resampled = _labelmap(one, geometry)
            resampled += one.names if was_resampled else ()
            layer_of.update(dict.fromkeys(one.ids, _merge(layers, labelmap)))
        taken = tuple(replace(segment, layer=layer_of[segment.id]) for segment in self.segments)
        stacked = np.stack(layers) if layers else _empty(geometry)[None]
        return Taken(Segmentation(taken, stacked, geometry), tuple(resampled))


def take_segments(node: Any, geometry: Geometry) -> Taken:
    """All segments of a node on one grid; those that overlap come in layers.

    Args:
        node: vtkMRMLSegmentationNode.
        geometry: of the volume that the segmentation belongs to.

    Raises:
        SegmentsError: a segment has no voxels that could be saved, or reaches outside the grid.
    """
    return snapshot_segments(node).on_grid(geometry)


def snapshot_segments(node: Any) -> Snapshot:
    """Copy what is filled of a node's segments; a few milliseconds.

    Raises:
        SegmentsError: there are no voxels, or more segments than label values.
    """
    source, to_world = _editable(node), _to_world(node)
    ids = list(source.GetSegmentIDs())
    labels = _label_values(source, ids)
    groups: dict[str, list[str]] = {}
    for segment_id in ids:
        image = source.GetSegment(segment_id).GetRepresentation(binary_labelmap())
        groups.setdefault("" if image is None else image.GetAddressAsString(""), []).append(segment_id)
    return Snapshot(
        tuple(_segment(source.GetSegment(one), one, labels[one], 0) for one in ids),
        tuple(_shared(source, members, labels, to_world) for members in groups.values()),
    )


def _segment(segment: Any, segment_id: str, label_value: int, layer: int) -> Segment:
    tags = {name: value for name in _KEPT_TAGS if (value := segment_tag(segment, name))}
    red, green, blue = segment.GetColor()
    return Segment(segment_id, segment.GetName() or segment_id, label_value, (red, green, blue), layer, tags)


def _editable(node: Any) -> Any:
    """The node's vtkSegmentation with voxels, also where a surface is what is edited.

    Raises:
        SegmentsError: it cannot be turned into voxels.
    """
    source = node.GetSegmentation()
    if source.GetNumberOfSegments() and not source.CreateRepresentation(binary_labelmap()):
        raise SegmentsError(
            f"The segmentation “{node.GetName()}” has no voxels and cannot be turned into voxels. Nothing was lost.",
            "In Slicer's Segmentations module, under Representations, create a binary labelmap, then save again.",
        )
    return source


def _label_values(source: Any, ids: Iterable[str]) -> dict[str, int]:
    """Segment id → label value: the one that it came with, else the lowest that is free.

    Raises:
        SegmentsError: more segments than label values.
    """
    ids = list(ids)
    wanted: dict[str, int] = {}
    for segment_id in ids:
        text = segment_tag(source.GetSegment(segment_id), LABEL_TAG)
        value = int(text) if text.isdigit() else 0
        if 1 <= value <= LARGEST_LABEL and value not in wanted.values():
            wanted[segment_id] = value
    free = iter(sorted(set(range(1, LARGEST_LABEL + 1)) - set(wanted.values())))
    if len(ids) > LARGEST_LABEL:
        raise SegmentsError(
            f"The segmentation has {len(ids)} segments; at most {LARGEST_LABEL} can be saved. Nothing was lost.",
            "Merge or remove segments that are not needed.",
        )
    return {segment_id: wanted.get(segment_id) or next(free) for segment_id in ids}


def _shared(source: Any, members: list[str], labels: dict[str, int], to_world: NDArray[np.float64]) -> _Shared:
    """The segments that share an image, copied.

    Args:
        labels: segment id → label value to write.
    """
    segments = {segment_id: source.GetSegment(segment_id) for segment_id in members}
    image = segments[members[0]].GetRepresentation(binary_labelmap())
    voxels = np.zeros((0, 0, 0), np.uint8) if image is None else voxels_of(image).copy(order="K")
    here = None
    if voxels.size:
        local = extent_geometry(image)
        here = Geometry(local.shape, to_world @ local.ijk_to_ras)
    return _Shared(
        voxels,
        here,
        {segment.GetLabelValue(): labels[segment_id] for segment_id, segment in segments.items()},
        tuple(members),
        tuple(segment.GetName() for segment in segments.values()),
    )


def _labelmap(shared: _Shared, geometry: Geometry) -> tuple[NDArray[np.uint8], bool]:
    """The segments that share an image, on the grid, and whether they had to be resampled.

    Raises:
        SegmentsError: part of them lies outside the grid.
    """
    if shared.here is None:
        return _empty(geometry), False
    lookup = np.zeros(max(int(shared.voxels.max()), *shared.values) + 1, np.uint8)
    for value, written in shared.values.items():
        lookup[value] = written
    labelmap = lookup[shared.voxels]
    try:
        return Segmentation((), labelmap[None], shared.here).on_grid(geometry).layers[0], False
    except SegmentationError:
        _check_inside(labelmap > 0, shared.here, geometry, ", ".join(shared.names))
        return _nearest(labelmap, shared.here, geometry), True


def _check_inside(mask: NDArray[np.bool_], here: Geometry, geometry: Geometry, names: str) -> None:
    """Voxels that the grid cannot hold would be lost.

    Raises:
        SegmentsError: there are such voxels.
    """
    indices = np.argwhere(mask)
    there = np.c_[indices, np.ones(len(indices))] @ (geometry.ras_to_ijk @ here.ijk_to_ras).T[:, :3]
    outside = ((there < -0.5) | (there > np.array(geometry.shape) - 0.5)).any(axis=1).sum()
    if outside:
        raise SegmentsError(
            f"A segment ({names}) reaches outside the volume that it belongs to ({outside} voxels). "
            "Nothing was lost, and nothing was saved.",
            "Erase the part outside, or choose that volume as the source volume of the Segment Editor.",
        )


def _nearest(labelmap: NDArray[np.uint8], here: Geometry, geometry: Geometry) -> NDArray[np.uint8]:
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        oriented_image(labelmap, here.ijk_to_ras),
        oriented_image(_empty(geometry), geometry.ijk_to_ras),
        resampled,
    )
    return np.array(voxels_of(resampled), np.uint8)


def _to_world(node: Any) -> NDArray[np.float64]:
    """4×4 from the segmentation's own coordinates to RAS.

    Raises:
        SegmentsError: the transform bends.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise SegmentsError(
            f"The segmentation “{node.GetName()}” lies under a transform that bends. Nothing was lost.",
            "Harden the transform (Slicer: Transforms module) or take the segmentation out of it, then save again.",
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return numpy_matrix(matrix)


def _merge(layers: list[NDArray[np.uint8]], labelmap: NDArray[np.uint8]) -> int:
    """Put a labelmap into the first layer in which none of its voxels is taken; returns that layer's index."""
    for index, layer in enumerate(layers):
        if not np.any(layer[labelmap > 0]):
            layers[index] = np.maximum(layer, labelmap)
            return index
    layers.append(labelmap)
    return len(layers) - 1


def _empty(geometry: Geometry) -> NDArray[np.uint8]:
    return np.zeros(geometry.shape, np.uint8, order="F")
