"""A segmentation node's segments from a segmentation file and back: by id, with stable label values.

Slicer renumbers label values when it saves or edits; ours travel in a tag of each segment. The grid on
which a segmentation belongs is kept on its node, so that it outlives the reference volume.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry, GeometryError
from MahtAILib.client.segmentation import Segment, Segmentation, SegmentationError
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.images import extent_geometry, filled_image, numpy_matrix, oriented_image, voxels_of

LABEL_TAG = "MahtAI.LabelValue"
GEOMETRY_ATTRIBUTE = "MahtAI.Geometry"

_LARGEST_LABEL = 255
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
class Prepared:
    """A segmentation of which nothing that takes time is left to do on the main thread; to be put into one node.

    Attributes:
        images: one a layer, of the box that is filled.
    """

    segmentation: Segmentation
    images: tuple[Any, ...]


def prepare_segments(segmentation: Segmentation) -> Prepared:
    """Make the images of the segments; in any thread."""
    ijk_to_ras = segmentation.geometry.ijk_to_ras
    return Prepared(segmentation, tuple(filled_image(layer, ijk_to_ras) for layer in segmentation.layers))


def put_segments(node: Any, prepared: Prepared | Segmentation) -> None:
    """Replace all segments of a segmentation node by those of a file, and its grid by the file's.

    Whoever wants this to be undone later saves the state for undo before.

    Args:
        node: vtkMRMLSegmentationNode, without a parent transform.
        prepared: used up by this.
    """
    if isinstance(prepared, Segmentation):
        prepared = prepare_segments(prepared)
    target = node.GetSegmentation()
    modifying = node.StartModify()
    try:
        target.RemoveAllSegments()
        target.SetSourceRepresentationName(_binary())
        set_geometry(node, prepared.segmentation.geometry)
        for image in prepared.images:
            image.Modified()  # Slicer's undo takes an image that is older than the last state for the one in it
        for segment in prepared.segmentation.segments:
            target.AddSegment(_vtk_segment(segment, prepared.images[segment.layer]), segment.id)
    finally:
        node.EndModify(modifying)


def set_geometry(node: Any, geometry: Geometry) -> None:
    """Say on which grid a segmentation is edited and saved."""
    corner = oriented_image(np.zeros((1, 1, 1), np.uint8), geometry.ijk_to_ras)
    corner.SetExtent(*(edge for count in geometry.shape for edge in (0, count - 1)))
    node.GetSegmentation().SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(corner),
    )
    document = {"shape": list(geometry.shape), "ijk_to_ras": geometry.ijk_to_ras.tolist()}
    node.SetAttribute(GEOMETRY_ATTRIBUTE, json.dumps(document))


def geometry_of(node: Any) -> Geometry | None:
    """The grid that ``set_geometry`` noted, None for a segmentation that did not come from here."""
    try:
        document = json.loads(node.GetAttribute(GEOMETRY_ATTRIBUTE) or "null")
        return None if document is None else Geometry(document["shape"], document["ijk_to_ras"])
    except (ValueError, KeyError, TypeError, GeometryError):
        return None


def take_segments(node: Any, geometry: Geometry) -> Taken:
    """All segments of a node on one grid; those that overlap come in layers.

    Args:
        node: vtkMRMLSegmentationNode.
        geometry: of the volume that the segmentation belongs to.

    Raises:
        SegmentsError: a segment has no voxels that could be saved, or reaches outside the grid.
    """
    source, to_world = _editable(node), _to_world(node)
    ids = list(source.GetSegmentIDs())
    labels = _label_values(source, ids)
    shared: dict[str, list[str]] = {}
    for segment_id in ids:
        image = source.GetSegment(segment_id).GetRepresentation(_binary())
        shared.setdefault("" if image is None else image.GetAddressAsString(""), []).append(segment_id)
    layers: list[NDArray[np.uint8]] = []
    layer_of: dict[str, int] = {}
    resampled: list[str] = []
    for members in shared.values():
        segments = {segment_id: source.GetSegment(segment_id) for segment_id in members}
        names = [segment.GetName() for segment in segments.values()]
        values = {segment.GetLabelValue(): labels[segment_id] for segment_id, segment in segments.items()}
        image = segments[members[0]].GetRepresentation(_binary())
        labelmap, was_resampled = _labelmap(image, values, to_world, geometry, ", ".join(names))
        resampled += names if was_resampled else []
        layer_of.update(dict.fromkeys(members, _merge(layers, labelmap)))
    taken = tuple(_segment(source.GetSegment(one), one, labels[one], layer_of[one]) for one in ids)
    stacked = np.stack(layers) if layers else _empty(geometry)[None]
    return Taken(Segmentation(taken, stacked, geometry), tuple(resampled))


def volumes_ml(node: Any) -> dict[str, float]:
    """Segment id → volume in millilitres, as the segments lie now."""
    source = node.GetSegmentation()
    found: dict[str, float] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    for segment_id in source.GetSegmentIDs():
        segment = source.GetSegment(segment_id)
        image = segment.GetRepresentation(_binary())
        if image is None or image.GetNumberOfPoints() == 0:
            found[segment_id] = 0.0
            continue
        key = image.GetAddressAsString("")
        if key not in counts:
            flat = voxels_of(image).ravel(order="K")
            counts[key] = np.bincount(flat[flat > 0], minlength=_LARGEST_LABEL + 1)
        value = segment.GetLabelValue()
        voxels = int(counts[key][value]) if value < len(counts[key]) else 0
        found[segment_id] = voxels * extent_geometry(image).voxel_ml
    return found


def fingerprint(node: Any) -> str:
    """Changes with the segments' ids, names and voxels; not with colours, surfaces or the view."""
    source = node.GetSegmentation()
    sums: dict[str, int] = {}
    parts = []
    for segment_id in source.GetSegmentIDs():
        segment = source.GetSegment(segment_id)
        image = segment.GetRepresentation(_binary())
        key = "" if image is None else image.GetAddressAsString("")
        if image is not None and key not in sums:
            place = zlib.crc32(repr(image.GetExtent()).encode())
            sums[key] = zlib.crc32(np.ascontiguousarray(voxels_of(image).T).data, place)
        parts.append((segment_id, segment.GetName(), segment.GetLabelValue(), sums.get(key, 0)))
    return f"{zlib.crc32(repr(parts).encode()):08x}"


def tag_segments(node: Any, tags: dict[str, str]) -> None:
    """Write tags on every segment; Slicer keeps them in the files that it saves."""
    source = node.GetSegmentation()
    for segment_id in source.GetSegmentIDs():
        for key, value in tags.items():
            # Slicer parts its tags by these
            source.GetSegment(segment_id).SetTag(key, value.replace("|", "/").replace("\n", " "))


def segment_names(node: Any) -> dict[str, str]:
    """Segment id → name, in the node's order."""
    source = node.GetSegmentation()
    return {segment_id: source.GetSegment(segment_id).GetName() for segment_id in source.GetSegmentIDs()}


def segment_tags(node: Any, name: str) -> list[str]:
    """Values of one tag, of the segments that have it."""
    source = node.GetSegmentation()
    return [value for segment in source.GetSegmentIDs() if (value := _tag(source.GetSegment(segment), name))]


def _binary() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def _vtk_segment(segment: Segment, image: Any) -> Any:
    made = slicer.vtkSegment()
    made.SetName(segment.name)
    made.SetColor(*segment.color_rgb)
    for key, value in segment.tags.items():
        made.SetTag(key, value)
    made.SetTag(LABEL_TAG, str(segment.label_value))
    made.AddRepresentation(_binary(), image)
    made.SetLabelValue(segment.label_value)
    return made


def _segment(segment: Any, segment_id: str, label_value: int, layer: int) -> Segment:
    tags = {name: value for name in _KEPT_TAGS if (value := _tag(segment, name))}
    red, green, blue = segment.GetColor()
    return Segment(segment_id, segment.GetName() or segment_id, label_value, (red, green, blue), layer, tags)


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value.get()) if segment.GetTag(name, value) else ""


def _editable(node: Any) -> Any:
    """The node's vtkSegmentation with voxels, also where a surface is what is edited.

    Raises:
        SegmentsError: it cannot be turned into voxels.
    """
    source = node.GetSegmentation()
    if source.GetNumberOfSegments() and not source.CreateRepresentation(_binary()):
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
        text = _tag(source.GetSegment(segment_id), LABEL_TAG)
        value = int(text) if text.isdigit() else 0
        if 1 <= value <= _LARGEST_LABEL and value not in wanted.values():
            wanted[segment_id] = value
    free = iter(sorted(set(range(1, _LARGEST_LABEL + 1)) - set(wanted.values())))
    if len(ids) > _LARGEST_LABEL:
        raise SegmentsError(
            f"The segmentation has {len(ids)} segments; at most {_LARGEST_LABEL} can be saved. Nothing was lost.",
            "Merge or remove segments that are not needed.",
        )
    return {segment_id: wanted.get(segment_id) or next(free) for segment_id in ids}


def _labelmap(
    image: Any, values: dict[int, int], to_world: NDArray[np.float64], geometry: Geometry, names: str
) -> tuple[NDArray[np.uint8], bool]:
    """The segments that share an image, on the grid, and whether they had to be resampled.

    Args:
        values: label value in the image → label value to write.
        names: of the segments, for the reader.

    Raises:
        SegmentsError: part of them lies outside the grid.
    """
    voxels = np.zeros((0, 0, 0), np.uint8) if image is None else voxels_of(image)
    if not voxels.size:
        return _empty(geometry), False
    lookup = np.zeros(max(int(voxels.max()), *values) + 1, np.uint8)
    for value, written in values.items():
        lookup[value] = written
    local = extent_geometry(image)
    labelmap, here = lookup[voxels], Geometry(local.shape, to_world @ local.ijk_to_ras)
    try:
        return Segmentation((), labelmap[None], here).on_grid(geometry).layers[0], False
    except SegmentationError:
        _check_inside(labelmap > 0, here, geometry, names)
        return _nearest(labelmap, here, geometry), True


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
