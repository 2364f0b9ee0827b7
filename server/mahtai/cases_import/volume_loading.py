"""NIfTI and NRRD files, whole: as Slicer loads them."""

from __future__ import annotations

from pathlib import Path

from mahtai.cases_import.as_slicer import as_slicer_loads, itk_grid
from mahtai.cases_import.kinds import Kind
from mahtai.volumes import nifti
from mahtai.volumes.formats import read_volume
from mahtai.volumes.volume import Volume

MOST_VOXELS = 2**28
"""In one volume: 645³. A study is in memory at once."""

_HEAD_BYTES = 1 << 16


def load_file(path: Path, kind: Kind) -> Volume:
    """Read a volume file as Slicer loads it.

    Raises:
        MahtaiError: it cannot be used. OSError: it cannot be read.
    """
    volume = read_volume(path, MOST_VOXELS)
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if kind == "NIfTI":
        grid = itk_grid(_plain_header(head), "NiftiImageIO", volume.geometry.shape)
    else:
        grid = itk_grid(head, "NrrdImageIO", volume.geometry.shape)
    return as_slicer_loads(volume, grid)


def _plain_header(head: bytes) -> bytes:
    """A NIfTI header that says that no extension follows, so that ITK looks for none."""
    unpacked = nifti.unpack_head(head) if head[:2] == nifti.GZIP_MAGIC else head
    size = nifti.HEADER_BYTES if unpacked[4:8] in (b"n+2\0", b"ni2\0") else 348
    return unpacked[:size] + bytes(4)
