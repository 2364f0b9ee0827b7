"""Who the patient of a study is, by the names of folders and files: the cases of one must not be torn apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from mahtai.cases_import.find import find_studies
from mahtai.cases_import.names import patient_of_dicom, patient_of_folder, patient_of_picture
from studies import CHANNELS

ROOT = Path("/data/import-me")


@pytest.mark.parametrize(
    ("folder", "patient"),
    [
        ("Brats18_TCIA01_201_1", "Brats18_TCIA01_201_1"),
        ("HGG/BraTS19_2013_10_1", "BraTS19_2013_10_1"),
        ("BraTS-GLI-00012-000", "BraTS-GLI-00012"),
        ("BraTS-GLI-00012-001", "BraTS-GLI-00012"),
        ("TCGA-02-0006/2001-04-15/MR", "TCGA-02-0006"),
        ("Doe_J/20230401", "Doe_J"),
        ("Doe_J/baseline", "Doe_J"),
        ("Doe_J/1", "Doe_J"),
        ("Doe_J/week_012/anat", "Doe_J"),
        ("north/patient1", "north/patient1"),
        ("patient 7/follow-up 2", "import-me/patient 7"),
        ("sub-01/ses-02/anat", "import-me/sub-01"),
        ("17", "import-me/17"),
        ("", "import-me"),
        ("ses-1", "import-me"),
        ("Fuchs", "Fuchs"),
        ("Dayton", "Dayton"),
    ],
)
def test_the_innermost_folder_that_can_be_a_patient_is_one(folder: str, patient: str) -> None:
    assert patient_of_folder(ROOT / folder, ROOT) == patient


@pytest.mark.parametrize(
    ("picture", "is_collection", "patient"),
    [
        ("images/001.jpg", True, "import-me/001"),
        ("Doe_J/lateral.png", False, "Doe_J"),
        ("Doe_J/1.png", False, "Doe_J"),
        ("Doe_J.png", False, "Doe_J"),
        ("films/Doe_J ses-2.png", False, "Doe_J"),
    ],
)
def test_a_radiograph_belongs_to_its_folder_or_to_its_own_name(picture: str, is_collection: bool, patient: str) -> None:
    assert patient_of_picture(ROOT / picture, ROOT, is_collection) == patient


@pytest.mark.parametrize(
    ("number", "issuer", "patient"),
    [("4711", "", "4711"), ("4711", "North", "4711^^^North"), ("", "", ""), ("0000", "", ""), ("Anonymous1", "", "")],
)
def test_a_number_that_was_taken_out_is_no_patient(number: str, issuer: str, patient: str) -> None:
    assert patient_of_dicom(number, issuer) == patient


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["sub-01_ses-1_{}.nii", "sub-01_ses-2_{}.nii", "sub-02_ses-1_{}.nii"], ["flat/sub-01"] * 2 + ["flat/sub-02"]),
        (["UPENN-GBM-00001_11_{}.nii", "UPENN-GBM-00002_11_{}.nii"], ["UPENN-GBM-00001_11", "UPENN-GBM-00002_11"]),
        (["BraTS-MEN-00004-000-{}.nii", "BraTS-MEN-00004-001-{}.nii"], ["BraTS-MEN-00004"] * 2),
    ],
)
def test_files_of_several_studies_in_one_folder(tmp_path: Path, names: list[str], patients: list[str]) -> None:
    folder = tmp_path / "flat"
    for name in names:
        for channel in CHANNELS:
            _tiny(folder / name.format(channel))
    studies = find_studies(folder, "auto", lambda what, why: pytest.fail(f"{what}: {why}"))
    assert sorted(study.patient for study in studies) == sorted(patients)
    assert all(len(study.slots) == 4 for study in studies)


def test_sequences_that_only_a_number_tells_are_told_apart_by_case(tmp_path: Path) -> None:
    folder = tmp_path / "imagesTr"
    for case in ("GLIO_017", "GLIO_018"):
        for number in range(4):
            _tiny(folder / f"{case}_{number:04}.nii")
    studies = find_studies(folder, "auto", lambda what, why: pytest.fail(f"{what}: {why}"))
    assert sorted(study.patient for study in studies) == ["GLIO_017", "GLIO_018"]
    for study in studies:
        assert study.slots["t1c"].name.endswith(f"{study.patient}_0001.nii") and len(study.slots) == 4


def _tiny(path: Path) -> None:
    import nibabel
    import numpy as np

    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4)), path)
