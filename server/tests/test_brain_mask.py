"""Is the skull off, and where is the brain: on real scans, on the phantom, on heads made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mahtai.demo.phantom import make_phantom
from mahtai.inference.brain_mask import brain_mask
from mahtai.inference.skull_stripping import is_skull_stripped
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume

SEQUENCES = ("t1", "t1c", "t2", "flair")


def _phantom(channel: str = "t1") -> Volume:
    phantom = make_phantom(shape=(200, 230, 190))
    return Volume(phantom.channels[channel], Geometry((200, 230, 190), phantom.ijk_to_ras), "nrrd")


def _with_head(brain: Volume) -> Volume:
    """Dark bone and bright scalp round the brain, air set to zero as some scanners do."""
    inside = np.asarray(brain.array) > 0
    distance = ndimage.distance_transform_edt(~inside)
    head = np.where((distance > 0) & (distance <= 9), 30, np.asarray(brain.array))
    head = np.where((distance > 9) & (distance <= 16), 1500, head)
    return Volume(head.astype(np.int16), brain.geometry, "nrrd")


def test_a_stripped_brain_is_known_in_any_orientation() -> None:
    volume = _phantom()
    assert is_skull_stripped(volume)
    turned = np.eye(4)
    turned[:3, :3] = volume.geometry.ijk_to_ras[:3, :3][:, [2, 0, 1]]
    array = np.ascontiguousarray(np.asarray(volume.array).transpose(2, 0, 1))
    assert is_skull_stripped(Volume(array, Geometry(array.shape, turned), "nrrd"))


def test_a_head_in_air_that_was_set_to_zero_is_not_taken_for_a_stripped_brain() -> None:
    assert not is_skull_stripped(_with_head(_phantom()))


def test_every_stripped_study_is_known_as_one(shared_data: Path) -> None:
    folders = sorted(path for path in (shared_data / "brats").iterdir() if path.is_dir())[::4]
    unknown = [
        f"{folder.name} {name}"
        for folder in folders
        for name in SEQUENCES
        if not is_skull_stripped(read_volume(folder / f"{name}.nii.gz"))
    ]
    assert unknown == []


def test_clinical_scans_have_their_skull(shared_data: Path) -> None:
    for name in SEQUENCES:
        assert not is_skull_stripped(read_volume(shared_data / "tcga_fg_6692" / f"{name}.nii.gz")), name


@pytest.mark.parametrize("name", ["t1", "t1c"])
def test_the_brain_of_a_clinical_scan_has_the_volume_of_a_brain(shared_data: Path, name: str) -> None:
    volume = read_volume(shared_data / "tcga_fg_6692" / f"{name}.nii.gz")
    mask = brain_mask(volume)
    assert mask.array.shape == volume.geometry.shape
    assert 1200 < mask.volume_ml < 1900
    assert mask.warnings == ()
    assert mask.method == "deepbet"
    # one piece, away from the borders of the field of view in the plane of the slices
    assert ndimage.label(mask.array)[1] == 1
    assert not mask.array[[0, -1]].any()


def test_a_scan_without_a_brain_gets_a_warning_instead_of_a_silent_mask() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (90, 90, 90)).astype(np.float32)
    mask = brain_mask(Volume(noise, Geometry((90, 90, 90), np.diag([2.0, 2.0, 2.0, 1.0])), "nrrd"))
    assert mask.warnings
