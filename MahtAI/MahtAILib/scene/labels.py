"""The segments of a node as one labelmap on its grid: read out whole, written back into a box. For one label a voxel.

Slicer keeps segments that do not overlap in one image and gives each a value there, cuts the images to what is
filled after an edit, and may give a segment an image of its own. Here all of that is seen as one grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from numpy.typing import ArrayLike, NDArray
from vtk.util import numpy_support

from MahtAILib.client.geometry import Geometry, GeometryError
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.images import extent_geometry, voxels_of, vtk_matrix
from MahtAILib.scene.segments import geometry_of

Box = tuple[slice, slice, slice]
"""First and one past the last index along I, J, K."""

_NOTHING_CHANGED = "Nothing was changed."
_FIRST = 1000.0
"""Priority: before all others who listen."""


class LabelsError(ExplainedError):
    """A segmentation that cannot be seen as one labelmap on its grid."""


@dataclass(frozen=True, eq=False)
class Layer:
    """An image that one or more segments share.

    Attributes:
        voxels: [i, j, k] of the part of the grid that it covers.
        start: index in the grid of its first voxel.
        values: segment id → value in ``voxels``.
    """

    voxels: NDArray[Any]
    start: tuple[int, int, int]
    values: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Layers:
    """All segments of a node.

    Attributes:
        geometry: the grid of the node.
        layers: of the segments that have voxels at all, also if none is filled.
        names: segment id → name.
    """

    geometry: Geometry
    layers: tuple[Layer, ...]
    names: Mapping[str, str]

    @property
    def whole(self) -> Box:
        """The box of the whole grid."""
        first, second, third = self.geometry.shape
        return slice(0, first), slice(0, second), slice(0, third)

    @property
    def ids(self) -> set[str]:
        """Of the segments that have an image."""
        return {one for layer in self.layers for one in layer.values}

    def copied(self) -> Layers:
        """Voxels of their own, so that another thread may read them."""
        return replace(self, layers=tuple(replace(one, voxels=one.voxels.copy(order="K")) for one in self.layers))

    def labels(self, known: Mapping[str, int], box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Labels of some segments in a box, and where other segments lie in the same images.

        Args:
            known: segment id → label, 1 to 255; other segments are not seen as labels.

        Returns:
            Labels [i, j, k], and where a voxel of a layer with known segments belongs to another segment.

        Raises:
            LabelsError: known segments overlap.
        """
        shape = tuple(edge.stop - edge.start for edge in box)
        labels, others = np.zeros(shape, np.uint8, order="F"), np.zeros(shape, np.bool_, order="F")
        for layer in self.layers:
            values = {layer.values[one]: known[one] for one in layer.values if one in known}
            inside, there = _shared(layer, box)
            part = layer.voxels[inside]
            if not values or not part.size:
                continue
            found = _looked_up(values, part)
            seen = labels[there]
            twice = (seen > 0) & (found > 0)
            if twice.any():
                self._refuse_overlap(known, {int(seen[twice][0]), int(found[twice][0])})
            np.maximum(seen, found, out=seen)
            others[there] |= (part != 0) & (found == 0)
        return labels, others

    def names_in(self, box: Box, known: Mapping[str, int]) -> tuple[str, ...]:
        """Names of segments that have voxels in a box; those of ``known`` are left out."""
        parts = [(layer, layer.voxels[_shared(layer, box)[0]]) for layer in self.layers]
        return tuple(
            self.names[one]
            for layer, part in parts
            for one, value in layer.values.items()
            if one not in known and (part == value).any()
        )

    def _refuse_overlap(self, known: Mapping[str, int], labels: set[int]) -> None:
        names = "” and “".join(self.names[one] for one, label in known.items() if label in labels)
        raise LabelsError(
            f"The segments “{names}” overlap, and the model knows one label a voxel. {_NOTHING_CHANGED}",
            "In the Segment Editor under Masking let Modify other segments be Overwrite all, and paint once over "
            "the part that they share.",
        )


def layers_of(node: Any) -> Layers:
    """The segments of a node as they are now; the voxels are not copied.

    Raises:
        LabelsError: there is none, or the node is moved by a transform or not on the grid that it came with.
    """
    geometry, source = geometry_of(node), node.GetSegmentation()
    if geometry is None:
        raise LabelsError(
            f"It is not known to which voxel grid the segmentation “{node.GetName()}” belongs. {_NOTHING_CHANGED}",
            "Run the model (section AI): the result comes beside this segmentation.",
        )
    if source.GetNumberOfSegments() == 0:
        raise LabelsError(f"The segmentation has no segments. {_NOTHING_CHANGED}", "Undo what removed them.")
    if node.GetParentTransformNode() is not None:
        raise LabelsError(
            f"The segmentation “{node.GetName()}” lies under a transform. {_NOTHING_CHANGED}",
            "Take it out of the transform (Slicer: Transforms module), then press this again.",
        )
    layers = []
    for image, values in _images(node):
        start = _start(image, geometry)
        if start is None:
            raise LabelsError(
                "The segmentation does not lie on the voxel grid that it came with any more. " + _NOTHING_CHANGED,
                "Undo what resampled it, or run the model again: the result comes beside this segmentation.",
            )
        layers.append(Layer(voxels_of(image), start, values))
    names = {one: source.GetSegment(one).GetName() for one in source.GetSegmentIDs()}
    return Layers(geometry, tuple(layers), names)


def put_labels(node: Any, known: Mapping[str, int], where: NDArray[np.intp], labels: NDArray[np.uint8]) -> None:
    """Let voxels belong to the known segment that has their label, or to none of them for label 0.

    Voxels of other segments stay theirs. Whoever wants this to be undone saves the state for undo before.

    Args:
        known: segment id → label.
        where: [3, n], indices I, J, K in the grid.
        labels: [n]; a label that no segment of the node has makes the voxel belong to none.

    Raises:
        LabelsError: see :func:`layers_of`.
    """
    there = layers_of(node)
    for (image, values), layer in zip(_images(node), there.layers, strict=True):
        value_of = np.zeros(256, layer.voxels.dtype)
        mine = {value: known[one] for one, value in values.items() if one in known}
        value_of[list(mine.values())] = list(mine)
        if mine:
            _put(image, layer, list(mine), where, value_of[labels], there.geometry)


def _put(
    image: Any,
    layer: Layer,
    mine: list[int],
    where: NDArray[np.intp],
    wanted: NDArray[Any],
    geometry: Geometry,
) -> None:
    """Write into one image.

    Args:
        layer: of the image.
        mine: values that may be overwritten.
        wanted: [n], a value of ``mine`` or 0.
    """
    with _unheard(image):
        missed = where[:, (wanted != 0) & ~_inside(where, layer.start, layer.voxels.shape)]
        start = _grow(image, layer, missed, geometry) if missed.size else layer.start
        voxels = voxels_of(image)
        inside = _inside(where, start, voxels.shape)
        at = tuple(where[:, inside] - np.reshape(start, (3, 1)))
        before = voxels[at]
        after = np.where((before == 0) | np.isin(before, mine), wanted[inside], before)
        if np.array_equal(before, after):
            return
        voxels[at] = after
    image.Modified()


def _inside(where: NDArray[np.intp], start: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    there = where - np.reshape(start, (3, 1))
    return np.asarray(((there >= 0) & (there < np.reshape(shape, (3, 1)))).all(axis=0))


def _grow(image: Any, layer: Layer, where: NDArray[np.intp], geometry: Geometry) -> tuple[int, ...]:
    """Let an image hold more voxels of the grid; returns the index in the grid of its first voxel then."""
    low, high = where.min(axis=1), where.max(axis=1) + 1
    end = np.add(layer.start, layer.voxels.shape)
    if layer.voxels.size:
        low, high = np.minimum(low, layer.start), np.maximum(high, end)
    voxels = np.zeros(high - low, layer.voxels.dtype, order="F")
    if layer.voxels.size:
        voxels[tuple(slice(*edges) for edges in zip(layer.start - low, end - low, strict=True))] = layer.voxels
    grown = slicer.vtkOrientedImageData()
    grown.SetExtent(*(int(edge) for edges in zip(low, high - 1, strict=True) for edge in edges))
    grown.SetImageToWorldMatrix(vtk_matrix(geometry.ijk_to_ras))
    grown.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.ravel(order="K"), deep=True))
    image.ShallowCopy(grown)
    return tuple(int(one) for one in low)


@contextmanager
def _unheard(image: Any) -> Iterator[None]:
    """Half a change of an image is not for those who listen to it."""

    def stop(*_arguments: object) -> None:
        image.GetCommand(tag).AbortFlagOn()

    tag = image.AddObserver("ModifiedEvent", stop, _FIRST)
    try:
        yield
    finally:
        image.RemoveObserver(tag)


def _images(node: Any) -> Iterator[tuple[Any, dict[str, int]]]:
    """Each image of the node once, with segment id → value in it, in the order of the segments."""
    source = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    found: dict[str, tuple[Any, dict[str, int]]] = {}
    for segment_id in source.GetSegmentIDs():
        segment = source.GetSegment(segment_id)
        image = segment.GetRepresentation(name)
        if image is not None:
            found.setdefault(image.GetAddressAsString(""), (image, {}))[1][segment_id] = segment.GetLabelValue()
    yield from found.values()


def _start(image: Any, geometry: Geometry) -> tuple[int, int, int] | None:
    """The grid's index of the image's first voxel, None if its voxels are not those of the grid."""
    if image.GetNumberOfPoints() == 0:
        return 0, 0, 0
    try:
        here = extent_geometry(image)
    except GeometryError:
        return None
    start = np.rint((geometry.ras_to_ijk @ here.ijk_to_ras[:, 3])[:3]).astype(int)
    low, high = start, start + here.shape
    on_grid = Geometry(here.shape, moved(geometry.ijk_to_ras, start))
    if (low < 0).any() or (high > geometry.shape).any() or not on_grid.same_grid(here):
        return None
    first, second, third = (int(one) for one in start)
    return first, second, third


def moved(ijk_to_ras: NDArray[np.float64], start: ArrayLike) -> NDArray[np.float64]:
    """The matrix of a part of a grid that begins at the index ``start``."""
    matrix = np.array(ijk_to_ras)
    matrix[:, 3] = ijk_to_ras @ [*np.asarray(start, float), 1.0]
    return matrix


def _shared(layer: Layer, box: Box) -> tuple[Box, Box]:
    """What a layer and a box share: as slices of the layer's voxels and of the box."""
    inside, there = [], []
    for at, count, edge in zip(layer.start, layer.voxels.shape, box, strict=True):
        low = min(max(at, edge.start), edge.stop)
        high = max(min(at + count, edge.stop), low)
        inside.append(slice(low - at, high - at) if high > low else slice(0, 0))
        there.append(slice(low - edge.start, high - edge.start))
    return (inside[0], inside[1], inside[2]), (there[0], there[1], there[2])


def _looked_up(values: Mapping[int, int], voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """The label of each voxel; 0 where its value is not in ``values``."""
    found = np.zeros(voxels.shape, np.uint8, order="F")
    for value, label in values.items():
        found += (voxels == value).view(np.uint8) * np.uint8(label)  # several times quicker than indexing
    return found
