"""A JPEG or JPEG-LS frame written again with what decodes it and nothing else (ISO/IEC 10918-1, 14495-1)."""

from __future__ import annotations

import re

START = b"\xff\xd8"

_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_JFIF, _HP_COLOUR, _ADOBE = 0xE0, 0xE8, 0xEE
_APPLICATION = range(0xE0, 0xF0)
_DECODES = {*range(0xC0, 0xE0), 0xF7, 0xF8} - {0xC8, *range(0xD0, 0xDA)} | {_SCAN}
"""Frame headers, tables, restart intervals, and those of JPEG-LS."""

_AFTER_SCAN = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")
"""A marker that is no restart: within a scan 0xFF is followed by 0 (JPEG) or by a byte below 128 (JPEG-LS)."""


class DamagedFrame(ValueError):
    """A compressed frame is not what it should be; the message says how."""


def clean_jpeg(frame: bytes) -> bytes:
    """The frame from its start to its end, without comments, thumbnails and what applications wrote into it.

    Raises:
        DamagedFrame: a segment is of no known kind, or reaches beyond the frame.
    """
    result, place = bytearray(START), len(START)
    while True:
        while frame[place : place + 2] == b"\xff\xff":  # a marker may be filled up
            place += 1
        if place >= len(frame):  # some encoders leave the end out
            break
        marker, content, place = segment_at(frame, place)
        if marker == _END:
            break
        kept = _kept(marker, content)
        if kept is not None:
            result += bytes((0xFF, marker)) + (len(kept) + 2).to_bytes(2, "big") + kept
        if marker == _SCAN:
            found = _AFTER_SCAN.search(frame, place)
            end = found.start() if found else len(frame)
            result += frame[place:end]
            place = end
    return bytes(result) + bytes((0xFF, _END))


def segment_at(frame: bytes | bytearray, place: int) -> tuple[int, bytes, int]:
    """Marker, content and end of the segment that begins there.

    Raises:
        DamagedFrame: there is none, or it reaches beyond the frame.
    """
    if frame[place : place + 1] != b"\xff" or place + 2 > len(frame):
        raise DamagedFrame("a compressed frame is damaged")
    marker = frame[place + 1]
    if marker == _END:
        return marker, b"", place + 2
    end = place + 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    if end < place + 4 or end > len(frame):
        raise DamagedFrame("a compressed frame is cut off")
    return marker, bytes(frame[place + 4 : end]), end


def _kept(marker: int, content: bytes) -> bytes | None:
    """What stays of a segment: of those of applications the numbers by which colours are decoded."""
    if marker in _DECODES:
        return content
    if marker != _COMMENT and marker not in _APPLICATION:
        raise DamagedFrame("a compressed frame holds a segment of an unknown kind")
    if marker == _JFIF and content.startswith(b"JFIF\0") and len(content) >= 14:
        return content[:12] + b"\0\0"  # without its thumbnail
    if marker == _HP_COLOUR and content.startswith(b"mrfx") and len(content) == 5:
        return content
    if marker == _ADOBE and content.startswith(b"Adobe") and len(content) >= 12:
        return b"Adobe\0\x64\0\0\0\0" + content[11:12]
    return None
