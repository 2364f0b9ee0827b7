"""PNG, JPEG, TIFF and BMP → one grey image as a volume W × H × 1.

The pixels stay as they are stored, because Slicer follows no EXIF rotation and points must lie in the
grid that Slicer shows; a file that asks for a rotation says so in a warning. Colour becomes luminance,
transparency lies on black. The printing resolution (DPI) is no calibration.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mahtai.volumes.geometry import Geometry, GeometryError, check_geometry
from mahtai.volumes.planar import check_claimed_size, itk_grid
from mahtai.volumes.volume import Volume, VolumeError, VolumeInfo

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"BM": "bmp",
}
_READERS = {"png": "PNGImageIO", "jpeg": "JPEGImageIO", "tiff": "TIFFImageIO", "bmp": "BMPImageIO"}
_NUMBERS = {"L": "uint8", "I;16": "uint16", "I": "int32", "F": "float32"}
_ORIENTATION_TAG = 0x0112
_SAVE_AS_PNG = "Open it in an image program, save it as a grey PNG, and use that."


def image_format(content: bytes) -> str | None:
    """``png``, ``jpeg``, ``tiff`` or ``bmp`` by the first bytes; None for anything else."""
    return next((name for magic, name in _SIGNATURES.items() if content.startswith(magic)), None)


def describe_image(content: bytes) -> VolumeInfo:
    """What the header says; the pixels are not unpacked.

    Raises:
        VolumeError: damaged, or an image of a kind that is not read.
    """
    kind = str(image_format(content))
    with _opened(content, kind) as image:
        return VolumeInfo("volume", kind, _grid(content, kind, image), _dtype(image), _warnings(image, kind))


def read_image(content: bytes) -> Volume:
    """Unpack an image.

    Raises:
        VolumeError: damaged, cut off, or an image of a kind that is not read.
    """
    kind = str(image_format(content))
    with _opened(content, kind) as image:
        told = _warnings(image, kind)
        with _damage_named(kind):
            image.load()
            grey = _grey(image)
        return Volume(np.asfortranarray(grey.T)[:, :, None], _grid(content, kind, image), kind, told)


@contextmanager
def _opened(content: bytes, kind: str) -> Iterator[Image.Image]:
    with _damage_named(kind), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = Image.open(BytesIO(content), formats=[kind.upper()])
    with opened as image:
        check_claimed_size(*image.size)
        with _damage_named(kind):
            frames, orientation = getattr(image, "n_frames", 1), _orientation(image)
        # a telephone's JPEG carries small copies of itself as further frames (MPO)
        if frames > 1 and kind != "jpeg":
            raise VolumeError(
                f"The {kind.upper()} file holds {frames} images; a cephalogram is one.",
                "Save the page with the radiograph as a file of its own.",
            )
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") and (kind, image.mode) != ("jpeg", "YCbCr"):
            raise VolumeError(
                f"The {kind.upper()} file has colours for printing ({image.mode}), not grey levels.", _SAVE_AS_PNG
            )
        if kind == "tiff" and orientation != 1:
            raise VolumeError(
                "The TIFF file is stored turned or mirrored (its orientation mark says so), "
                "which programs show differently.",
                _SAVE_AS_PNG,
            )
        yield image


@contextmanager
def _damage_named(kind: str) -> Iterator[None]:
    """Turn whatever Pillow stumbles over into a ``VolumeError``."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise VolumeError(
            f"The {kind.upper()} file claims more pixels than any radiograph.", "Export the image again."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError) as error:
        raise VolumeError(f"The {kind.upper()} file is damaged or cut off.", "Export the image again.") from error
    except (AttributeError, ArithmeticError, RuntimeError, MemoryError, NotImplementedError) as error:
        raise VolumeError(f"The {kind.upper()} file cannot be unpacked.", _SAVE_AS_PNG) from error


def _grid(content: bytes, kind: str, image: Image.Image) -> Geometry:
    """As Slicer has it.

    Raises:
        VolumeError: ITK, and so Slicer, sees another image in the file.
        GeometryError: a printing resolution so extreme that Slicer could not show the image.
    """
    if image.mode == "LA":  # SimpleITK knows no pixels of two numbers
        return Geometry((*image.size, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    grid = itk_grid(content, _READERS[kind])
    if grid.shape != (*image.size, 1):
        raise VolumeError(f"The {kind.upper()} file contradicts itself about its size.", _SAVE_AS_PNG)
    try:
        check_geometry(grid)
    except GeometryError as error:
        across, down, _ = grid.spacing_mm
        raise GeometryError(
            f"The {kind.upper()} file states an absurd resolution: its spacing is {across:.4g} × {down:.4g} mm.",
            "Set the resolution to 300 dpi in an image program without changing the pixels, or save the image as a "
            "PNG without one. It is used for nothing else.",
        ) from error
    return grid


def _dtype(image: Image.Image) -> str:
    return _NUMBERS.get(_grey_mode(image), "uint8")


def _grey_mode(image: Image.Image) -> str:
    """The mode that holds the image as grey levels without loss of depth."""
    if image.mode.startswith("I;16"):
        return "I;16"
    return image.mode if image.mode in ("I", "F") else "L"


def _grey(image: Image.Image) -> NDArray[np.generic]:
    """[row, column] luminance (ITU-R 601)."""
    if image.mode in ("LA", "PA", "RGBA") or (image.mode == "P" and "transparency" in image.info):
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, (0, 0, 0, 255)), coloured)
    mode = _grey_mode(image)
    if mode == "I;16":
        # big-endian files keep their byte order in the mode's name
        return np.asarray(image).astype(np.uint16)
    return np.asarray(image if image.mode == mode else image.convert("L"))


def _orientation(image: Image.Image) -> int:
    """How the file wants to be shown (EXIF); 1 is as stored."""
    # a PNG's own method unpacks all of it to look for marks behind the pixels
    found = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    return int(found) if found in range(2, 9) else 1


def _warnings(image: Image.Image, kind: str) -> tuple[str, ...]:
    with _damage_named(kind):
        if kind == "tiff" or _orientation(image) == 1:
            return ()
    return (
        "The file asks to be shown turned (EXIF orientation). Slicer does not do so; the image is taken as stored.",
    )
