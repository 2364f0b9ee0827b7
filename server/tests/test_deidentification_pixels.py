"""Compressed and other pixels: what is hidden beside them goes, and every pixel stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import JPEGBaseline8Bit

from mahtai.deidentification.folder import deidentify_folder
from mahtai.deidentification.pixels import clean_pixel_bytes
from mahtai.deidentification.report import Report

KEY = b"k" * 32
NAME = b"Mustermann^Erika"

FILES = [
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "examples_jpeg2k.dcm",
    "JPEG-lossy.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "MR_small_padded.dcm",
    "rtdose.dcm",
]
"""Of pydicom's own: one at least of each way of writing pixels."""


def original(name: str) -> Dataset:
    return pydicom.dcmread(str(get_testdata_file(name)))


def decoded(path: Path) -> NDArray[np.generic]:
    """By GDCM, which knows JPEG-LS and lossless JPEG, else by pydicom."""
    try:
        array: NDArray[np.generic] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError:
        array = pydicom.dcmread(path).pixel_array
    return array


def frames_of(dataset: Dataset) -> list[bytes]:
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))


@pytest.mark.parametrize("name", FILES)
def test_every_pixel_stays(tmp_path: Path, name: str) -> None:
    dataset = original(name)
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    dataset.save_as(before)
    dataset.PixelData = clean_pixel_bytes(dataset, "PixelData", dataset.file_meta.TransferSyntaxUID)
    dataset.save_as(after)
    np.testing.assert_array_equal(decoded(after), decoded(before))


def in_jpeg(frame: bytes) -> list[bytes]:
    """The name in a comment, in what applications write, behind the scan, and behind the end."""
    segment = (len(NAME) + 2).to_bytes(2, "big") + NAME
    end = frame.rindex(b"\xff\xd9")
    jfif = b"\xff\xe0" + (16 + len(NAME)).to_bytes(2, "big") + b"JFIF\0\1\2\0\0\1\0\1\1\1" + NAME
    return [
        *(frame[:2] + b"\xff" + bytes((marker,)) + segment + frame[2:] for marker in (0xFE, 0xE0, 0xE1, 0xEE, 0xEF)),
        frame[:2] + jfif + frame[2:],
        frame[:end] + b"\xff\xfe" + segment + b"\xff\xd9",
        frame[: end + 2] + NAME + b"\xff\xd9",
    ]


def in_jpeg_2000(frame: bytes) -> list[bytes]:
    """In a comment of the main header and of a tile-part, and behind the end."""
    comment = b"\xff\x64" + (len(NAME) + 4).to_bytes(2, "big") + b"\0\1" + NAME
    tile = frame.index(b"\xff\x90\x00\x0a")
    data = frame.index(b"\xff\x93", tile)
    length = int.from_bytes(frame[tile + 6 : tile + 10], "big")
    longer = (length + len(comment) if length else 0).to_bytes(4, "big")
    in_tile = frame[: tile + 6] + longer + frame[tile + 10 : data] + comment + frame[data:]
    return [frame[:tile] + comment + frame[tile:], in_tile, frame + NAME + b"\xff\xd9"]


def in_rle(frame: bytes) -> list[bytes]:
    """Behind the last run, between two segments, and in the unused part of the header."""
    second = int.from_bytes(frame[8:12], "little")
    between = bytearray(frame[:second] + NAME + frame[second:])
    for place in range(8, 4 + 4 * frame[0], 4):
        moved = int.from_bytes(frame[place : place + 4], "little") + len(NAME)
        between[place : place + 4] = moved.to_bytes(4, "little")
    return [frame + NAME, bytes(between), frame[: 64 - len(NAME)] + NAME + frame[64:]]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("SC_jpeg_no_color_transform.dcm", in_jpeg),
        ("JPEG-lossy.dcm", in_jpeg),
        ("SC_rgb_jpeg_gdcm.dcm", in_jpeg),
        ("MR_small_jpeg_ls_lossless.dcm", in_jpeg),
        ("MR_small_jp2klossless.dcm", in_jpeg_2000),
        ("JPEG2000.dcm", in_jpeg_2000),
        ("MR_small_RLE.dcm", in_rle),
    ],
)
def test_a_name_beside_compressed_pixels_goes_and_they_stay(tmp_path: Path, name: str, hidden) -> None:  # type: ignore[no-untyped-def]
    dataset = original(name)
    dataset.save_as(tmp_path / "before.dcm")
    (frame,) = frames_of(dataset)
    for number, told in enumerate(hidden(frame)):
        assert NAME in told
        dataset.PixelData = encapsulate([told])
        dataset.PixelData = clean_pixel_bytes(dataset, "PixelData", dataset.file_meta.TransferSyntaxUID)
        assert NAME not in dataset.PixelData
        dataset.save_as(tmp_path / f"{number}.dcm")
        np.testing.assert_array_equal(decoded(tmp_path / f"{number}.dcm"), decoded(tmp_path / "before.dcm"))


def made_of(tmp_path: Path, dataset: Dataset) -> Report:
    (tmp_path / "in").mkdir(exist_ok=True)
    dataset.save_as(tmp_path / "in" / "one.dcm")
    return deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)


def test_what_cannot_be_looked_through_is_refused_aloud(tmp_path: Path) -> None:
    sizeless = original("MR_small.dcm")
    del sizeless.Rows
    assert "does not say how many" in str(made_of(tmp_path, sizeless).refused)
    cut_off = original("MR_small_RLE.dcm")
    (frame,) = frames_of(cut_off)
    cut_off.PixelData = encapsulate([frame[: len(frame) // 2]])
    assert "cut off" in str(made_of(tmp_path, cut_off).refused) or "damaged" in str(made_of(tmp_path, cut_off).refused)
    unknown = original("MR_small_jp2klossless.dcm")
    unknown.PixelData = encapsulate([b"XX" + frames_of(unknown)[0]])
    assert "another form" in str(made_of(tmp_path, unknown).refused)


def test_the_end_of_float_pixels_is_cut_as_well(tmp_path: Path) -> None:
    dataset = original("MR_small.dcm")
    values = np.linspace(0, 1, dataset.Rows * dataset.Columns, dtype="<f4")
    del dataset.PixelData
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.30"  # parametric map
    dataset.FloatPixelData = values.tobytes() + NAME + b"1234"
    assert made_of(tmp_path, dataset).made == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    np.testing.assert_array_equal(np.frombuffer(pydicom.dcmread(path).FloatPixelData, "<f4"), values)


def test_the_patients_name_as_pixels_is_noticed(tmp_path: Path) -> None:
    dataset = original("MR_small.dcm")
    dataset.PatientName = "Mustermann^Erika"
    dataset.PixelData = dataset.PixelData[:2000] + b"Mustermann" + dataset.PixelData[2010:]
    assert "would be left in it" in str(made_of(tmp_path, dataset).refused)


def test_a_table_of_offsets_follows_frames_that_became_shorter(tmp_path: Path) -> None:
    dataset = original("SC_jpeg_no_color_transform.dcm")
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"  # its two frames are photographs of the retina
    dataset.BurnedInAnnotation = "NO"
    (frame,) = frames_of(dataset)
    told = in_jpeg(frame)[0]
    dataset.NumberOfFrames = 2
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
        [told, told]
    )
    assert made_of(tmp_path, dataset).made == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    after = pydicom.dcmread(path)
    assert "ExtendedOffsetTable" not in after and NAME not in after.PixelData
    pixels = after.pixel_array
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[0], original("SC_jpeg_no_color_transform.dcm").pixel_array)
