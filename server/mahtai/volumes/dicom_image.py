"""One radiograph in DICOM (CR, DX, secondary capture and their kin) as a volume W × H × 1.

The grid is the one that ITK, and so Slicer, gives it; the true pixel size stands beside it. MONOCHROME1 is
inverted, so that bone is bright, as Slicer does too; padding becomes background. Rescaling and windowing are
left to who looks at it.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom.uid
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pixel_array

from mahtai.volumes.dicom_pixel_size import stated_pixel_size
from mahtai.volumes.dicom_pixels import PADDING_ATTRIBUTES, PIXEL_ATTRIBUTES, damage_named, read_pixels
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.planar import check_claimed_size, itk_grid
from mahtai.volumes.volume import Volume, VolumeError, VolumeInfo

RADIOGRAPHS = frozenset(
    {
        pydicom.uid.ComputedRadiographyImageStorage,
        pydicom.uid.DigitalXRayImageStorageForPresentation,
        pydicom.uid.DigitalXRayImageStorageForProcessing,
        pydicom.uid.DigitalIntraOralXRayImageStorageForPresentation,
        pydicom.uid.DigitalIntraOralXRayImageStorageForProcessing,
        pydicom.uid.XRayRadiofluoroscopicImageStorage,
        pydicom.uid.XRayAngiographicImageStorage,
        pydicom.uid.SecondaryCaptureImageStorage,
        pydicom.uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        pydicom.uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        pydicom.uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""SOP classes of images that need no place in the patient."""

_PLACE_ATTRIBUTES = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_EXPORT = "Export the radiograph itself as a grey image (DICOM CR or DX, or PNG)."


def is_radiograph(datasets: list[Dataset]) -> bool:
    """Whether what was sent is one projection image (perhaps with frames), not a series of slices."""
    if len(datasets) != 1:
        return False
    sop_class = datasets[0].file_meta.MediaStorageSOPClassUID
    # an enhanced object says where each frame lies, and is a series
    return sop_class in RADIOGRAPHS and "PerFrameFunctionalGroupsSequence" not in datasets[0]


def describe_radiograph(dataset: Dataset) -> VolumeInfo:
    """What the header says.

    Raises:
        VolumeError: several frames, or an image of a kind that is not read.
    """
    _check(dataset)
    return VolumeInfo("volume", "dicom", _grid(dataset), _dtype(dataset))


def read_radiograph(dataset: Dataset) -> Volume:
    """Unpack the image.

    Raises:
        VolumeError: several frames, damaged, cut off, or packed in a way that cannot be unpacked.
    """
    _check(dataset)
    grid = _grid(dataset)
    grey = _grey(dataset)
    if grey.T.shape != grid.shape[:2]:
        raise VolumeError("The DICOM image has another size than it says.", "Export the image again.")
    return Volume(np.asfortranarray(grey.T)[:, :, None], grid, "dicom", pixel_size=stated_pixel_size(dataset))


def _check(dataset: Dataset) -> None:
    with damage_named("The DICOM image does not say how its pixels are stored.", "Export the image again."):
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        width, height = int(dataset.Columns), int(dataset.Rows)
        colours = (int(dataset.get("SamplesPerPixel", 1)), str(dataset.get("PhotometricInterpretation", "")))
        allocated = int(dataset.BitsAllocated)
    if frames != 1:
        raise VolumeError(
            f"The DICOM file holds {frames} frames (a film or a series); a cephalogram is one image.", _EXPORT
        )
    check_claimed_size(width, height)
    if colours[1] == "PALETTE COLOR" or colours[0] not in (1, 3) or allocated not in (8, 16, 32):
        raise VolumeError(
            f"The pixels of the DICOM image ({colours[1] or 'of unknown kind'}, {allocated} bits) are no grey levels.",
            _EXPORT,
        )


def _grey(dataset: Dataset) -> NDArray[Any]:
    """[row, column], bright where more was absorbed."""
    if dataset.get("SamplesPerPixel", 1) == 3:
        with damage_named("The colour pixels of the DICOM image cannot be unpacked.", _EXPORT):
            colour = pixel_array(dataset)
            return np.asarray(np.rint(colour @ _LUMINANCE)).astype(colour.dtype)
    inverted = str(dataset.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1"
    pixels = _without_padding(read_pixels(dataset), dataset, inverted)
    if inverted:
        stored = int(dataset.get("BitsStored", dataset.BitsAllocated))
        top = -1 if dataset.get("PixelRepresentation", 0) else 2**stored - 1
        # pixels above the stored range would turn round; they are as black as can be
        pixels = (top - np.minimum(pixels.astype(np.int64), max(top, 2 ** (stored - 1) - 1))).astype(pixels.dtype)
    return pixels


def _without_padding(pixels: NDArray[Any], dataset: Dataset, inverted: bool) -> NDArray[Any]:
    """With padding as dark as the darkest of the image, so that it does not stretch the range of grey levels.

    Args:
        pixels: stored values.
        inverted: the largest of them is the darkest.
    """
    with damage_named("The padding value of the DICOM image is no number.", "Export the image again."):
        found = [dataset[name].value for name in PADDING_ATTRIBUTES if name in dataset]
        if not found or found[0] in (None, "") or "PixelPaddingValue" not in dataset:
            return pixels
        # some files give it with the wrong sign; the bits count
        limits = np.array([int(value) for value in found if value not in (None, "")]).astype(pixels.dtype)
    padding = (pixels >= limits.min()) & (pixels <= limits.max())
    if padding.all() or not padding.any():
        return pixels
    image = pixels[~padding]
    return np.where(padding, image.max() if inverted else image.min(), pixels)


def _dtype(dataset: Dataset) -> str:
    return f"{'int' if dataset.get('PixelRepresentation', 0) == 1 else 'uint'}{int(dataset.BitsAllocated)}"


def _grid(dataset: Dataset) -> Geometry:
    """As ITK has it, told by a copy of the file without anything of the patient."""
    bare = Dataset()
    for name in (*PIXEL_ATTRIBUTES, *_PLACE_ATTRIBUTES):
        if name in dataset:
            bare[name] = dataset[name]
    bare["PixelData"] = dataset["PixelData"]
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID = bare.file_meta.MediaStorageSOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    written = BytesIO()
    with damage_named("The DICOM image is damaged.", "Export the image again."):
        bare.save_as(written, enforce_file_format=True)
    return itk_grid(written.getvalue(), "GDCMImageIO")
