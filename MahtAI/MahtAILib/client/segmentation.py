"""Segmentations as Slicer stores them: ``.seg.nrrd``, a labelmap whose header describes the segments.

The keys are those of Slicer's ``vtkMRMLSegmentationStorageNode``: ``SegmentN_ID``, ``_Name``,
``_Color``, ``_LabelValue``, ``_Layer``, ``_Extent``, ``_Tags`` and ``Segmentation_…``. Segments that
overlap lie in several layers. Where a segmentation comes from is kept in keys of our own (``MahtAI_…``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry, check_geometry
from MahtAILib.errors import ExplainedError

PROVENANCE_PREFIX = "MahtAI_"
TERMINOLOGY_TAG = "TerminologyEntry"

_OLD_TERMINOLOGY_TAG = "Terminology"
_REPRESENTATION = "Binary labelmap"
_SAVE_AGAIN = "Save the segmentation again in Slicer (File, Save Data, .seg.nrrd)."
_GREY = (0.5, 0.68, 0.5)
_EMPTY_BOX = (0, -1, 0, -1, 0, -1)


class SegmentationError(ExplainedError):
    """A segmentation file that cannot be read, or that lies on another grid than it should."""


@dataclass(frozen=True)
class Segment:
    """A segment and where it lies: voxels of ``layer`` with ``label_value``.

    Attributes:
        id: short and stable; programs key on it, never on the label value, which Slicer renumbers on save.
        name: for the reader.
        label_value: from 1.
        color_rgb: 0..1 each.
        layer: index into ``Segmentation.layers``.
        tags: Slicer's, such as ``TerminologyEntry`` and ``Segmentation.Status``.
    """

    id: str
    name: str
    label_value: int
    color_rgb: tuple[float, float, float] = _GREY
    layer: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation in memory.

    Attributes:
        segments: in the file's order.
        layers: [layer, i, j, k] of an integer type, one layer unless segments overlap.
        geometry: of the voxel grid.
        provenance: keys of our own without their prefix.
    """

    segments: tuple[Segment, ...]
    layers: NDArray[Any]
    geometry: Geometry
    provenance: dict[str, str] = field(default_factory=dict)

    def mask(self, segment_id: str) -> NDArray[np.bool_]:
        """Voxels of one segment, [i, j, k].

        Raises:
            KeyError: there is no such segment.
        """
        for segment in self.segments:
            if segment.id == segment_id:
                return np.asarray(self.layers[segment.layer] == segment.label_value)
        raise KeyError(segment_id)

    def on_grid(self, reference: Geometry, tolerance_mm: float = 1e-3) -> Segmentation:
        """The same segmentation on the reference's grid, voxel for voxel.

        Slicer may save only the part of the grid that the segments fill; such a part is put back in
        its place. Nothing is resampled.

        Raises:
            SegmentationError: the voxels do not coincide, or segments reach outside the reference.
        """
        if self.geometry.same_grid(reference, tolerance_mm):
            return self
        start = (reference.ras_to_ijk @ self.geometry.ijk_to_ras[:, 3])[:3]
        offset = np.rint(start).astype(int)
        shifted = np.array(reference.ijk_to_ras)
        shifted[:, 3] = reference.ijk_to_ras @ [*offset, 1]
        if not self.geometry.same_grid(Geometry(self.geometry.shape, shifted), tolerance_mm):
            raise SegmentationError(
                "The segmentation lies on another voxel grid than the volume that it belongs to.",
                "In Slicer's Segment Editor set the source geometry to the reference volume (T1 with contrast), "
                "then save again.",
            )
        low = np.maximum(offset, 0)
        high = np.minimum(offset + self.geometry.shape, reference.shape)
        inside = tuple(slice(a - o, max(b - o, a - o)) for a, b, o in zip(low, high, offset, strict=True))
        kept = self.layers[(slice(None), *inside)]
        if np.count_nonzero(kept) != np.count_nonzero(self.layers):
            raise SegmentationError(
                "The segmentation reaches outside the volume that it belongs to.",
                "In Slicer's Segment Editor set the source geometry to the reference volume, then save again.",
            )
        layers = np.zeros((len(self.layers), *reference.shape), self.layers.dtype)
        layers[(slice(None), *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)))] = kept
        return replace(self, layers=layers, geometry=reference)


def encode(segmentation: Segmentation) -> bytes:
    """Write ``.seg.nrrd``; the same content gives the same bytes.

    A segment without voxels is written as an empty one.

    Raises:
        ValueError: ids, or label values of a layer, are used twice, or a layer has a value that no segment describes.
        NrrdError: a name or a provenance key cannot be written into a header.
    """
    layers, geometry = segmentation.layers, segmentation.geometry
    if layers.ndim != 4 or layers.shape[1:] != geometry.shape:
        raise ValueError(f"layers are {layers.shape}, expected [layer, *{geometry.shape}]")
    fault = _fault(segmentation.segments, layers)
    if fault:
        raise ValueError(fault)
    fields = {
        "Segmentation_ContainedRepresentationNames": f"{_REPRESENTATION}|",
        "Segmentation_MasterRepresentation": _REPRESENTATION,
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_ConversionParameters": _reference_geometry(geometry),
    }
    boxes = [_boxes(layer) for layer in layers]
    for number, segment in enumerate(segmentation.segments):
        box = boxes[segment.layer].get(segment.label_value, _EMPTY_BOX)
        fields.update({f"Segment{number}_{key}": value for key, value in _keys(segment, box).items()})
    for key, value in segmentation.provenance.items():
        fields[f"{PROVENANCE_PREFIX}{key}"] = value
    return nrrd.encode(layers[0] if len(layers) == 1 else layers, geometry.ijk_to_ras, fields, "gzip")


def decode(data: bytes, max_voxels: int = nrrd.MAX_VOXELS) -> Segmentation:
    """Read a ``.seg.nrrd`` of Slicer's or ours.

    Raises:
        SegmentationError: damaged, no segmentation, or voxels that belong to no segment.
        GeometryError: the geometry is not usable.
    """
    try:
        volume = nrrd.decode(data, max_voxels)
    except nrrd.NrrdError as error:
        raise SegmentationError(str(error), _SAVE_AGAIN) from error
    if volume.array.dtype.kind not in "iu":
        raise SegmentationError(f"Voxels of a segmentation are whole numbers, not {volume.array.dtype}.", _SAVE_AGAIN)
    layers = volume.array if volume.array.ndim == 4 else volume.array[None]
    numbers = sorted({int(found[1]) for key in volume.fields if (found := re.fullmatch(r"Segment(\d{1,9})_ID", key))})
    if not numbers and not any(key.startswith("Segmentation_") for key in volume.fields):
        raise SegmentationError("The file is a plain labelmap: it does not name its segments.", _SAVE_AGAIN)
    segments = tuple(_segment(volume.fields, number) for number in numbers)
    fault = _fault(segments, layers)
    if fault:
        raise SegmentationError(f"The file cannot be used: {fault}.", _SAVE_AGAIN)
    geometry = Geometry(layers.shape[1:], volume.ijk_to_ras)
    check_geometry(geometry)
    own = {
        key.removeprefix(PROVENANCE_PREFIX): value
        for key, value in volume.fields.items()
        if key.startswith(PROVENANCE_PREFIX)
    }
    return Segmentation(segments, layers, geometry, own)


def _keys(segment: Segment, box: tuple[int, ...]) -> dict[str, str]:
    return {
        "ID": segment.id,
        "Name": segment.name,
        "NameAutoGenerated": "0",
        "Color": " ".join(f"{value:.6g}" for value in segment.color_rgb),
        "ColorAutoGenerated": "0",
        "LabelValue": str(segment.label_value),
        "Layer": str(segment.layer),
        "Extent": " ".join(str(edge) for edge in box),
        "Tags": "".join(f"{key}:{value}|" for key, value in segment.tags.items()),
    }


def _segment(fields: Mapping[str, str], number: int) -> Segment:
    def value(key: str, default: str) -> str:
        return fields.get(f"Segment{number}_{key}", default)

    segment_id = value("ID", "")
    try:
        # files of Slicer before 4.11 have neither: one segment a layer, label value 1
        label_value, layer = int(value("LabelValue", "1")), int(value("Layer", str(number)))
        color = [min(max(float(part), 0.0), 1.0) for part in value("Color", "").split()]
    except (ValueError, OverflowError) as error:
        raise SegmentationError(
            f"The description of segment {segment_id!r} is damaged: {error}.", _SAVE_AGAIN
        ) from error
    red, green, blue = color if len(color) == 3 else _GREY
    return Segment(
        segment_id, value("Name", segment_id), label_value, (red, green, blue), layer, _tags(value("Tags", ""))
    )


def _tags(text: str) -> dict[str, str]:
    """Slicer's ``key:value|`` list."""
    tags = {key: value for key, colon, value in (tag.partition(":") for tag in text.split("|")) if colon}
    if _OLD_TERMINOLOGY_TAG in tags:
        tags.setdefault(TERMINOLOGY_TAG, tags.pop(_OLD_TERMINOLOGY_TAG))
    return tags


def _fault(segments: Iterable[Segment], layers: NDArray[Any]) -> str:
    """What is wrong between the segments and the voxels; empty if nothing is."""
    ids: set[str] = set()
    described: dict[int, set[int]] = {index: {0} for index in range(len(layers))}
    for segment in segments:
        if segment.id in ids or segment.label_value in described.get(segment.layer, {segment.label_value}):
            return (
                f"segment {segment.id!r} is described twice, has the label value 0 or that of another segment, "
                "or is in a layer that is not there"
            )
        ids.add(segment.id)
        described[segment.layer].add(segment.label_value)
    for index, layer in enumerate(layers):
        unknown = _present(layer) - described[index]
        if unknown:
            return f"it has voxels with the value {min(unknown)} that belong to no segment"
    return ""


def _present(layer: NDArray[Any]) -> set[int]:
    flat = layer.ravel(order="K")
    filled = flat[flat != 0]
    if filled.dtype == np.uint8:
        return {int(value) for value in np.flatnonzero(np.bincount(filled))}
    return {int(value) for value in np.unique(filled)}


def _boxes(labelmap: NDArray[Any]) -> dict[int, tuple[int, ...]]:
    """Label value → first and last index along I, J, K."""
    flat = labelmap.ravel(order="F")
    where = np.flatnonzero(flat)
    values = flat[where]
    boxes = {}
    for value in _present(values):
        indices = np.unravel_index(where[values == value], labelmap.shape, order="F")
        boxes[value] = tuple(int(edge) for axis in indices for edge in (axis.min(), axis.max()))
    return boxes


def _reference_geometry(geometry: Geometry) -> str:
    """Tells Slicer the whole grid; without it, it would keep and save the filled part only."""
    last = [edge for count in geometry.shape for edge in (0, count - 1)]
    numbers = [repr(float(value)) for value in geometry.ijk_to_ras.ravel()] + [str(edge) for edge in last]
    return f"Reference image geometry|{''.join(f'{number};' for number in numbers)}|Grid of the reference volume&"
