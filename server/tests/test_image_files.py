"""PNG, JPEG, TIFF and BMP: read on Slicer's grid, or refused in plain words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_kit import HEIGHT, WIDTH, colours, grey, ijk_to_ras_by_itk, picture, png_with_chunk, radiograph, read_by_itk
from mahtai.errors import MahtaiError
from mahtai.volumes.formats import check_voxels, describe, read_volume
from mahtai.volumes.planar import check_for_landmarks, is_planar

ENDINGS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "bmp": ".bmp"}

GOOD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "grey PNG": ("png", lambda: picture(grey(), "PNG")),
    "16-bit PNG": ("png", lambda: picture(grey("uint16"), "PNG")),
    "PNG of a screen": ("png", lambda: picture(grey(), "PNG", dpi=(96, 96))),
    "PNG with a physical scale": ("png", lambda: png_with_chunk(picture(grey(), "PNG"), b"sCAL", b"\x010.1\x000.2")),
    "black and white PNG": ("png", lambda: picture(grey() > 100, "PNG")),
    "colour PNG": ("png", lambda: picture(colours(), "PNG")),
    "PNG with alpha": ("png", lambda: picture(colours(4), "PNG")),
    "palette PNG": ("png", lambda: picture(grey(), "PNG", mode="P")),
    "JPEG": ("jpeg", lambda: picture(grey(), "JPEG")),
    "JPEG of a scanner": ("jpeg", lambda: picture(grey(), "JPEG", dpi=(300, 300))),
    "JPEG, unlike resolutions": ("jpeg", lambda: picture(grey(), "JPEG", dpi=(300, 150))),
    "progressive colour JPEG": ("jpeg", lambda: picture(colours(), "JPEG", progressive=True)),
    "TIFF": ("tiff", lambda: picture(grey(), "TIFF")),
    "TIFF of a scanner": ("tiff", lambda: picture(grey(), "TIFF", dpi=(254, 254))),
    "16-bit LZW TIFF": ("tiff", lambda: picture(grey("uint16"), "TIFF", compression="tiff_lzw")),
    "BMP": ("bmp", lambda: picture(grey(), "BMP")),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_image_lies_on_the_grid_that_slicer_gives_it(name: str, tmp_path: Path) -> None:
    kind, make = GOOD[name]
    data = make()
    volume = read_volume(data)
    by_itk = read_by_itk(data, tmp_path / f"image{ENDINGS[kind]}")
    assert volume.geometry.shape == volume.array.shape == (WIDTH, HEIGHT, 1)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, ijk_to_ras_by_itk(by_itk))
    assert volume.format == kind
    assert is_planar(volume.geometry)
    check_voxels(volume)
    check_for_landmarks(volume.geometry)


@pytest.mark.parametrize("name", [name for name in GOOD if "colour" not in name and name != "PNG with alpha"])
def test_the_pixels_of_a_grey_image_are_those_that_slicer_shows(name: str, tmp_path: Path) -> None:
    import SimpleITK

    kind, make = GOOD[name]
    data = make()
    shown = SimpleITK.GetArrayFromImage(read_by_itk(data, tmp_path / f"image{ENDINGS[kind]}"))
    shown = shown if shown.ndim == 2 else shown[..., 0]
    assert np.abs(read_volume(data).array[:, :, 0].T.astype(float) - shown).max() <= 1


@pytest.mark.parametrize("name", GOOD)
def test_the_header_tells_what_is_in_the_file(name: str) -> None:
    _, make = GOOD[name]
    info, volume = describe(make()), read_volume(make())
    assert (info.geometry.shape, info.dtype, info.kind) == (volume.array.shape, volume.array.dtype.name, "volume")
    np.testing.assert_array_equal(info.geometry.ijk_to_ras, volume.geometry.ijk_to_ras)


def test_colour_becomes_luminance_and_what_is_transparent_black() -> None:
    coloured = colours(4)
    coloured[50:60, 50:60, 3] = 0
    array = read_volume(picture(coloured, "PNG")).array[:, :, 0].T
    expected = coloured[..., :3] @ [0.299, 0.587, 0.114]
    assert (array[50:60, 50:60] == 0).all()
    assert np.abs(array[100:] - expected[100:]).max() <= 1


def test_grey_with_alpha_is_read_on_a_grid_of_unit_pixels() -> None:
    volume = read_volume(picture(np.stack([grey(), np.full_like(grey(), 255)], -1), "PNG"))
    np.testing.assert_array_equal(volume.array[:, :, 0].T, grey())
    assert volume.geometry.spacing_mm == (1, 1, 1)


def test_a_rotation_mark_is_not_followed_because_slicer_does_not_follow_it() -> None:
    mark = Image.Exif()
    mark[274] = 6
    volume = read_volume(picture(grey(), "JPEG", exif=mark))
    assert volume.array.shape == (WIDTH, HEIGHT, 1)
    assert "asks to be shown turned" in volume.warnings[0]
    assert read_volume(picture(grey(), "JPEG")).warnings == ()


def test_an_interlaced_png_is_read() -> None:
    # Pillow writes none; this one is Adam7, 1 × 1, made by hand
    with pytest.raises(MahtaiError, match="too few to place landmarks"):
        check_for_landmarks(read_volume(_interlaced()).geometry)
    assert read_volume(_interlaced()).array.ravel().tolist() == [0, 85, 170, 255]


def _interlaced() -> bytes:
    """2 × 2 grey pixels 0 170 / 85 255 in Adam7: pass 1 has one pixel, pass 6 one, pass 7 a row of two."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    passes = bytes([0, 0]) + bytes([0, 170]) + bytes([0, 85, 255])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(passes)) + chunk(b"IEND", b"")


def test_twenty_megapixels_are_read() -> None:
    volume = read_volume(picture(grey("uint16", 5000, 4000), "PNG", compress_level=1))
    check_for_landmarks(volume.geometry)
    assert volume.array.shape == (4000, 5000, 1)


def bomb() -> bytes:
    data = bytearray(picture(grey(), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def pages() -> bytes:
    page = Image.fromarray(grey())
    stream = BytesIO()
    page.save(stream, "TIFF", save_all=True, append_images=[page, page])
    return stream.getvalue()


def animated() -> bytes:
    frame = Image.fromarray(grey())
    stream = BytesIO()
    frame.save(stream, "PNG", save_all=True, append_images=[Image.fromarray(grey()[::-1])])
    return stream.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG cut off": (lambda: picture(grey(), "PNG")[:-300], "damaged or cut off"),
    "PNG with a wrong byte": (
        lambda: picture(grey(), "PNG")[:200] + b"\xff" + picture(grey(), "PNG")[201:],
        "damaged or cut off|cannot be",
    ),
    "JPEG cut off": (lambda: picture(grey(), "JPEG")[:-2000], "damaged or cut off"),
    "TIFF cut off": (lambda: picture(grey(), "TIFF")[:-2000], "damaged or cut off"),
    "BMP cut off": (lambda: picture(grey(), "BMP")[:-2000], "damaged or cut off"),
    "only the first bytes": (lambda: picture(grey(), "JPEG")[:20], "damaged or cut off"),
    "decompression bomb": (bomb, "more pixels than any radiograph|claims 60,000"),
    "CMYK JPEG": (lambda: picture(colours(4), "JPEG", mode="CMYK"), "colours for printing"),
    "CMYK TIFF": (lambda: picture(colours(4), "TIFF", mode="CMYK"), "colours for printing"),
    "TIFF of three pages": (pages, "holds 3 images"),
    "animated PNG": (animated, "holds 2 images"),
    "turned TIFF": (lambda: picture(grey(), "TIFF", tiffinfo={274: 6}), "turned or mirrored"),
    "absurd physical scale": (
        lambda: png_with_chunk(picture(grey(), "PNG"), b"sCAL", b"\x010.0001\x000.0001"),
        "spacing is 0.0001",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_a_reason_and_a_hint(name: str) -> None:
    make, said = BAD[name]
    with pytest.raises(MahtaiError, match=said) as caught:
        read_volume(make())
    assert caught.value.hint
    assert caught.value.status == 422


@pytest.mark.parametrize(("kind", "dpi"), [("TIFF", 5000), ("JPEG", 20000)])
def test_an_absurd_resolution_is_explained_as_that_of_an_image_file(kind: str, dpi: int) -> None:
    for call in (read_volume, describe):
        with pytest.raises(MahtaiError, match=f"The {kind} file states an absurd resolution") as caught:
            call(picture(grey(), kind, dpi=(dpi, dpi)))
        assert "DICOM" not in caught.value.hint and "PNG" in caught.value.hint


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "DICOM"])
def test_no_damage_gets_past_the_reader(kind: str) -> None:
    """Bytes changed and ends cut at random: an image or a sentence, never another exception."""
    whole = radiograph() if kind == "DICOM" else picture(grey("uint8", 60, 50), kind)
    random = np.random.default_rng(5)
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(4, min(len(data), 900), 3):
            data[place] = random.integers(256)
        spoilt = bytes(data[: random.integers(10, len(data))]) if random.random() < 0.4 else bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for call in (read_volume, describe):
                try:
                    call(spoilt)
                except MahtaiError as error:
                    assert error.hint


@pytest.mark.parametrize("size", [(32, 32), (199, 3000)])
def test_an_image_that_is_too_small_for_landmarks_is_refused(size: tuple[int, int]) -> None:
    volume = read_volume(picture(grey("uint8", *size), "PNG"))
    with pytest.raises(MahtaiError, match="too few to place landmarks"):
        check_for_landmarks(volume.geometry)


def test_a_blank_image_is_read_so_that_the_task_can_say_that_it_shows_nothing() -> None:
    check_voxels(read_volume(picture(np.zeros((300, 300), np.uint8), "PNG")))
