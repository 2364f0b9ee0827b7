"""2-D images as volumes of one slice: W × H × 1 on the grid that Slicer gives them, and what they must be like.

Slicer reads image files with ITK, so ITK says where their pixels lie: a PNG has pixels of 1 × 1 (or what
its sCAL chunk says), a JPEG or TIFF gets a spacing from its printing resolution, a CR or DX image its
ImagerPixelSpacing. None of these is believed to be a true size because it is the grid: see ``calibration``.
"""

from __future__ import annotations

import numpy as np

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.passing_folder import passing_folder
from mahtai.volumes.volume import VolumeError

SMALLEST_SIDE = 200
"""Pixels; in less nobody can place a landmark to a millimetre or two."""

LARGEST_SIDE = 20_000
MOST_PIXELS = 100_000_000

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_planar(geometry: Geometry) -> bool:
    """Whether the volume is one 2-D image."""
    return geometry.shape[2] == 1 and min(geometry.shape[:2]) > 1


def check_claimed_size(width: int, height: int) -> None:
    """Refuse an image by its header, before it is unpacked.

    Raises:
        VolumeError: too large to be a scan, or without pixels.
    """
    if min(width, height) < 1:
        raise VolumeError(f"The image is empty: it has {width} × {height} pixels.", "Choose another image.")
    if width * height > MOST_PIXELS or max(width, height) > LARGEST_SIDE:
        raise VolumeError(
            f"The image claims {width:,} × {height:,} pixels; at most {MOST_PIXELS / 1e6:.0f} million, and "
            f"{LARGEST_SIDE:,} a side, are read.",
            "A cephalogram has 2 to 20 million. Export it again at its own size; otherwise the file is damaged.",
        )


def check_for_landmarks(geometry: Geometry) -> None:
    """Refuse what cannot be a cephalogram by its size.

    Raises:
        VolumeError: not 2-D, too small, or too large.
    """
    width, height, slices = geometry.shape
    if slices != 1:
        raise VolumeError(
            f"The volume has {slices} slices; a cephalogram is one 2-D image.",
            "Choose the radiograph itself (PNG, JPEG, TIFF, DICOM CR or DX).",
        )
    check_claimed_size(width, height)
    if min(width, height) < SMALLEST_SIDE:
        raise VolumeError(
            f"The image has {width} × {height} pixels: too few to place landmarks in it.",
            f"At least {SMALLEST_SIDE} pixels a side are needed, 1000 and more are usual. Export it at its full size.",
        )


def itk_grid(content: bytes, image_io: str) -> Geometry:
    """The grid that ITK, and so Slicer, gives the image in a file.

    Args:
        image_io: ITK's name of the reader, such as ``PNGImageIO``.

    Raises:
        VolumeError: ITK cannot read it.
    """
    import SimpleITK  # takes a moment to load and volumes do not need it

    with passing_folder(len(content)) as folder:
        path = folder / "image"
        path.write_bytes(content)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO(image_io)
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise VolumeError(
                "The image cannot be read by ITK, and so not by Slicer.", "Save it again as a grey PNG."
            ) from error
    size, dimensions = reader.GetSize(), reader.GetDimension()
    matrix = np.eye(4)
    direction = np.asarray(reader.GetDirection()).reshape(dimensions, dimensions)
    matrix[:dimensions, :dimensions] = direction * np.asarray(reader.GetSpacing())
    matrix[:dimensions, 3] = reader.GetOrigin()
    return Geometry([*size, 1][:3], _LPS_TO_RAS @ matrix)
