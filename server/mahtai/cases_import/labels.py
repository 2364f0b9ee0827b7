"""A segmentation file beside a study → the ``.seg.nrrd`` of a first label version."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mahtai.cases_import.kinds import Kind
from mahtai.cases_import.volume_loading import MOST_VOXELS, load_file
from mahtai.volumes.formats import is_segmentation
from mahtai.volumes.segmentation_file import decode_segmentation, encode_segmentation
from mahtai.volumes.terminology import segments_of_task
from mahtai.volumes.volume import VolumeError
from MahtAILib.client.nrrd import NrrdError, read_header

_BRATS_UNTIL_2021 = {4: 3}
"""Enhancing tumour was 4 where there is no 3 (BraTS 2017 to 2021); ours, as since 2023, is 3."""


def label_file(path: Path, kind: Kind, task: str) -> bytes:
    """A segmentation with our names and codes; a ``.seg.nrrd`` stays as it is.

    Args:
        path: whole numbers, 1 necrosis, 2 oedema, 3 or 4 enhancing tumour, as in BraTS; or a ``.seg.nrrd``.

    Raises:
        MahtaiError: damaged, or values whose meaning is not known. OSError: it cannot be read.
    """
    if kind == "NRRD":
        content = path.read_bytes()
        with suppress(NrrdError):  # reading it as a volume says what is wrong
            if is_segmentation(read_header(content).fields):
                decode_segmentation(content, MOST_VOXELS)
                return content
    volume = load_file(path, kind)
    labelmap = _whole_numbers(volume.array)
    values = {int(value) for value in np.unique(labelmap)} - {0}
    if 4 in values and 3 not in values:
        labelmap = np.where(labelmap == 4, _BRATS_UNTIL_2021[4], labelmap)
        values = {_BRATS_UNTIL_2021.get(value, value) for value in values}
    segments = segments_of_task(task)
    unknown = values - {segment.label_value for segment in segments}
    if unknown:
        raise VolumeError(
            f"It has the values {', '.join(map(str, sorted(unknown)[:10]))}, whose meaning is not known.",
            "In a BraTS segmentation 1 is necrosis, 2 oedema, 3 or 4 enhancing tumour.",
        )
    return encode_segmentation(labelmap.astype(np.uint8), volume.geometry, segments)


def _whole_numbers(array: NDArray[np.generic]) -> NDArray[np.int64]:
    rounded = np.rint(array.astype(np.float64))
    if not np.array_equal(rounded, array) or np.abs(rounded).max(initial=0) > 255:
        raise VolumeError("Its voxels are no label values (whole numbers from 0 to 255).", "Leave it out.")
    return rounded.astype(np.int64)
