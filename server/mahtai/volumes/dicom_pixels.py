"""The pixels of DICOM images, plain or compressed, and one name for all that damaged files make parsers raise."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid

from mahtai.volumes.passing_folder import passing_folder
from mahtai.volumes.volume import VolumeError

PIXEL_ATTRIBUTES = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""What decoding needs (DICOM PS3.3 C.7.6.3), pixel data aside."""

PADDING_ATTRIBUTES = ("PixelPaddingValue", "PixelPaddingRangeLimit")
"""Stored values that stand for no image (DICOM PS3.3 C.7.5.1.1.2)."""

# found by feeding damaged files to pydicom and GDCM
_DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


@contextmanager
def damage_named(reason: str, hint: str = "Export it again.") -> Iterator[None]:
    """Turn whatever a parser stumbles over in a damaged file into a ``VolumeError`` with this reason."""
    try:
        yield
    except _DAMAGE as error:
        raise VolumeError(reason, hint) from error


def read_pixels(dataset: Dataset) -> NDArray[Any]:
    """The stored values of a data set, [row, column] or [frame, row, column], not rescaled.

    Raises:
        VolumeError: damaged, cut off, or packed in a way that cannot be unpacked.
    """
    with damage_named("The pixels of a DICOM file are damaged or cut off."):
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            return np.asarray(dataset.pixel_array)
        return _decompressed(dataset)


def _decompressed(dataset: Dataset) -> NDArray[Any]:
    """JPEG, JPEG 2000, JPEG-LS and RLE through GDCM, which SimpleITK has on board."""
    import SimpleITK  # takes a moment to load and most series do not need it

    # only what decoding needs is written out: nothing of the patient, and no rescaling for GDCM to apply
    bare = Dataset()
    for name in PIXEL_ATTRIBUTES:
        if name in dataset:
            setattr(bare, name, dataset[name].value)
    if str(dataset.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
        # ITK inverts it otherwise, and these are to be the stored values
        bare.PhotometricInterpretation = "MONOCHROME2"
    bare["PixelData"] = dataset["PixelData"]
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID = bare.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    with passing_folder(len(bare.PixelData)) as folder:
        path = folder / "image.dcm"
        bare.save_as(path, enforce_file_format=True)
        try:
            array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))
        except RuntimeError as error:
            raise VolumeError(
                "The compressed pixels of a DICOM file cannot be read.", "Export it uncompressed."
            ) from error
    return np.asarray(array[0] if array.ndim == 3 and array.shape[0] == 1 else array)
