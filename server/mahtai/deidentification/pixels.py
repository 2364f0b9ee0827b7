"""Bytes beside the pixels: comments in compressed frames, and what follows the last pixel. No pixel changes."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

_NEEDED = {0xE0, 0xE8, 0xEE}
"""Application segments that tell how to decode: JFIF, SPIFF and colour transform of JPEG-LS, Adobe."""

_START_OF_SCAN, _COMMENT, _END = 0xDA, 0xFE, b"\xff\xd9"
_J2K_START, _J2K_COMMENT, _J2K_TILE = b"\xff\x4f", 0x64, 0x90


class UnknownFrame(ValueError):
    """A compressed frame is not of the form that its transfer syntax says."""


def clean_pixel_bytes(dataset: Dataset, transfer_syntax: str) -> bytes:
    """The value of Pixel Data with the same pixels and nothing beside them.

    Raises:
        UnknownFrame: a compressed frame cannot be looked through; the message says why.
    """
    value: bytes = dataset.PixelData
    syntax = UID(transfer_syntax)
    if not syntax.is_encapsulated:
        return _native(dataset, value)
    frames = list(generate_frames(value, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    if syntax.name.startswith("RLE"):
        return value
    return encapsulate([clean_frame(frame) for frame in frames], has_bot=True)


def clean_frame(frame: bytes) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 frame whose comments are blanked; lengths and pixels stay.

    Raises:
        UnknownFrame: it begins otherwise than such a frame, or a segment reaches beyond it.
    """
    if frame.startswith(_J2K_START):
        cleaned = _blanked(frame, 2, lambda marker: marker == _J2K_COMMENT, _J2K_TILE)
    elif frame.startswith(b"\xff\xd8"):
        unneeded = lambda marker: marker == _COMMENT or (0xE0 <= marker <= 0xEF and marker not in _NEEDED)  # noqa: E731
        cleaned = _blanked(frame, 2, unneeded, _START_OF_SCAN)
    else:
        raise UnknownFrame("a compressed frame is of another form than its transfer syntax says")
    end = cleaned.rfind(_END)
    return bytes(cleaned[: end + 2]) + b"\0" * (end % 2) if end > 0 else bytes(cleaned)


def _blanked(frame: bytes, start: int, is_unneeded, last: int) -> bytearray:  # type: ignore[no-untyped-def]
    result, place = bytearray(frame), start
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            raise UnknownFrame("a compressed frame is damaged")
        marker = frame[place + 1]
        if marker == last:
            return result
        length = int.from_bytes(frame[place + 2 : place + 4], "big")
        end = place + 2 + length
        if length < 2 or end > len(frame):
            raise UnknownFrame("a compressed frame is damaged")
        keep = 4 if frame[place : place + 2] != b"\xff\x64" else 6  # JPEG 2000: two bytes say of what kind it is
        if is_unneeded(marker):
            result[place + keep : end] = b" " * max(0, end - place - keep)
        place = end
    raise UnknownFrame("a compressed frame is cut off")


def _native(dataset: Dataset, value: bytes) -> bytes:
    """Cut to the size that the image claims; what follows could be anything."""
    bits = int(dataset.get("BitsAllocated") or 0)
    samples = (
        int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * int(dataset.get("SamplesPerPixel") or 1)
    )
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = samples * 2 // 3
    size = -(-samples * int(dataset.get("NumberOfFrames") or 1) * bits // 8)
    return value[:size] + b"\0" * (size % 2) if 0 < size < len(value) else value
