"""Segmentation files with coded segments: the client's ``.seg.nrrd`` format with our terminology on top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from mahtai.volumes.geometry import GeometryError
from mahtai.volumes.terminology import Code, SegmentDescription
from mahtai.volumes.volume import MAX_VOXELS, VolumeError, check_claim
from MahtAILib.client import geometry as grids
from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.segmentation import TERMINOLOGY_TAG, Segment, Segmentation

_TYPE_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"


def encode_segmentation(
    labelmap: NDArray[np.uint8],
    geometry: grids.Geometry,
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
    if labelmap.dtype != np.uint8:
        raise ValueError(f"labelmap is {labelmap.dtype}, expected uint8")
    described = tuple(_segment(segment) for segment in segments)
    return files.encode(Segmentation(described, labelmap[None], geometry, dict(provenance or {})))


def decode_segmentation(data: bytes, max_voxels: int = MAX_VOXELS) -> Segmentation:
    """Read a ``.seg.nrrd`` of Slicer's or ours.

    Raises:
        VolumeError: damaged, no segmentation, or voxels that belong to no segment.
        GeometryError: the geometry is not usable.
    """
    with _as_problem():
        with suppress(nrrd.NrrdError):  # decode says it in words for a segmentation
            check_claim(nrrd.read_header(data).sizes, max_voxels)
        return files.decode(data, max_voxels)


def on_grid(segmentation: Segmentation, reference: grids.Geometry) -> Segmentation:
    """The same segmentation on the reference's grid, voxel for voxel.

    Raises:
        VolumeError: the voxels do not coincide, or segments reach outside the reference.
    """
    with _as_problem():
        return segmentation.on_grid(reference)


def description_of(segment: Segment) -> SegmentDescription:
    """A segment of a file with its codes, as far as its terminology tag has them."""
    red, green, blue = (round(255 * part) for part in segment.color_rgb)
    category, kind, region = _codes(segment.tags.get(TERMINOLOGY_TAG, ""))
    return SegmentDescription(segment.id, segment.name, segment.label_value, (red, green, blue), category, kind, region)


def _segment(description: SegmentDescription) -> Segment:
    red, green, blue = (value / 255 for value in description.color_rgb)
    tags = {"Segmentation.Status": "completed"}
    if description.category is not None and description.type is not None:
        codes = (str(description.category), str(description.type), "^^")
        region = (_REGION_CONTEXT, str(description.region or "^^"), "^^")
        tags[TERMINOLOGY_TAG] = "~".join((_TYPE_CONTEXT, *codes, *region))
    return Segment(description.id, description.name, description.label_value, (red, green, blue), 0, tags)


def _codes(entry: str) -> tuple[Code | None, Code | None, Code | None]:
    """Category, type and region out of Slicer's terminology entry."""
    parts = entry.split("~")

    def code(index: int) -> Code | None:
        triple = parts[index].split("^") if index < len(parts) else []
        return Code(*triple) if len(triple) == 3 and triple[1] else None

    return code(1), code(2), code(5)


@contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except files.SegmentationError as error:
        raise VolumeError(error.reason, error.hint) from error
    except grids.GeometryError as error:
        raise GeometryError(error.reason, error.hint) from error
