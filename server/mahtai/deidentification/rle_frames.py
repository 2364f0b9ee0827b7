"""An RLE frame with as many bytes as its image has, and none between or after them (DICOM PS3.5 annex G)."""

from __future__ import annotations

from mahtai.deidentification.jpeg_frames import DamagedFrame

_HEADER = 64


def clean_rle(frame: bytes, segments: int, size: int) -> bytes:
    """The frame written again.

    Args:
        segments: that it has to have: samples of a pixel × bytes of a sample.
        size: bytes of a segment, unpacked: rows × columns.

    Raises:
        DamagedFrame: it has another number of segments, or one of them is too short.
    """
    count = int.from_bytes(frame[:4], "little")
    starts = [int.from_bytes(frame[4 * n : 4 * n + 4], "little") for n in range(1, count + 1)] if count < 16 else []
    if len(frame) < _HEADER or count != segments or starts != sorted(starts) or starts[:1] != [_HEADER]:
        raise DamagedFrame("a compressed frame is damaged")
    packed = [_cut(frame[start:end], size) for start, end in zip(starts, [*starts[1:], len(frame)], strict=True)]
    header, place = [count], _HEADER
    for each in packed:
        header.append(place)
        place += len(each)
    return b"".join(number.to_bytes(4, "little") for number in header).ljust(_HEADER, b"\0") + b"".join(packed)


def _cut(packed: bytes, size: int) -> bytes:
    """A segment of ``size`` bytes, with an even length; a last run that goes beyond is made shorter."""
    place = 0
    while size > 0:
        if place + 1 >= len(packed):
            raise DamagedFrame("a compressed frame is cut off")
        run = packed[place]
        if run == 128:  # means nothing
            raise DamagedFrame("a compressed frame is damaged")
        count, length = (run + 1, run + 2) if run < 128 else (257 - run, 2)
        if count > size:
            rest = packed[place + 1 : place + 1 + size] if run < 128 else packed[place + 1 : place + 2] * size
            return _even(packed[:place] + bytes((size - 1,)) + rest)
        size -= count
        place += length
    if place > len(packed):
        raise DamagedFrame("a compressed frame is cut off")
    return _even(packed[:place])


def _even(packed: bytes) -> bytes:
    return packed + b"\0" * (len(packed) % 2)
