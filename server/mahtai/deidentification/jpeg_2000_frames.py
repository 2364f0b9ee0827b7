"""A JPEG 2000 codestream without its comments (ISO/IEC 15444-1 annex A; with high throughput 15444-15)."""

from __future__ import annotations

from mahtai.deidentification.jpeg_frames import DamagedFrame, segment_at

START = b"\xff\x4f"

_TILE, _DATA, _END, _COMMENT = 0x90, 0x93, b"\xff\xd9", 0x64
_DECODES = {*range(0x50, 0x54), 0x55, 0x57, 0x58, 0x59, *range(0x5C, 0x62), 0x63}
_TILE_CONTENT = 8
"""Bytes of the segment that begins a tile-part: number (2), length (4), of how many (2)."""


def clean_jpeg_2000(frame: bytes) -> bytes:
    """The codestream from its start to its end, its comments blanked: lengths stay, since tile-parts count them.

    Raises:
        DamagedFrame: a segment is of no known kind, or reaches beyond the frame.
    """
    result = bytearray(frame)
    place = _header(result, len(START), _TILE)
    while result[place : place + 2] != _END:
        if place >= len(result):  # some encoders leave the end out
            return bytes(result) + _END
        place = _tile_part(result, place)
    return bytes(result[:place]) + _END


def _tile_part(frame: bytearray, start: int) -> int:
    """Blank the comments of a tile-part; where it ends."""
    marker, content, place = segment_at(frame, start)
    if marker != _TILE or len(content) != _TILE_CONTENT:
        raise DamagedFrame("a compressed frame is damaged")
    place = _header(frame, place, _DATA) + 2
    length = int.from_bytes(content[2:6], "big")
    end = start + length if length else max(frame.rfind(_END), place)  # 0: the last one, up to the end
    if not place <= end <= len(frame):
        raise DamagedFrame("a compressed frame is cut off")
    return end


def _header(frame: bytearray, place: int, last: int) -> int:
    """Blank the comments of a header; where the marker is that ends it."""
    while frame[place : place + 2] != bytes((0xFF, last)):
        marker, content, end = segment_at(frame, place)
        if marker == _COMMENT:
            frame[end - len(content) : end] = content[:2] + b" " * (len(content) - 2)  # two bytes say of what kind
        elif marker not in _DECODES:
            raise DamagedFrame("a compressed frame holds a segment of an unknown kind")
        place = end
    return place
