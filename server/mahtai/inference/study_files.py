"""The volumes of a study, from their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mahtai.volumes.formats import Volume, check_voxels, read_volume


def read_study(inputs: Mapping[str, str]) -> dict[str, Volume]:
    """Channel id → path of a volume's file, read and checked.

    Raises:
        VolumeError, GeometryError: a file is not usable.
    """
    study = {}
    for channel, path in inputs.items():
        volume = read_volume(Path(path))
        check_voxels(volume)
        study[channel] = volume
    return study
