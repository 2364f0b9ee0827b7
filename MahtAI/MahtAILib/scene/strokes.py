"""What the reader changed since the model's last word, and the region around it in which the model looks again.

A stroke is a voxel whose label differs from the baseline: the model's proposal, and after a correction what that
came to. Strokes of earlier corrections stay strokes for as long as their voxels have the label that they gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.edits import not_by_the_reader
from MahtAILib.scene.labels import Box, Layers, layers_of, moved, put_labels
from MahtAILib.scene.provenance import count_correction

MARGIN_MM = 24.0
"""How far around the strokes the model looks again."""

_NOTHING_CHANGED = "Nothing was changed."
_ROUNDING = 1e-6


class StrokesError(ExplainedError):
    """There are no strokes that could be sent, or the answer to them cannot be put in."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What a correction came to in its region.

    Attributes:
        box: of the grid.
        labels: [i, j, k] of the box, after the correction.
        strokes: [i, j, k] of the box, as they were sent.
    """

    box: Box
    labels: NDArray[np.uint8]
    strokes: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Baseline:
    """The model's last word.

    Attributes:
        proposal: the result of the job.
        patches: the corrections since, the oldest first.
    """

    proposal: Segmentation
    patches: tuple[Patch, ...] = ()

    @property
    def known(self) -> dict[str, int]:
        """Segment id → label of the segments that the model knows."""
        return {segment.id: segment.label_value for segment in self.proposal.segments}

    def labels_and_strokes(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Labels of the whole grid, and the strokes that led to them; see :class:`Region`.

        Raises:
            StrokesError: the segments of the model may overlap.
        """
        if len(self.proposal.layers) != 1 or max(self.known.values(), default=0) >= 255:
            raise StrokesError(
                f"Results of this model cannot be corrected around strokes: its segments overlap. {_NOTHING_CHANGED}",
                "Correct by hand.",
            )
        labels = np.array(self.proposal.layers[0], np.uint8, order="F")
        strokes = np.zeros_like(labels)
        for patch in self.patches:
            labels[patch.box], strokes[patch.box] = patch.labels, patch.strokes
        return labels, strokes


@dataclass(frozen=True, eq=False)
class Region:
    """What is asked of the server.

    Attributes:
        box: of the grid.
        geometry: of the box.
        known: segment id → label.
        labels: [i, j, k] of the box as they are now; 0 is background, or a segment that the model does not know.
        strokes: [i, j, k]: 0 none, 1 the reader says background, 1 + v he says label v.
        others: [i, j, k]: voxels of segments that the model does not know, which stay theirs.
        other_names: of the segments in the box that the model does not know.
        gone: labels whose segments the reader removed.
    """

    box: Box
    geometry: Geometry
    known: Mapping[str, int]
    labels: NDArray[np.uint8]
    strokes: NDArray[np.uint8]
    others: NDArray[np.bool_]
    other_names: tuple[str, ...]
    gone: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Change:
    """What the server's answer to a region comes to.

    Attributes:
        region: that was sent.
        labels: [i, j, k] of its box, from now on.
        where: [3, n], indices in the grid of the voxels whose labels change.
    """

    region: Region
    labels: NDArray[np.uint8]
    where: NDArray[np.intp]

    @property
    def volume_ml(self) -> float:
        """Of the voxels that change."""
        return self.where.shape[1] * self.region.geometry.voxel_ml

    @property
    def patch(self) -> Patch:
        """What the baseline has to know of it."""
        return Patch(self.region.box, self.labels, self.region.strokes)


def find_region(layers: Layers, baseline: Baseline) -> Region:
    """The strokes and the region around them.

    Raises:
        StrokesError: nothing was painted, or the segmentation is not on the grid of the proposal.
        LabelsError: segments overlap.
    """
    geometry = layers.geometry
    if not geometry.same_grid(baseline.proposal.geometry):
        raise StrokesError(
            f"The segmentation lies on another voxel grid than the AI result that it comes from. {_NOTHING_CHANGED}",
            "Run the model again: the result comes beside this segmentation.",
        )
    known = baseline.known
    before, strokes = baseline.labels_and_strokes()
    labels, others = layers.labels(known, layers.whole)
    is_new = (labels != before) & ~others
    if not is_new.any():
        raise StrokesError("There is no stroke yet.", "Paint or erase where the model is wrong first, then press this.")
    strokes[others] = 0
    strokes[is_new] = labels[is_new] + 1
    box = _around(is_new, geometry)
    matrix = moved(geometry.ijk_to_ras, [edge.start for edge in box])
    return Region(
        box,
        Geometry(labels[box].shape, matrix),
        known,
        labels[box].copy(order="K"),
        strokes[box].copy(order="K"),
        others[box].copy(order="K"),
        layers.names_in(box, known),
        tuple(label for one, label in known.items() if one not in layers.ids),
    )


def settle(region: Region, answer: NDArray[np.uint8]) -> Change:
    """What an answer comes to: voxels of other segments, or with labels of segments that are gone, stay as they are.

    Args:
        answer: [i, j, k] of the region; keeps to the strokes.

    Raises:
        StrokesError: it has a label that the model does not have.
    """
    unknown, kept = np.ones(256, np.bool_), np.zeros(256, np.bool_)
    unknown[[0, *region.known.values()]] = False
    kept[list(region.gone)] = True
    if unknown[answer].any():
        raise StrokesError(
            f"The server's correction has a label that the model does not know. {_NOTHING_CHANGED}",
            "Correct by hand, and tell the person who runs the server.",
        )
    labels = np.where(region.others | kept[answer], region.labels, answer)
    corner = [[edge.start] for edge in region.box]
    return Change(region, labels, np.array(np.nonzero(labels != region.labels)) + corner)


def put_in(node: Any, change: Change, save_state: Callable[[Any], None] = lambda node: None) -> None:
    """Put a correction into the scene as one step of undo, if its region is as it was when it was sent.

    Where nothing changes, the node is not touched.

    Args:
        node: vtkMRMLSegmentationNode.
        save_state: called with the node right before its segments change.

    Raises:
        StrokesError: the region was edited meanwhile; nothing was changed.
        LabelsError: as :func:`layers_of`, and where segments overlap now.
    """
    region = change.region
    labels, others = layers_of(node).labels(region.known, region.box)
    if not (np.array_equal(labels, region.labels) and np.array_equal(others, region.others)):
        raise StrokesError(
            "You edited the region while the model looked at it, so its correction was not put in. "
            "Your edits are kept.",
            "Press it again.",
        )
    if not change.where.size:
        return
    save_state(node)
    with not_by_the_reader():  # the edit is what follows
        count_correction(node)
    new = change.labels[tuple(change.where - [[edge.start] for edge in region.box])]
    put_labels(node, region.known, change.where, new)


def _around(mask: NDArray[np.bool_], geometry: Geometry) -> Box:
    """The smallest box with a margin that holds the voxels of a mask, within the grid."""
    edges = []
    for axis, (count, spacing) in enumerate(zip(geometry.shape, geometry.spacing_mm, strict=True)):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(MARGIN_MM / spacing - _ROUNDING))
        edges.append(slice(max(int(filled[0]) - margin, 0), min(int(filled[-1]) + margin + 1, count)))
    return edges[0], edges[1], edges[2]
