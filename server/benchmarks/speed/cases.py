"""The studies that are measured, and the files that each of the peers wants of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mahtai.demo.phantom import make_phantom
from mahtai.demo.sample import demo_study
from mahtai.errors import MahtaiError
from mahtai.volumes.formats import read_volume
from MahtAILib.client.geometry import Geometry

CHANNELS = ("t1c", "t1", "t2", "flair")
"""Order of the network's input."""

DATA = Path(os.environ.get("MAHTAI_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))

QUICK_SHAPE, QUICK_SPACING_MM = (76, 92, 72), 2.0


class CaseMissing(MahtaiError):
    """A case that is to be measured is not there."""

    kind = "case-missing"
    title = "A case is not there"


@dataclass(frozen=True, eq=False)
class Case:
    """One study.

    Attributes:
        origin: where it comes from, for the report.
        volumes: channel → voxels [i, j, k] and 4×4 voxel index → RAS in mm.
        reference: labels [i, j, k] on the grid of T1c (1 NCR, 2 ED, 3 ET) by an expert, or known for certain; or None.
    """

    name: str
    origin: str
    volumes: dict[str, tuple[NDArray, NDArray[np.float64]]]
    reference: NDArray[np.uint8] | None = None

    @property
    def grids(self) -> list[Geometry]:
        """Of the channels in their order."""
        return [Geometry(*_shape_first(self.volumes[channel])) for channel in CHANNELS]

    @property
    def is_on_one_grid(self) -> bool:
        """Whether the peers can read it: they do not resample one sequence to another."""
        return all(grid.same_grid(self.grids[0]) for grid in self.grids[1:])

    def write(self, folder: Path) -> Path:
        """What the peers read: a ``.nii.gz`` for each channel, and ``image.nii.gz`` with all four; returns the folder.

        Raises:
            ValueError: the channels lie on different grids.
        """
        if not self.is_on_one_grid:
            raise ValueError(f"the sequences of {self.name} lie on different grids, which this peer cannot read")
        folder.mkdir(parents=True, exist_ok=True)
        arrays = [self.volumes[channel][0] for channel in CHANNELS]
        affine = self.volumes[CHANNELS[0]][1]
        for channel, array in zip(CHANNELS, arrays, strict=True):
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{channel}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.stack(arrays, axis=-1), affine), folder / "image.nii.gz")
        return folder


def quick_case() -> Case:
    """A small phantom with voxels of 2 mm."""
    ijk_to_ras = np.diag([-QUICK_SPACING_MM, -QUICK_SPACING_MM, QUICK_SPACING_MM, 1.0])
    ijk_to_ras[:3, 3] = -ijk_to_ras[:3, :3] @ ((np.array(QUICK_SHAPE) - 1) / 2)
    phantom = make_phantom(QUICK_SHAPE, ijk_to_ras)
    volumes = {channel: (array, phantom.ijk_to_ras) for channel, array in phantom.channels.items()}
    return Case("phantom", "A small phantom, no patient.", volumes, phantom.labels)


def find_cases(names: str) -> list[Case]:
    """Those that are named, comma-separated: ``sample``, folders of ``data/brats`` or ``data``, ``all`` of brats.

    Raises:
        CaseMissing: there is no such folder.
    """
    cases = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "sample":
            cases.append(_sample())
        elif name == "all":
            cases += [_from_folder(path.parent) for path in sorted((DATA / "brats").glob("*/t1c.nii.gz"))]
        else:
            folders = [folder for folder in (DATA / "brats" / name, DATA / name) if (folder / "t1c.nii.gz").is_file()]
            if not folders:
                raise CaseMissing(f"There is no case {name} below {DATA}.", "Set MAHTAI_SHARED_DATA to the cases.")
            cases.append(_from_folder(folders[0]))
    if not cases:
        raise CaseMissing(f"There is no case below {DATA / 'brats'}.", "Set MAHTAI_SHARED_DATA to the cases.")
    return cases


def read_labels(path: Path, like: Sequence[int]) -> NDArray[np.uint8]:
    """A labelmap of any BraTS year (ET 4 to 2021, 3 from 2023 on) as 0, 1 NCR, 2 ED, 3 ET.

    Raises:
        ValueError: it has another shape than it should.
    """
    labels = np.asarray(read_volume(path).array).astype(np.uint8)
    if labels.shape != tuple(like):
        raise ValueError(f"{path.name} has {labels.shape} voxels, not {tuple(like)}")
    return np.where(labels == 4, 3, labels).astype(np.uint8)


def _sample() -> Case:
    study = demo_study(False, print)
    return Case(study.name, study.origin, study.volumes, study.truth)


def _from_folder(folder: Path) -> Case:
    volumes = {}
    for channel in CHANNELS:
        volume = read_volume(folder / f"{channel}.nii.gz")
        volumes[channel] = (volume.array, np.asarray(volume.geometry.ijk_to_ras))
    labels = folder / "seg.nii.gz"
    reference = read_labels(labels, volumes["t1c"][0].shape) if labels.is_file() else None
    return Case(folder.name, f"{folder.parent.name}/{folder.name}", volumes, reference)


def _shape_first(volume: tuple[NDArray, NDArray[np.float64]]) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    return volume[0].shape, volume[1]
