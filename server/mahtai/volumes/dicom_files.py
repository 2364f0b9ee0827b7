"""What a client sent as DICOM → the data sets of the images in it: one file, or a zip of them.

A file may lack the preamble and the mark "DICM": older machines write the bare data set. No attribute
that could name a patient is read.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mahtai.volumes.dicom_pixel_size import PIXEL_SIZE_ATTRIBUTES
from mahtai.volumes.dicom_pixels import PADDING_ATTRIBUTES, PIXEL_ATTRIBUTES, damage_named
from mahtai.volumes.volume import VolumeError

MOST_FILES = 5000
MOST_BYTES = 4 << 30
"""Of all files of a zip together, unpacked; they are held in memory."""

MOST_TIMES = 200
"""A zip that holds more often its own size is a bomb: images pack to a tenth, empty slices to a hundredth."""

_FREE_BYTES = 64 << 20

MOST_READS = 4_000_000
"""Of all files of an upload together. An attribute costs one to three; 5,000 files of 300 make two million."""

MOST_SEQUENCE_BYTES = 16 << 20
"""Of one sequence of known length: pydicom makes objects of all that is in it, a hundred times its size."""

MOST_ITEMS = 150_000
"""Of the sequences of one file, and fragments of its pixels. pydicom makes an object of each, also of an empty one of
eight bytes; an enhanced series of thousands of slices has some ten thousands."""

_ITEM = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of an item, in either byte order."""

ONE_SERIES = "Send the files of one series only (one zip a sequence)."
WHAT_TO_SEND = (
    "For a brain study send the whole series as a zip; for a cephalogram choose the radiograph itself "
    "(a CR, DX or SC image)."
)

_ATTRIBUTES = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PixelData",
    *PIXEL_ATTRIBUTES,
    *PADDING_ATTRIBUTES,
    *PIXEL_SIZE_ATTRIBUTES,
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""Looked for in the whole file: the group that names the transfer syntax is as long as its maker likes."""

_ZIP_ENTRY = b"PK\x01\x02"
"""With which each entry of a zip's directory begins; packed bytes look like it once in four thousand million."""

_FIRST_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x08")
"""With which a bare data set begins: the file meta group, or group 8 in either byte order."""


def looks_like_dicom(content: bytes) -> bool:
    """Whether the bytes are a DICOM file, with or without its preamble."""
    return content[128:132] == b"DICM" or _is_bare_data_set(content)


class _Reads:
    """How often pydicom has asked for the next bytes: it takes a step for each attribute, whoever made them up."""

    def __init__(self) -> None:
        self.left = MOST_READS


class _Watched(BytesIO):
    """A file that ends the reading when it takes more steps than any image has attributes."""

    def __init__(self, content: bytes, reads: _Reads) -> None:
        super().__init__(content)
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            VolumeError: too many steps.
        """
        self._reads.left -= 1
        if self._reads.left < 0:
            raise VolumeError("A DICOM file has more attributes than any image.", ONE_SERIES)
        return super().read(size)


def read_datasets(content: bytes) -> list[Dataset]:
    """The images in a zip, or the one in a DICOM file; nothing of the patient among their attributes.

    Raises:
        VolumeError: damaged, locked, too large, or no image in it.
    """
    if content[:2] == b"PK":
        datasets = list(_unzipped(content))
        if not datasets:
            raise VolumeError("The zip holds no DICOM images.", WHAT_TO_SEND)
        return datasets
    dataset = _parsed(content, _Reads())
    if dataset is None:
        raise VolumeError("The DICOM file holds no image, or is cut off before it.", WHAT_TO_SEND)
    return [dataset]


def kind_of(dataset: Dataset) -> str:
    """The name of the data set's SOP class, such as ``MR Image Storage``."""
    return UID(dataset.file_meta.MediaStorageSOPClassUID).name


def _unzipped(content: bytes) -> Iterator[Dataset]:
    """Every image in the zip, in memory; other files are passed over."""
    try:
        listed = content.count(_ZIP_ENTRY)
        if listed > 2 * MOST_FILES:  # folders among them; ``ZipFile`` makes an object of each before one can look
            raise VolumeError(f"The zip holds {listed:,} files; one series has fewer.", ONE_SERIES)
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise VolumeError(f"The zip holds {len(entries):,} files; one series has fewer.", ONE_SERIES)
            room = min(MOST_BYTES, MOST_TIMES * len(content) + _FREE_BYTES)
            if sum(entry.file_size for entry in entries) > room:
                raise VolumeError("The zip unpacks to more than any DICOM series.", ONE_SERIES)
            reads = _Reads()
            for entry in entries:
                with archive.open(entry) as file:
                    # read() stops there whatever size the entry claims, so that no zip bomb unpacks
                    image = file.read(room + 1)
                room -= len(image)
                if room < 0:
                    raise VolumeError("The zip unpacks to more than any DICOM series.", ONE_SERIES)
                dataset = _parsed(image, reads)
                if dataset is not None:
                    yield dataset
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,  # an entry without a name
        OSError,
    ) as error:
        raise VolumeError(
            f"The zip is damaged or locked: {error}.", "Zip the files again, without a password."
        ) from error


def _parsed(content: bytes, reads: _Reads) -> Dataset | None:
    """The data set if the bytes are a DICOM image, None if they are something else."""
    if not looks_like_dicom(content):
        return None
    if _DEFLATED in content:  # it would be unpacked whole, however large it claims to be
        raise VolumeError(
            "A DICOM file is deflated, which this server does not unpack.", "Export it without deflation."
        )
    if max(content.count(tag) for tag in _ITEM) > MOST_ITEMS:
        raise VolumeError("A DICOM file has more items in its sequences than any image.", ONE_SERIES)
    with damage_named("A DICOM file is damaged."):
        # reading nothing else keeps names out of memory, and out of pydicom's warnings
        dataset = pydicom.dcmread(_Watched(content, reads), force=True, specific_tags=list(_ATTRIBUTES))
        _refuse_long_sequences(dataset)
        _complete_meta(dataset)
        kind = kind_of(dataset)
        # pydicom converts an attribute when it is asked for it; damage is to show here
        for _ in dataset.iterall():
            pass
    if "PixelData" in dataset and "Rows" in dataset:
        return dataset
    # reports and presentation states have no pixels; an image without them was cut off
    if "Image Storage" in kind:
        raise VolumeError("A DICOM image is cut off: its pixels are missing.", "Export it again.")
    return None


def _refuse_long_sequences(dataset: Dataset) -> None:
    """Look before pydicom unpacks them; those of unknown length it has read already, and was watched."""
    for name in _ATTRIBUTES:
        if name.endswith("Sequence") and name in dataset:
            element = dataset.get_item(name)
            value = element.value if isinstance(element, RawDataElement) else b""
            if isinstance(value, bytes) and len(value) > MOST_SEQUENCE_BYTES:
                raise VolumeError("A DICOM file has more attributes than any image.", ONE_SERIES)


def _is_bare_data_set(content: bytes) -> bool:
    """Whether a data set with a known SOP class begins with the first byte."""
    if content[:2] not in _FIRST_GROUPS:
        return False
    if _DEFLATED in content:  # pydicom would unpack it to look
        return True
    try:
        with damage_named("no DICOM"):
            found = pydicom.dcmread(
                _Watched(content, _Reads()), force=True, specific_tags=["SOPClassUID"], stop_before_pixels=True
            )
            return UID(found.SOPClassUID).type == "SOP Class"
    except VolumeError:
        return False


def _complete_meta(dataset: Dataset) -> None:
    """What a bare data set does not say ahead of itself: its kind, and how it is written."""
    meta = dataset.file_meta
    if "MediaStorageSOPClassUID" not in meta:
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    if "TransferSyntaxUID" not in meta:
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
