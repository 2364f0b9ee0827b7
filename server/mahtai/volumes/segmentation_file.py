"""Segmentations as Slicer stores them: ``.seg.nrrd``, a labelmap whose header describes the segments.

The keys are those of Slicer's ``vtkMRMLSegmentationStorageNode``: ``SegmentN_ID``, ``_Name``,
``_Color``, ``_LabelValue``, ``_Layer``, ``_Extent``, ``_Tags`` and ``Segmentation_…``. Segments that
overlap lie in several layers. Where a result comes from is kept in keys of our own (``MahtAI_…``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mahtai.volumes.geometry import Geometry, check_geometry
from mahtai.volumes.terminology import Code, SegmentDescription
from mahtai.volumes.volume import MAX_VOXELS, VolumeError, check_claim
from MahtAILib.client import nrrd

PROVENANCE_PREFIX = "MahtAI_"

_TYPE_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_REPRESENTATION = "Binary labelmap"
_SAVE_AGAIN = "Save the segmentation again in Slicer (File, Save Data, .seg.nrrd)."
_GREY = (128, 174, 128)


@dataclass(frozen=True)
class Segment:
    """A segment and where it lies: voxels of ``layer`` with the description's label value."""

    description: SegmentDescription
    layer: int


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
    provenance: dict[str, str]

    def mask(self, segment_id: str) -> NDArray[np.bool_]:
        """Voxels of one segment, [i, j, k].

        Raises:
            KeyError: there is no such segment.
        """
        for segment in self.segments:
            if segment.description.id == segment_id:
                return np.asarray(self.layers[segment.layer] == segment.description.label_value)
        raise KeyError(segment_id)

    def on_grid(self, reference: Geometry, tolerance_mm: float = 1e-3) -> Segmentation:
        """The same segmentation on the reference's grid, voxel for voxel.

        Slicer may save only the part of the grid that the segments fill; such a part is put back in
        its place. Nothing is resampled.

        Raises:
            VolumeError: the voxels do not coincide, or segments reach outside the reference.
        """
        if self.geometry.same_grid(reference, tolerance_mm):
            return self
        start = (reference.ras_to_ijk @ self.geometry.ijk_to_ras[:, 3])[:3]
        offset = np.rint(start).astype(int)
        shifted = np.array(reference.ijk_to_ras)
        shifted[:, 3] = reference.ijk_to_ras @ [*offset, 1]
        if not self.geometry.same_grid(Geometry(self.geometry.shape, shifted), tolerance_mm):
            raise VolumeError(
                "The segmentation lies on another voxel grid than the volume that it belongs to.",
                "In Slicer's Segment Editor set the source geometry to the reference volume (T1 with contrast), "
                "then save again.",
            )
        low = np.maximum(offset, 0)
        high = np.minimum(offset + self.geometry.shape, reference.shape)
        inside = tuple(slice(a - o, max(b - o, a - o)) for a, b, o in zip(low, high, offset, strict=True))
        kept = self.layers[(slice(None), *inside)]
        if np.count_nonzero(kept) != np.count_nonzero(self.layers):
            raise VolumeError(
                "The segmentation reaches outside the volume that it belongs to.",
                "In Slicer's Segment Editor set the source geometry to the reference volume, then save again.",
            )
        layers = np.zeros((len(self.layers), *reference.shape), self.layers.dtype)
        layers[(slice(None), *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)))] = kept
        return Segmentation(self.segments, layers, reference, self.provenance)


def encode_segmentation(
    labelmap: NDArray[np.uint8],
    geometry: Geometry,
    segments: Sequence[SegmentDescription],
    provenance: Mapping[str, str] | None = None,
) -> bytes:
    """Write a labelmap as ``.seg.nrrd``; the same content gives the same bytes.

    Args:
        labelmap: uint8 [i, j, k], the segments' label values.
        segments: described in this order; one without voxels is written as an empty segment.
        provenance: kept in the header, such as model, version and hash.

    Raises:
        ValueError: shapes differ, ids or label values are used twice, or the labelmap has a value that
            no segment describes.
    """
    _check_labelmap(labelmap, geometry, segments)
    fields = {
        "Segmentation_ContainedRepresentationNames": f"{_REPRESENTATION}|",
        "Segmentation_MasterRepresentation": _REPRESENTATION,
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_ConversionParameters": _reference_geometry(geometry),
    }
    boxes = _boxes(labelmap)
    for number, segment in enumerate(segments):
        values = {
            "ID": segment.id,
            "Name": segment.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{value / 255:.6g}" for value in segment.color_rgb),
            "ColorAutoGenerated": "0",
            "LabelValue": str(segment.label_value),
            "Layer": "0",
            "Extent": " ".join(str(edge) for edge in boxes.get(segment.label_value, (0, -1, 0, -1, 0, -1))),
            "Tags": _tags(segment),
        }
        fields.update({f"Segment{number}_{key}": value for key, value in values.items()})
    for key, value in (provenance or {}).items():
        fields[f"{PROVENANCE_PREFIX}{key}"] = value
    return nrrd.encode(labelmap, geometry.ijk_to_ras, fields, "gzip")


def _check_labelmap(labelmap: NDArray[np.uint8], geometry: Geometry, segments: Sequence[SegmentDescription]) -> None:
    if labelmap.dtype != np.uint8 or labelmap.shape != geometry.shape:
        raise ValueError(f"labelmap is {labelmap.dtype} {labelmap.shape}, expected uint8 {geometry.shape}")
    values = [segment.label_value for segment in segments]
    if len({segment.id for segment in segments}) != len(segments) or len(set(values)) != len(values):
        raise ValueError("two segments have the same id or label value")
    unknown = _present(labelmap) - set(values)
    if unknown:
        raise ValueError(f"the labelmap has values that no segment describes: {sorted(unknown)}")


def _present(layer: NDArray[Any]) -> set[int]:
    flat = layer.ravel(order="K")
    filled = flat[flat != 0]
    if filled.dtype == np.uint8:
        return {int(value) for value in np.flatnonzero(np.bincount(filled))}
    return {int(value) for value in np.unique(filled)}


def _boxes(labelmap: NDArray[np.uint8]) -> dict[int, tuple[int, ...]]:
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


def _tags(segment: SegmentDescription) -> str:
    """Slicer's ``key:value|`` list with the terminology entry, if the segment has codes."""
    if segment.category is None or segment.type is None:
        return "Segmentation.Status:completed|"
    region = segment.region or "^^"
    entry = "~".join(
        (_TYPE_CONTEXT, str(segment.category), str(segment.type), "^^", _REGION_CONTEXT, str(region), "^^")
    )
    return f"Segmentation.Status:completed|TerminologyEntry:{entry}|"


def decode_segmentation(data: bytes, max_voxels: int = MAX_VOXELS) -> Segmentation:
    """Read a ``.seg.nrrd`` of Slicer's or ours.

    Raises:
        VolumeError: damaged, no segmentation, or voxels that belong to no segment.
        GeometryError: the geometry is not usable.
    """
    try:
        header = nrrd.read_header(data)
        check_claim(header.sizes, max_voxels)
        volume = nrrd.decode(data, max_voxels)
    except nrrd.NrrdError as error:
        raise VolumeError(str(error), _SAVE_AGAIN) from error
    if volume.array.dtype.kind not in "iu":
        raise VolumeError(f"Voxels of a segmentation are whole numbers, not {volume.array.dtype}.", _SAVE_AGAIN)
    layers = volume.array if volume.array.ndim == 4 else volume.array[None]
    numbers = sorted({int(found[1]) for key in volume.fields if (found := re.fullmatch(r"Segment(\d+)_ID", key))})
    if not numbers and not any(key.startswith("Segmentation_") for key in volume.fields):
        raise VolumeError("The file is a plain labelmap: it does not name its segments.", _SAVE_AGAIN)
    segments = tuple(_segment(volume.fields, number) for number in numbers)
    _check_segments(segments, layers)
    geometry = Geometry(layers.shape[1:], volume.ijk_to_ras)
    check_geometry(geometry)
    own = {key.removeprefix(PROVENANCE_PREFIX): value for key, value in volume.fields.items() if _is_own(key)}
    return Segmentation(segments, layers, geometry, own)


def _is_own(key: str) -> bool:
    return key.startswith(PROVENANCE_PREFIX)


def _segment(fields: Mapping[str, str], number: int) -> Segment:
    def value(key: str, default: str) -> str:
        return fields.get(f"Segment{number}_{key}", default)

    segment_id = value("ID", "")
    try:
        # files of Slicer before 4.11 have neither: one segment a layer, label value 1
        label_value, layer = (int(value("LabelValue", "1")), int(value("Layer", str(number))))
        colors = [round(255 * min(max(float(part), 0.0), 1.0)) for part in value("Color", "").split()]
    except (ValueError, OverflowError) as error:
        raise VolumeError(f"The description of segment {segment_id!r} is damaged: {error}.", _SAVE_AGAIN) from error
    red, green, blue = colors if len(colors) == 3 else _GREY
    category, kind, region = _codes(value("Tags", ""))
    return Segment(
        SegmentDescription(
            segment_id, value("Name", segment_id), label_value, (red, green, blue), category, kind, region
        ),
        layer,
    )


def _codes(tags: str) -> tuple[Code | None, Code | None, Code | None]:
    """Category, type and region out of Slicer's tag list."""
    entry = next((tag for tag in tags.split("|") if tag.startswith(("TerminologyEntry:", "Terminology:"))), "")
    parts = entry.partition(":")[2].split("~")

    def code(index: int) -> Code | None:
        triple = parts[index].split("^") if index < len(parts) else []
        return Code(*triple) if len(triple) == 3 and triple[1] else None

    return code(1), code(2), code(5)


def _check_segments(segments: Iterable[Segment], layers: NDArray[Any]) -> None:
    ids: set[str] = set()
    described: dict[int, set[int]] = {index: {0} for index in range(len(layers))}
    for segment in segments:
        description = segment.description
        if description.id in ids or description.label_value in described.get(segment.layer, {description.label_value}):
            raise VolumeError(
                f"The segment {description.id!r} is described twice, has the label value 0, or is in a layer that is "
                "not there.",
                _SAVE_AGAIN,
            )
        ids.add(description.id)
        described[segment.layer].add(description.label_value)
    for index, layer in enumerate(layers):
        unknown = _present(layer) - described[index]
        if unknown:
            raise VolumeError(
                f"The file has voxels with the value {min(unknown)} that belong to no segment.", _SAVE_AGAIN
            )
