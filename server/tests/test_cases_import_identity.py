"""An imported volume has the bytes, and so the hash, that the panel sends after Slicer has loaded the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from grids import GRIDS, to_sitk
from mahtai.cases_import.dicom_studies import load_stack
from mahtai.cases_import.kinds import look_at
from mahtai.cases_import.volume_loading import load_file
from mahtai.volumes.volume import Volume
from MahtAILib.client import pack

pytest.importorskip("slicer", reason="needs slicer-core")

from kit.fixtures import slicer_context  # noqa: E402

__all__ = ["slicer_context"]


def hash_in_slicer(context: Any, path: Path, is_series: bool = False) -> str:
    """Of the volume that Slicer's own reader makes of a file, as the panel hands it out."""
    from MahtAILib.scene.volumes import volume_out

    node = context.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = context.scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    storage.SetSingleFile(not is_series)
    assert storage.ReadData(node)
    out = volume_out(node)
    return pack(out.array, out.ijk_to_ras).sha256


def hash_of(volume: Volume) -> str:
    return pack(volume.array, volume.geometry.ijk_to_ras).sha256


@pytest.mark.parametrize("form", ["nii.gz", "nrrd", "sform", "scaled"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_volume_file_has_one_identity(slicer_context: Any, tmp_path: Path, grid: str, form: str) -> None:
    geometry = GRIDS[grid]
    array = np.random.default_rng(1).integers(0, 3000, geometry.shape).astype(np.int16)
    path = tmp_path / f"scan.{form if '.' in form or form == 'nrrd' else 'nii'}"
    if form in ("sform", "scaled"):
        image = nibabel.Nifti1Image(array, geometry.ijk_to_ras)
        if form == "scaled":
            image.header.set_slope_inter(2.0, -10.0)
        nibabel.save(image, path)
    else:
        SimpleITK.WriteImage(to_sitk(array, geometry), str(path))
    kind, _, why = look_at(path)
    assert not why
    assert hash_of(load_file(path, kind)) == hash_in_slicer(slicer_context, path)


def test_oblique_left_handed_clinical_files_have_one_identity(slicer_context: Any, shared_data: Path) -> None:
    for path in sorted((shared_data / "tcga_fg_6692").glob("*.nii.gz")):
        assert hash_of(load_file(path, "NIfTI")) == hash_in_slicer(slicer_context, path)


def test_a_dicom_series_has_one_identity(slicer_context: Any, shared_data: Path) -> None:
    paths = sorted((shared_data / "dicom_t1w").glob("*.dcm"))
    assert hash_of(load_stack(paths)) == hash_in_slicer(slicer_context, paths[0], is_series=True)
