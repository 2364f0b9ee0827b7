"""The volumes of a study, from their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.sealed_files import read_blob
from mahtai.volumes.formats import Volume, check_voxels, read_volume

_SHA256 = re.compile("[0-9a-f]{64}")


def read_study(inputs: Mapping[str, str], keys: Keys | None = None) -> dict[str, Volume]:
    """Channel id → path of a volume's file, read and checked.

    Args:
        inputs: a file of the store is called by its SHA-256, which is checked.
        keys: for files that are encrypted.

    Raises:
        BlobDamaged: a file is not what was stored.
        VolumeError, GeometryError: a file is not usable.
        SealBroken, KeyNotSet, UnknownDataKey: it is encrypted and cannot be read.
    """
    study = {}
    for channel, name in inputs.items():
        path = Path(name)
        volume = read_volume(_content(path, keys))
        check_voxels(volume)
        study[channel] = volume
    return study


def _content(path: Path, keys: Keys | None) -> bytes:
    if _SHA256.fullmatch(path.name):
        return read_blob(path, path.name, keys)
    return path.read_bytes()  # somebody's own file, without a server
