"""Folders to import, and the command that imports them into a server that tests run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from click.testing import CliRunner

from mahtai.cli import main
from MahtAILib.client import nrrd
from server_process import ServerProcess
from studies import affine, synthetic_study

CHANNELS = ("t1c", "t1", "t2", "flair")
RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Imported:
    """What the command said."""

    exit_code: int
    output: str
    report: dict[str, Any]

    @property
    def studies(self) -> dict[str, dict[str, Any]]:
        """Place → what became of the study there."""
        return {study["place"]: study for study in self.report["studies"]}

    @property
    def skipped(self) -> dict[str, str]:
        """What was left out → why."""
        return {one["what"]: one["reason"] for one in self.report["skipped"]}


def variables(server: ServerProcess) -> dict[str, str]:
    """The environment in which ``mahtai`` finds a server of the tests."""
    return {
        "MAHTAI_PORT": str(server.port),
        "MAHTAI_CONFIG_DIR": str(server.root / "config"),
        "MAHTAI_DATA_DIR": str(server.data),
    }


def run_import(server: ServerProcess, folder: Path, *arguments: str) -> Imported:
    """``mahtai cases import`` with a report."""
    path = server.root / "import-report.json"
    path.unlink(missing_ok=True)
    command = ["cases", "import", str(folder), "--report", str(path), *arguments]
    result = CliRunner().invoke(main, command, env=variables(server), catch_exceptions=False)
    report = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return Imported(result.exit_code, result.output, report)


def volumes(seed: int) -> dict[str, np.ndarray]:
    """Channel → voxels of a small made-up study; every seed gives others."""
    return {channel: nrrd.decode(data).array for channel, data in synthetic_study(seed).items()}


def write_nifti(path: Path, array: np.ndarray, matrix: np.ndarray | None = None) -> Path:
    """A NIfTI file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine() if matrix is None else matrix), path)
    return path


def write_study(folder: Path, seed: int, form: str = "{}.nii.gz", channels: tuple[str, ...] = CHANNELS) -> Path:
    """The volumes of a made-up study under names in the given form."""
    for channel, array in volumes(seed).items():
        if channel in channels:
            write_nifti(folder / form.format(channel), array)
    return folder
