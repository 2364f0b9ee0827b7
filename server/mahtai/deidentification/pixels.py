"""Bytes beside the pixels: in compressed frames, and after the last pixel. No pixel changes."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from mahtai.deidentification import jpeg_2000_frames, jpeg_frames
from mahtai.deidentification.jpeg_2000_frames import clean_jpeg_2000
from mahtai.deidentification.jpeg_frames import DamagedFrame, clean_jpeg
from mahtai.deidentification.rle_frames import clean_rle

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_SHARED_COLOUR = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
"""Share of the samples that is stored where pixels share their colour (PS3.3 C.7.6.3.1.2)."""


def clean_pixel_bytes(dataset: Dataset, keyword: str, transfer_syntax: str) -> bytes:
    """The value of Pixel Data, or of its like, with the same pixels and nothing beside them.

    Raises:
        DamagedFrame: the object does not say how large its image is, or a compressed frame cannot be looked through.
    """
    value: bytes = dataset[keyword].value
    syntax = UID(transfer_syntax)
    if syntax.is_encapsulated and keyword == "PixelData":
        return _encapsulated(dataset, value, syntax)
    size = _size(dataset, _BITS.get(keyword) or int(dataset.get("BitsAllocated") or 0))
    return value[: size + size % 2]  # the length is even; big-endian words have the last pixel after the filling


def clean_frame(frame: bytes) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 frame with what decodes it and nothing else, of even length.

    Raises:
        DamagedFrame: it begins otherwise than such a frame, or is damaged.
    """
    if frame.startswith(jpeg_2000_frames.START):
        cleaned = clean_jpeg_2000(frame)
    elif frame.startswith(jpeg_frames.START):
        cleaned = clean_jpeg(frame)
    else:
        raise DamagedFrame("a compressed frame is of another form than its transfer syntax says")
    return cleaned + b"\0" * (len(cleaned) % 2)


def _encapsulated(dataset: Dataset, value: bytes, syntax: UID) -> bytes:
    count = int(dataset.get("NumberOfFrames") or 1)
    offsets = tuple(dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    frames = list(generate_frames(value, number_of_frames=count, extended_offsets=offsets if all(offsets) else None))
    if len(frames) != count:
        raise DamagedFrame("it has more or fewer frames than it says")
    if syntax.name.startswith("RLE"):
        segments = int(dataset.get("SamplesPerPixel") or 1) * -(-int(dataset.get("BitsAllocated") or 0) // 8)
        size = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
        cleaned = [clean_rle(frame, segments, size) for frame in frames]
    else:
        cleaned = [clean_frame(frame) for frame in frames]
    return encapsulate(cleaned, has_bot=sum(map(len, cleaned)) + 8 * count < 2**32)


def _size(dataset: Dataset, bits: int) -> int:
    """Bytes of the image that the object describes; what follows could be anything."""
    samples = 1
    for keyword, default in (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("NumberOfFrames", 1)):
        samples *= int(dataset.get(keyword) or default)
    stored, of = _SHARED_COLOUR.get(str(dataset.get("PhotometricInterpretation")), (1, 1))
    if not samples or not bits:
        raise DamagedFrame("it has pixels and does not say how many")
    return -(-samples * stored // of * bits // 8)
