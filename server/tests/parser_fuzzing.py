"""Valid files, spoiled in every way, through the readers; run as a process of its own, which has a limited memory.

``python parser_fuzzing.py <parser> <seed> <inputs>`` prints a line of JSON: what came of them. Before each input its
number goes to standard error, so that a crash or a standstill can be repeated.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import image_kit
from mahtai.cases.blob_check import check_file
from mahtai.errors import MahtaiError

MEMORY_BYTES = 1 << 30
"""More than the process has after the valid files were read; the inputs have less than 200 KiB."""

SLOW_S = 20.0
SHAPE = (12, 14, 10)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORDS = (b"-1", b"0", b"nan", b"inf", b"1e308", b"-1e308", b"1e-308", b"4294967296", b"9" * 30, b"9" * 5000, b"x", b"")
_WORDS_OF_JSON = (b"null", b"[]", b"{}", b'""', b"true", b"NaN", b"-Infinity", b"1e999", b"[" * 3000, b'"\\ud800"')
_NUMBERS = (0, 1, -1, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

Make = Callable[[], list[bytes]]


def _array(dtype: str = "int16") -> Any:
    return np.random.default_rng(0).integers(0, 250, SHAPE).astype(dtype)


def _nrrd() -> list[bytes]:
    from MahtAILib.client import nrrd

    return [nrrd.encode(_array(dtype), AFFINE, {}, how) for dtype in ("int16", "float32") for how in ("raw", "gzip")]


def _nifti() -> list[bytes]:
    import nibabel

    kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    return [bytes(kind(_array(dtype), AFFINE).to_bytes()) for kind in kinds for dtype in ("int16", "float32")]


def _segmentation() -> list[bytes]:
    from mahtai.volumes.geometry import Geometry
    from mahtai.volumes.segmentation_file import encode_segmentation
    from mahtai.volumes.terminology import segments_of_task

    labels = (_array("uint8") % 4).astype(np.uint8)
    return [encode_segmentation(labels, Geometry(SHAPE, AFFINE), segments_of_task("brain-tumour"))]


def _landmarks() -> list[bytes]:
    from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, encode_markups

    points = [
        LandmarkPoint(id=name, name=name, description="a point", state="ai", position=(1.5 * number, 2.0, 0.0))
        for number, name in enumerate(("S", "N", "A", "B"))
    ]
    return [encode_markups(LandmarkFile(tuple(points), "cephalometry", 0.1, {}))]


def _slices() -> list[bytes]:
    from test_dicom_series import file_bytes, slices

    return [file_bytes(dataset) for dataset in slices(5)]


def _dicom() -> list[bytes]:
    small = image_kit.grey("uint16", 60, 50) >> 4
    plain = image_kit.radiograph(small, PixelSpacing=[0.1, 0.1])
    bytes_wide = image_kit.radiograph(image_kit.grey("uint8", 60, 50))
    with tempfile.TemporaryDirectory() as folder:
        packed = [image_kit.compressed(plain, how, Path(folder)) for how in ("RLE", "JPEG", "JPEG2000")]
        packed.append(image_kit.compressed(bytes_wide, "baseline", Path(folder)))
    return [plain, bytes_wide, plain[132:], *packed]


def _picture(kind: str, **options: Any) -> Make:
    def make() -> list[bytes]:
        found = [image_kit.picture(image_kit.grey("uint8"), kind, **options)]
        found.append(image_kit.picture(image_kit.colours(), kind, **options))
        if kind in ("PNG", "TIFF"):
            found.append(image_kit.picture(image_kit.grey("uint16"), kind, **options))
        if kind == "TIFF":
            found += [image_kit.picture(image_kit.grey("uint8"), kind, compression=how) for how in _TIFF]
        return found

    return make


_TIFF = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")


def _bundle() -> list[bytes]:
    from bundle_kit import INFERENCE, METADATA

    files = {"configs/metadata.json": METADATA, "configs/inference.json": INFERENCE}
    return [json.dumps(files).encode()]


def _packed_bundle(data: bytes) -> bytes:
    """The two descriptions in a zip; what is no JSON any more goes in as it is."""
    try:
        files = {name: json.dumps(part).encode() for name, part in json.loads(data).items()}
    except (ValueError, AttributeError, RecursionError):
        files = {"configs/metadata.json": data, "configs/inference.json": data}
    return _zip({**{str(name): part for name, part in files.items()}, "models/model.pt": b"PK no weights"})


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _zip_of_slices(data: bytes) -> bytes:
    return _zip({"0": data, **{str(number): one for number, one in enumerate(_slices()[1:], 1)}})


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that what they say is read."""
    done, at = data[:8], 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        body = data[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        done += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return done + data[at:]


def _as_it_is(data: bytes) -> bytes:
    return data


def _read_file(data: bytes) -> None:
    check_file(data, hashlib.sha256(data).hexdigest())


def _read_bundle(data: bytes) -> None:
    from mahtai.models.bundle import read_bundle
    from mahtai.models.unpack import unpack

    with tempfile.TemporaryDirectory() as folder:
        archive, target = Path(folder, "a.zip"), Path(folder, "model")
        archive.write_bytes(data)
        target.mkdir()
        unpack(archive, target)
        read_bundle(target)


PARSERS: dict[str, tuple[Make, Callable[[bytes], bytes], Callable[[bytes], None]]] = {
    "nrrd": (_nrrd, _as_it_is, _read_file),
    "nifti": (_nifti, _as_it_is, _read_file),
    "nifti.gz": (_nifti, lambda data: gzip.compress(data, 1), _read_file),
    "dicom": (_dicom, _as_it_is, _read_file),
    "dicom.zip": (lambda: _slices()[:1], _zip_of_slices, _read_file),
    "png": (_picture("PNG"), _with_checksums, _read_file),
    "jpeg": (_picture("JPEG"), _as_it_is, _read_file),
    "tiff": (_picture("TIFF"), _as_it_is, _read_file),
    "bmp": (_picture("BMP"), _as_it_is, _read_file),
    "seg.nrrd": (_segmentation, _as_it_is, _read_file),
    "mrk.json": (_landmarks, _as_it_is, _read_file),
    "bundle": (_bundle, _packed_bundle, _read_bundle),
}
"""Name → how valid files are made, what is done to a spoiled one before it is read, and the reader."""


def spoiled(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """The file after one to four changes, more of them in its header than in the rest."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not changed:
            break
        near = draw.choice((64, 400, 2000, len(changed)))
        at = draw.randrange(min(near, len(changed)))
        draw.choice(_CHANGES)(draw, changed, at, others)
    return bytes(changed)


def _flip(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    data[at] ^= 1 << draw.randrange(8)


def _cut(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    del data[at:]


def _drop(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    del data[at : at + draw.randrange(1, 64)]


def _extreme(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    width = draw.choice((1, 2, 4, 8))
    number = draw.choice(_NUMBERS) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, draw.choice(("little", "big")))


def _splice(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    other = draw.choice(others)
    start = draw.randrange(len(other))
    data[at : at + draw.choice((0, 16, 400))] = other[start : start + draw.choice((4, 64, 1000))]


def _word(draw: random.Random, data: bytearray, at: int, others: list[bytes]) -> None:
    """Another number, or none, where the text has one."""
    found = _NUMBER.search(data, at, at + 3000)
    if found:
        words = _WORDS + _WORDS_OF_JSON if data[:1] == b"{" else _WORDS
        data[found.start() : found.end()] = draw.choice(words)


_CHANGES = (_flip, _cut, _drop, _extreme, _extreme, _splice, _word, _word)


def made(name: str, seed: int, number: int, valid: list[bytes]) -> bytes:
    """Input ``number``; the same at every time."""
    draw = random.Random(f"{name} {seed} {number}")
    prepare = PARSERS[name][1]
    data = draw.choice(valid)
    if draw.random() < 0.25:  # the outside too: what was packed is spoiled as it arrives
        return spoiled(draw, prepare(data), valid)
    return prepare(spoiled(draw, data, valid))


def main(name: str, seed: int, count: int) -> None:
    """Read ``count`` inputs."""
    warnings.simplefilter("ignore")
    make, prepare, read = PARSERS[name]
    valid = make()
    for data in valid:  # loads every library, and shows that the files are valid
        read(prepare(data))
    _limit_memory()
    outcomes: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for number in range(count):
        print(number, file=sys.stderr, flush=True)
        data = made(name, seed, number, valid)
        started = time.monotonic()
        try:
            read(data)
            outcomes["read"] += 1
        except MahtaiError:
            outcomes["refused"] += 1
        except BaseException as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
            wrong.setdefault(f"{type(error).__name__}: {str(error)[:150]} {where}", f"input {number}")
        if time.monotonic() - started > SLOW_S:
            wrong.setdefault("slow", f"input {number}")
    print(json.dumps({"outcomes": outcomes, "wrong": wrong}))


def _limit_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    import resource

    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
