"""One DICOM image series as a volume: a zip of its files, or one enhanced (multi-frame) file.

Slices are ordered by their position along the normal (DICOM PS3.3 C.7.6.2), never by file name or
instance number. What is not one complete 3-D series is refused with the reason. No attribute that
could name a patient is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mahtai.volumes.dicom_files import ONE_SERIES, WHAT_TO_SEND, kind_of
from mahtai.volumes.dicom_pixels import damage_named, read_pixels
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume, VolumeError, check_claim

SPACING_TOLERANCE = 0.02
"""Share of the slice distance by which distances may differ before a slice is taken to be missing."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Slice:
    """One image of the series; lengths in mm, directions in LPS as DICOM has them."""

    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    pixels: Callable[[], NDArray[Any]]
    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A complete series, ordered by position.

    Attributes:
        geometry: I along the rows, J along the columns, K along the normal; RAS in mm.
        dtype: numpy's name of a voxel after rescaling.
    """

    geometry: Geometry
    dtype: str
    slices: tuple[_Slice, ...]

    def read(self) -> Volume:
        """Decode the pixels, with rescale slope and intercept applied."""
        array = np.empty(self.geometry.shape, dtype=self.dtype, order="F")
        for index, image in enumerate(self.slices):
            pixels = image.pixels()
            if pixels.shape != image.shape:
                raise VolumeError("An image of the series has another size than it says.", "Export the series again.")
            if (image.slope, image.intercept) != (1.0, 0.0):
                pixels = pixels * np.float32(image.slope) + np.float32(image.intercept)
            array[:, :, index] = pixels.T
        return Volume(array, self.geometry, "dicom")


def read_series(datasets: list[Dataset], max_voxels: int) -> DicomSeries:
    """Make one series of the images in a zip or a multi-frame file and check that it is whole; pixels come later.

    Args:
        datasets: as ``dicom_files.read_datasets`` gives them.

    Raises:
        VolumeError: no or several series, positions missing or doubled, slices missing, colour images,
            or more voxels than allowed.
        GeometryError: the geometry is not 3-D.
    """
    series = {str(dataset.get("SeriesInstanceUID", "")) for dataset in datasets}
    if len(series) > 1:
        raise VolumeError(f"The zip holds {len(datasets)} images of {len(series)} DICOM series.", ONE_SERIES)
    _refuse_one_image(datasets)
    slices = [image for dataset in datasets for image in _slices(dataset)]
    slices = _in_order(slices)
    first = slices[0]
    shape = (first.shape[1], first.shape[0], len(slices))
    check_claim(shape, max_voxels)
    return DicomSeries(Geometry(shape, _ijk_to_ras(slices)), _dtype(datasets, slices), tuple(slices))


def _refuse_one_image(datasets: list[Dataset]) -> None:
    """One slice is no volume, and what is not a radiograph is no cephalogram: say both, whichever was meant."""
    if len(datasets) > 1:
        return
    with damage_named("The DICOM file does not say how many images it holds."):
        images = len(datasets[0].get("PerFrameFunctionalGroupsSequence", ())) or int(
            datasets[0].get("NumberOfFrames", 1) or 1
        )
    if images == 1:
        raise VolumeError(
            f"There is one DICOM image only ({kind_of(datasets[0])}): neither a volume nor a radiograph.", WHAT_TO_SEND
        )


def _slices(dataset: Dataset) -> Iterator[_Slice]:
    """The images of a data set: one, or its frames."""
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise VolumeError("The DICOM images are in colour: neither a scan nor a radiograph.", WHAT_TO_SEND)
    with damage_named("A DICOM image does not say where in the patient it lies.", WHAT_TO_SEND):
        if "PerFrameFunctionalGroupsSequence" not in dataset:
            if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
                raise VolumeError("The DICOM file holds frames without positions.", WHAT_TO_SEND)
            yield _slice(dataset, dataset, dataset, dataset, partial(read_pixels, dataset))
            return
        all_frames = cache(partial(read_pixels, dataset))
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for index, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            yield _slice(
                dataset,
                _group(own, shared, "PlanePositionSequence"),
                _group(own, shared, "PlaneOrientationSequence"),
                _group(own, shared, "PixelMeasuresSequence"),
                partial(_frame, all_frames, index),
                _group(own, shared, "PixelValueTransformationSequence", optional=True),
            )


def _frame(all_frames: Callable[[], NDArray[Any]], index: int) -> NDArray[Any]:
    frames = all_frames()
    if frames.ndim != 3 or index >= len(frames):
        raise VolumeError("The DICOM file has fewer frames than it describes.", "Export the series again.")
    return np.asarray(frames[index])


def _group(own: Dataset, shared: Dataset, name: str, optional: bool = False) -> Dataset:
    """A functional group of a frame, its own or shared by all (DICOM PS3.3 C.7.6.16)."""
    for groups in (own, shared):
        if groups.get(name):
            return groups[name].value[0]
    if optional:
        return Dataset()
    raise AttributeError(name)


def _slice(
    image: Dataset,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    pixels: Callable[[], NDArray[Any]],
    transformation: Dataset | None = None,
) -> _Slice:
    rescale = image if transformation is None else transformation
    row_spacing, column_spacing = (float(value) for value in measures.PixelSpacing)
    result = _Slice(
        position=np.array([float(value) for value in position.ImagePositionPatient]),
        orientation=np.array([float(value) for value in orientation.ImageOrientationPatient]),
        spacing=(row_spacing, column_spacing),
        shape=(int(image.Rows), int(image.Columns)),
        pixels=pixels,
        slope=float(rescale.get("RescaleSlope", 1) or 1),
        intercept=float(rescale.get("RescaleIntercept", 0) or 0),
    )
    if result.position.shape != (3,) or result.orientation.shape != (6,):
        raise ValueError("position or orientation is not complete")
    return result


def _in_order(slices: list[_Slice]) -> list[_Slice]:
    """Sorted along the normal, after checking that they form one evenly spaced stack."""
    first = slices[0]
    for image in slices:
        if image.shape != first.shape or not np.allclose(image.spacing, first.spacing, rtol=1e-3):
            raise VolumeError("The images of the series differ in size or pixel spacing.", ONE_SERIES)
        if not np.allclose(image.orientation, first.orientation, atol=1e-3):
            raise VolumeError(
                "The images of the series lie in different directions, as a localizer's do.",
                "Choose a series with parallel slices.",
            )
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    ordered = sorted(slices, key=lambda image: float(image.position @ normal))
    distances = np.diff([float(image.position @ normal) for image in ordered])
    usual = float(np.median(distances))
    if distances.min() < 0.01:
        raise VolumeError(
            "Several images of the series lie at the same place: it is a time series or holds several volumes (4-D).",
            "Split it and send one volume of it.",
        )
    if float(np.abs(distances - usual).max()) > max(SPACING_TOLERANCE * usual, 0.01):
        raise VolumeError(
            f"Slices are missing or unevenly spaced: {usual:.2f} mm apart as a rule, {distances.max():.2f} mm at one "
            "place.",
            "Fetch the complete series from the archive again.",
        )
    return ordered


def _ijk_to_ras(ordered: list[_Slice]) -> NDArray[np.float64]:
    """From the positions of the first and the last slice (DICOM PS3.3 C.7.6.2.1.1)."""
    first, last = ordered[0], ordered[-1]
    row_spacing, column_spacing = first.spacing
    matrix = np.eye(4)
    # along a row the column index grows, so that the first cosines go with the column spacing
    matrix[:3, 0] = first.orientation[:3] * column_spacing
    matrix[:3, 1] = first.orientation[3:] * row_spacing
    matrix[:3, 2] = (last.position - first.position) / (len(ordered) - 1)
    matrix[:3, 3] = first.position
    matrix[:3] = _LPS_TO_RAS @ matrix[:3]
    return matrix


def _dtype(datasets: list[Dataset], slices: list[_Slice]) -> str:
    if any((image.slope, image.intercept) != (1.0, 0.0) for image in slices):
        return "float32"
    first = datasets[0]
    allocated, signed = first.get("BitsAllocated"), first.get("PixelRepresentation")
    if allocated not in (8, 16, 32) or signed not in (0, 1):
        raise VolumeError("A DICOM image does not say how its pixels are stored.", "Export the series again.")
    return f"{'int' if signed else 'uint'}{allocated}"
