"""Which cases may be learnt from: drawn once by patient, kept for ever in ``splits.json``."""

from __future__ import annotations

import json
from pathlib import Path

from mahtai.errors import MahtaiError

SPLITS_FILE = Path(__file__).with_name("splits.json")


class SplitError(MahtaiError):
    """A case was asked for in a role that its place in the split forbids."""

    kind = "held-out-case"
    title = "The case is held out"


def split(dataset: str = "brats") -> dict[str, list[str]]:
    """The sticky split of a data set: ``train``, ``validation`` and ``test`` → case names."""
    return dict(json.loads(SPLITS_FILE.read_text(encoding="utf-8"))[dataset])


def held_out_voxels() -> dict[str, str]:
    """Fingerprint of the T1c volume → name, of every case that training may never see."""
    return dict(json.loads(SPLITS_FILE.read_text(encoding="utf-8"))["held_out_voxels_sha256"])


def seen_voxels() -> dict[str, str]:
    """Fingerprint of the T1c volume → name, of every case that the shipped models learnt from."""
    return dict(json.loads(SPLITS_FILE.read_text(encoding="utf-8"))["seen_voxels_sha256"])


def part_of(fingerprint: str) -> str | None:
    """``train``, ``validation`` or ``test`` of a scan that the shipped models' split knows, by its fingerprint."""
    if fingerprint in seen_voxels():
        return "train"
    name = held_out_voxels().get(fingerprint)
    if name is None:
        return None
    return "validation" if name in split()["validation"] else "test"
