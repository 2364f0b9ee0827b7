"""A segmentation node's segments from a segmentation file: by id, with stable label values.

Slicer renumbers label values when it saves or edits; ours travel in a tag of each segment. The grid on
which a segmentation belongs is kept on its node, so that it outlives the reference volume.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry, GeometryError
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.scene.images import extent_geometry, filled_image, oriented_image, voxels_of

LABEL_TAG = "MahtAI.LabelValue"
GEOMETRY_ATTRIBUTE = "MahtAI.Geometry"

LARGEST_LABEL = 255


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
        target.SetSourceRepresentationName(binary_labelmap())
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


def volumes_ml(node: Any) -> dict[str, float]:
    """Segment id → volume in millilitres, as the segments lie now."""
    source = node.GetSegmentation()
    found: dict[str, float] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    for segment_id in source.GetSegmentIDs():
        segment = source.GetSegment(segment_id)
        image = segment.GetRepresentation(binary_labelmap())
        if image is None or image.GetNumberOfPoints() == 0:
            found[segment_id] = 0.0
            continue
        key = image.GetAddressAsString("")
        if key not in counts:
            flat = voxels_of(image).ravel(order="K")
            counts[key] = np.bincount(flat[flat > 0], minlength=LARGEST_LABEL + 1)
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
        image = segment.GetRepresentation(binary_labelmap())
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
    return [value for segment in source.GetSegmentIDs() if (value := segment_tag(source.GetSegment(segment), name))]


def binary_labelmap() -> str:
    """Slicer's name for segments as voxels."""
    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def _vtk_segment(segment: Segment, image: Any) -> Any:
    made = slicer.vtkSegment()
    made.SetName(segment.name)
    made.SetColor(*segment.color_rgb)
    for key, value in segment.tags.items():
        made.SetTag(key, value)
    made.SetTag(LABEL_TAG, str(segment.label_value))
    made.AddRepresentation(binary_labelmap(), image)
    made.SetLabelValue(segment.label_value)
    return made


def segment_tag(segment: Any, name: str) -> str:
    """Value of a tag of a vtkSegment; empty where it has none."""
    value = vtk.reference("")
    return str(value.get()) if segment.GetTag(name, value) else ""
