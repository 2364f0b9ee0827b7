"""The volumes of a study, from their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.sealed_files import blob_place, read_file
from mahtai.volumes.formats import Volume, check_voxels, read_volume


def read_study(inputs: Mapping[str, str], keys: Keys | None = None) -> dict[str, Volume]:
    """Channel id → path of a volume's file, read and checked.

    Args:
        keys: for files that are encrypted, which are called by their SHA-256.

    Raises:
        VolumeError, GeometryError: a file is not usable.
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    study = {}
    for channel, name in inputs.items():
        path = Path(name)
        volume = read_volume(read_file(path, blob_place(path.name), keys))
        check_voxels(volume)
        study[channel] = volume
    return study
