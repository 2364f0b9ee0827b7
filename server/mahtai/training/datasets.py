"""Cases on disk: which belong to training, and their voxels in the form that a network sees.

A data folder holds one folder a case with ``t1c``, ``t1``, ``t2``, ``flair`` and ``seg`` as NIfTI.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from torch import Tensor

from mahtai.inference.intensity import zscore_foreground
from mahtai.training.splits import SplitError, held_out_voxels, part_of, split
from mahtai.volumes.fingerprint import fingerprint

CHANNELS = ("t1c", "t1", "t2", "flair")
"""Input order of the model zoo's ``brats_mri_segmentation``."""

REGIONS = ("TC", "WT", "ET")
"""Output order of the model zoo's ``brats_mri_segmentation``."""


@dataclass(frozen=True)
class Case:
    """One patient's study with its reference segmentation.

    Attributes:
        name: folder name, the patient's identity in the split.
        image: 4 × X × Y × Z float16, z-scored in the brain, channels T1c, T1, T2, FLAIR, axes LPS.
        label: X × Y × Z uint8: 0 background, 1 NCR, 2 ED, 3 ET.
        spacing_mm: of the three axes.
        split: ``train``, or what it is held out for.
    """

    name: str
    image: Tensor
    label: Tensor
    spacing_mm: tuple[float, float, float]
    split: str


def require_for_training(cases: Iterable[Case]) -> None:
    """The last door before the network: whatever the cases come from, only those of the train split pass.

    Raises:
        SplitError: naming the case.
    """
    for case in cases:
        if case.split != "train":
            raise SplitError(
                f"{case.name} is held out ({case.split}) and can never enter training.",
                "Take it out of the list; nothing was trained.",
            )


def voxels_sha256(path: Path) -> str:
    """The fingerprint of a volume, which a new name or another storage order does not change."""
    return fingerprint(np.asanyarray(_load(path).dataobj))


def check_training_cases(folders: Iterable[Path]) -> None:
    """Refuse any validation or test case among ``folders``.

    Raises:
        SplitError: naming the case, whether it goes by its own name or another one.
    """
    lists = split()
    held_out_names = {*lists["test"], *lists["validation"]}
    held_out_hashes = held_out_voxels()
    for folder in folders:
        known_as = held_out_hashes.get(voxels_sha256(sequence_file(folder, "t1c")))
        if folder.name in held_out_names or known_as is not None:
            raise SplitError(
                f"{folder.name} is a held-out case ({known_as or folder.name}) and can never enter training. "
                "Take it out of the list; the split in training/splits.json is kept for ever."
            )


def sequence_file(folder: Path, name: str) -> Path:
    """``folder/name.nii.gz`` or ``folder/name.nii``."""
    for suffix in (".nii.gz", ".nii"):
        path = folder / f"{name}{suffix}"
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} has no {name}.nii.gz")


def case_folders(root: Path, names: Sequence[str] | None = None) -> list[Path]:
    """The case folders below ``root``: all of them, or those named.

    Raises:
        FileNotFoundError: a named case is not there, or there is none at all.
    """
    if names is None:
        found = sorted(path.parent for pattern in ("*/seg.nii.gz", "*/seg.nii") for path in root.glob(pattern))
        if not found:
            raise FileNotFoundError(f"no case folders with a seg.nii.gz below {root}")
        return found
    folders = [root / name for name in names]
    missing = [folder.name for folder in folders if not folder.is_dir()]
    if missing:
        raise FileNotFoundError(f"{root} lacks the cases {', '.join(missing)}")
    return folders


def _load(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise ValueError(f"{path} is not NIfTI")
    return image


def _to_lps(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    image = _load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("L", "P", "S")))
    turned = image.as_reoriented(turn)
    first, second, third = (float(value) for value in turned.header.get_zooms()[:3])
    return np.asanyarray(turned.dataobj), (first, second, third)


def contiguous_labels(label: np.ndarray) -> np.ndarray:
    """Labels of any BraTS year (ET 4 to 2021, 3 from 2023 on) as 0, 1 NCR, 2 ED, 3 ET."""
    result = np.asarray(label).astype(np.uint8)
    result[result == 4] = 3
    return result


def load_case(folder: Path, margin: int = 2) -> Case:
    """Read a case, turn it to LPS, crop it to the brain with a margin in voxels, z-score it.

    Its split is the published one, by its name and by its T1c; a case that is not in it may be learnt from.
    """
    arrays = []
    spacing = (1.0, 1.0, 1.0)
    for channel in CHANNELS:
        array, spacing = _to_lps(sequence_file(folder, channel))
        arrays.append(array.astype(np.float32))
    label = contiguous_labels(_to_lps(sequence_file(folder, "seg"))[0])
    part = _named_part(folder.name) or part_of(fingerprint(arrays[CHANNELS.index("t1c")])) or "train"
    stacked = np.stack(arrays)
    where = np.nonzero((stacked != 0).any(axis=0))
    box = tuple(
        slice(max(int(axis.min()) - margin, 0), min(int(axis.max()) + 1 + margin, length))
        for axis, length in zip(where, label.shape, strict=True)
    )
    image = zscore_foreground(torch.from_numpy(stacked[(slice(None), *box)].copy()))
    return Case(folder.name, image.half(), torch.from_numpy(label[box].copy()), spacing, part)


def _named_part(name: str) -> str | None:
    return next((part for part, names in split().items() if name in names), None)


def regions_of(label: Tensor) -> Tensor:
    """Labels 0..3 (any shape) → TC, WT, ET as a new first axis, float32."""
    return torch.stack([(label == 1) | (label == 3), label > 0, label == 3]).float()
