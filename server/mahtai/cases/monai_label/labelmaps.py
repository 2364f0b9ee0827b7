"""Labelmaps of the MONAI Label protocol: one number a voxel, names beside it, turned into segmentations and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mahtai.cases.label_kind import LabelError, WrongGrid
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import decode_segmentation, encode_segmentation, on_grid
from mahtai.volumes.terminology import SegmentDescription, segment_ids, segments_of_task
from mahtai.volumes.volume import Volume, VolumeError
from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry as Grid
from MahtAILib.client.labelmaps import MOST_LABELS, bytes_colour, shown


def read_label(data: bytes, label_info: Any, task: str, reference: Geometry, provenance: Mapping[str, str]) -> bytes:
    """A label that a client saved, as ``.seg.nrrd`` on the case's grid.

    Args:
        data: a labelmap (NIfTI, NRRD), or a ``.seg.nrrd``, which names its segments itself.
        label_info: ``[{"name": …, "idx": voxel value}]`` of a labelmap.
        task: of the case; names that it knows get its codes, colours and values.
        reference: grid of the volume that the label belongs to.
        provenance: for the header.

    Raises:
        VolumeError, GeometryError: the file cannot be read.
        LabelError: its values are no labels, or it is not clear which name is which value's.
        WrongGrid: its voxels are not those of the reference.
    """
    from mahtai.volumes.formats import read_volume  # late, for the sake of a quick start

    if _names_segments(data):
        segmentation = decode_segmentation(data)
        try:
            return files.encode(on_grid(segmentation, reference))
        except VolumeError as error:
            raise WrongGrid(error.reason, error.hint) from error
    volume = read_volume(data)
    labelmap = _on_grid(volume, reference)
    names = _names(label_info, _present(labelmap))
    segments = _described(names, task)
    values = {old: segment.label_value for old, segment in segments.items()}
    table = np.zeros(max([MOST_LABELS, *values]) + 1, np.uint8)
    table[list(values)] = list(values.values())
    return encode_segmentation(table[labelmap], reference, list(segments.values()), provenance)


def contiguous(data: bytes, labels: Sequence[SegmentDescription]) -> tuple[NDArray[np.uint8], Grid, dict[str, int]]:
    """A result as a labelmap whose values are 1..N in the order of the model's label values.

    Returns:
        uint8 [i, j, k], its grid, and name → value, also of labels without voxels.
    """
    segmentation = decode_segmentation(data)
    labelmap = np.zeros(segmentation.geometry.shape, np.uint8)
    there = {segment.id for segment in segmentation.segments}
    names = {}
    for value, label in enumerate(sorted(labels, key=lambda label: label.label_value), start=1):
        names[label.name] = value
        if label.id in there:
            labelmap[segmentation.mask(label.id)] = value
    return labelmap, segmentation.geometry, names


def _names_segments(data: bytes) -> bool:
    return data[:4] == b"NRRD" and re.search(rb"\nSegment\d+_ID:=", data[: 1 << 16]) is not None


def _on_grid(volume: Volume, reference: Geometry) -> NDArray[np.uint16]:
    """The labels in the reference's order of axes, which some programs turn when they read and write a file.

    Raises:
        LabelError: a value is no label. WrongGrid: the voxels do not coincide.
    """
    array = volume.array
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise LabelError("The label holds values that are not whole numbers. Nothing was saved.", "Save a labelmap.")
    if array.size and not (array.min() >= 0 and array.max() < 2**16):
        raise LabelError("The label holds values that are no labels. Nothing was saved.", "Save a labelmap.")
    turn = reference.ras_to_ijk @ volume.geometry.ijk_to_ras
    axes = np.rint(turn[:3, :3]).astype(int)
    if np.array_equal(np.abs(axes).sum(axis=0), (1, 1, 1)) and np.array_equal(np.abs(axes).sum(axis=1), (1, 1, 1)):
        order = [int(np.abs(axes[row]).argmax()) for row in range(3)]
        flipped = tuple(row for row in range(3) if axes[row, order[row]] < 0)
        array = np.flip(array.transpose(order), flipped)
        turned = np.eye(4)  # index in the file → index after exchanged axes and flips
        turned[:3, :3] = axes
        turned[:3, 3] = [array.shape[row] - 1 if row in flipped else 0 for row in range(3)]
        if Grid(array.shape, volume.geometry.ijk_to_ras @ np.linalg.inv(turned)).same_grid(reference):
            return np.ascontiguousarray(array).astype(np.uint16)
    raise WrongGrid(
        "The label lies on another voxel grid than the image that it belongs to. Nothing was saved.",
        "In Slicer's Segment Editor set the source geometry to the image, then save again.",
    )


def _present(labelmap: NDArray[np.uint16]) -> list[int]:
    values = [int(value) for value in np.flatnonzero(np.bincount(labelmap.ravel(order="K"))) if value]
    if len(values) > MOST_LABELS:
        raise LabelError(f"The label has more than {MOST_LABELS} values: it is an image.", "Save the labelmap itself.")
    return values


def _names(label_info: Any, present: Sequence[int]) -> dict[int, str]:
    """Voxel value → name.

    Some clients leave a segment out of the labelmap, which moves all values, but not out of the count of ``idx``.

    Raises:
        LabelError: the list cannot be read, or a voxel's name could be one or the other.
    """
    try:
        listed = [(shown(entry["name"]).strip() or "Unnamed", int(entry["idx"])) for entry in label_info or ()]
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(
            'The list of labels cannot be understood: it is [{"name": …, "idx": …}]. Nothing was saved.',
            "Update the program that sent it.",
        ) from error
    stated = {value: name for name, value in listed if value > 0}
    counted = {number: name for number, (name, _) in enumerate(listed, start=1)}
    fit = [names for names in (stated, counted) if all(value in names for value in present)]
    if len(fit) == 2 and any(stated[value] != counted[value] for value in present):
        raise LabelError(
            "It is not clear which name belongs to which label: the numbers of the names have gaps. Nothing was saved.",
            "Number the labels 1, 2, 3, … without gaps; in Slicer remove the segment “background”, then save again.",
        )
    # voxels that nobody named are kept under a name that claims nothing
    known = fit[0] if fit else stated
    return {**known, **{value: f"Label {value}" for value in present if value not in known}}


def _described(names: Mapping[int, str], task: str) -> dict[int, SegmentDescription]:
    """Voxel value → segment: one of the task's where the name is known, else one of its own."""
    known = segments_of_task(task, sorted(segment_ids(task)))
    by_word = {_bare(word): segment for segment in known for word in (segment.name, segment.id)}
    found = {value: by_word[_bare(name)] for value, name in names.items() if _bare(name) in by_word}
    if len({segment.id for segment in found.values()}) < len(found):
        raise LabelError("Two labels have the same name. Nothing was saved.", "Give each label a name of its own.")
    taken = {segment.label_value for segment in known}
    free = iter(value for value in range(1, MOST_LABELS + 1) if value not in taken)
    ids = {segment.id for segment in known}
    for value, name in sorted(names.items()):
        if value not in found:
            own = next(one for one in _slugs(name) if one not in ids)
            ids.add(own)
            try:
                found[value] = SegmentDescription(own, name, next(free), bytes_colour(value))
            except StopIteration:
                raise LabelError("The label names too many segments. Nothing was saved.", "Save fewer.") from None
    return found


def _bare(word: str) -> str:
    """A name without what people write one way or the other."""
    return re.sub(r"[^a-z0-9]", "", word.lower()).replace("oe", "e").replace("tumour", "tumor")


def _slugs(name: str) -> Sequence[str]:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "label"
    return [slug, *(f"{slug}-{number}" for number in range(2, MOST_LABELS + 2))]
