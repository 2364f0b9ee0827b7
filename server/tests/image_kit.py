"""2-D images made for tests: files of every kind, and radiographs in DICOM."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

WIDTH, HEIGHT = 260, 300


def grey(dtype: str = "uint8", height: int = HEIGHT, width: int = WIDTH) -> NDArray[Any]:
    """[row, column]: a slope, so that every turn of the picture shows, and a bright corner."""
    rows, columns = np.mgrid[:height, :width]
    slope = (rows * 2 + columns) / (2 * height + width)
    slope[:20, :30] = 1
    return np.asarray((slope * np.iinfo(dtype).max).astype(dtype))


def colours(channels: int = 3) -> NDArray[np.uint8]:
    """[row, column, channel]: the channels differ, alpha is opaque."""
    one = grey()
    parts = [one, one[::-1], one[:, ::-1], np.full_like(one, 255)]
    return np.stack(parts[:channels], -1)


def picture(array: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    """An image file of ``kind`` (Pillow's name)."""
    image = Image.fromarray(array)
    stream = BytesIO()
    (image if mode is None else image.convert(mode)).save(stream, kind, **options)
    return stream.getvalue()


def png_with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    after_header = data.index(b"IHDR") + 4 + 13 + 4
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return data[:after_header] + struct.pack(">I", len(content)) + name + content + checksum + data[after_header:]


def radiograph(
    pixels: NDArray[Any] | None = None, sop_class: str = ComputedRadiographyImageStorage, **tags: Any
) -> bytes:
    """A DICOM file with one grey image (uint8 or uint16) and these attributes; None takes one away."""
    array = grey("uint16") >> 4 if pixels is None else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName = "Mustermann^Erika"
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = 1 if array.ndim == 2 else array.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if array.ndim == 2 else "RGB"
    if array.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * array.itemsize
    dataset.BitsStored = 12 if array.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = array.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def compressed(data: bytes, how: str, folder: Path) -> bytes:
    """A DICOM file with its pixels packed: ``RLE``, ``baseline`` (8 bits, lossy), or ITK's ``JPEG``, ``JPEG2000``."""
    dataset = dcmread(BytesIO(data))
    if how == "RLE":
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif how == "baseline":
        dataset.PixelData = encapsulate([picture(dataset.pixel_array, "JPEG", quality=95)])
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    else:
        packed = _packed_by_itk(dcmread(BytesIO(data)), how, folder)
        for name in ("PixelData", "BitsStored", "HighBit"):
            setattr(dataset, name, packed[name].value)
        dataset.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _packed_by_itk(dataset: Dataset, how: str, folder: Path) -> Dataset:
    # so that ITK does not invert what it packs
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.save_as(folder / "plain.dcm")
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor(how)
    writer.SetUseCompression(True)
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.Execute(SimpleITK.ReadImage(str(folder / "plain.dcm")))
    return dcmread(folder / "packed.dcm")


def read_by_itk(data: bytes, path: Path) -> SimpleITK.Image:
    """What Slicer's reader makes of a file; ``path`` needs the right ending."""
    path.write_bytes(data)
    return SimpleITK.ReadImage(str(path))


def ijk_to_ras_by_itk(image: SimpleITK.Image) -> NDArray[np.float64]:
    """4×4 of an ITK image of two or three dimensions, as Slicer has it."""
    dimensions = image.GetDimension()
    matrix = np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))
    matrix[:dimensions, :dimensions] = direction @ np.diag(image.GetSpacing())
    matrix[:dimensions, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
