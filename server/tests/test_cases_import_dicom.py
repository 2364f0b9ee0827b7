"""Importing DICOM: series are grouped, chosen with a reason, and placed as SimpleITK places them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from import_kit import CHANNELS, run_import
from mahtai.cases_import.find import find_studies
from server_process import ServerProcess
from test_cases_import import as_read, assert_same_in_the_patient
from test_dicom_series import AXIAL, OBLIQUE, SAGITTAL, slices

DESCRIPTIONS = {"t1": "AX T1", "t2": "AX T2 TSE", "flair": "AX FLAIR", "t1c": "AX T1 POST GD"}


def series(
    folder: Path,
    description: str,
    seed: int,
    *,
    patient: str = "4711",
    study: str = "1.2.3",
    orientation: tuple[float, ...] = AXIAL,
    count: int = 9,
    **more: object,
) -> list[Path]:
    """Files of one MR series, in an order that has nothing to do with where the slices lie."""
    uid, draw = generate_uid(), np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(slices(count, orientation)):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID = uid, study, patient
        dataset.PatientName, dataset.PatientBirthDate = "Doe^Jane", "19600102"
        dataset.SeriesDescription, dataset.SeriesNumber = description, seed
        dataset.PixelData = draw.integers(0, 4000, (12, 10)).astype("<u2").tobytes()
        for keyword, value in more.items():
            setattr(dataset, keyword, value)
        paths.append(save(dataset, folder / f"{uid[-6:]}-{(number * 5) % count:03}.dcm"))
    return paths


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_series_of_a_study_are_found_among_others_and_the_rest_is_told(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    root = tmp_path / "export"
    for seed, (channel, description) in enumerate(DESCRIPTIONS.items(), 2):
        series(root / f"S{seed}", description, seed, orientation=OBLIQUE if channel == "flair" else AXIAL)
    series(root / "S1", "localizer", 1)
    series(root / "S7", "ep2d_diff ADC", 7, ImageType=["DERIVED", "PRIMARY", "ADC"])
    series(root / "S8", "AX T2 TSE repeated", 8, count=4)
    done = run_import(server, root)
    assert done.exit_code == 0, done.output
    (study,) = done.report["studies"]
    assert set(study["slots"]) == set(CHANNELS)
    assert all(DESCRIPTIONS[slot] in name for slot, name in study["slots"].items())
    reasons = {what.split("series ")[1]: why for what, why in done.skipped.items()}
    assert "scout" in reasons["1 localizer (9 images)"] and "diffusion" in reasons["7 ep2d_diff ADC (9 images)"]
    assert "another series was taken" in reasons["8 AX T2 TSE repeated (4 images)"]
    said = client.get(f"/v1/cases/{study['case']}")
    source = client.get(f"/v1/cases/{study['case']}/source").json()["source"]
    assert source["study_instance_uid"] == "1.2.3" and set(source["series_instance_uids"]) == set(CHANNELS)
    for secret in ("Doe", "Jane", "4711", "19600102"):
        assert secret not in said.text and secret not in str(source) and secret not in done.output


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
def test_a_series_is_placed_as_simpleitk_places_it(
    server: ServerProcess, client: httpx.Client, tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    root = tmp_path / "export"
    series(root, "AX FLAIR", 31, orientation=orientation, patient=str(orientation))
    (study,) = run_import(server, root).report["studies"]
    volume = client.get(f"/v1/cases/{study['case']}").json()["volumes"]["flair"]
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(root))
    sent = as_read(client.get(f"/v1/volumes/{volume}").content, tmp_path)
    assert_same_in_the_patient(sent, SimpleITK.ReadImage(files))


def test_a_real_series_is_placed_as_simpleitk_places_it(
    server: ServerProcess, client: httpx.Client, tmp_path: Path, shared_data: Path
) -> None:
    (study,) = run_import(server, shared_data / "dicom_t1w").report["studies"]
    volume = client.get(f"/v1/cases/{study['case']}").json()["volumes"]["t1"]
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(shared_data / "dicom_t1w"))
    sent = as_read(client.get(f"/v1/volumes/{volume}").content, tmp_path)
    assert_same_in_the_patient(sent, SimpleITK.ReadImage(files))


def test_files_of_two_patients_and_three_examinations_in_one_folder_are_told_apart(
    server: ServerProcess, tmp_path: Path
) -> None:
    root = tmp_path / "mixed"
    for seed, (patient, study) in enumerate([("A-1", "1.1"), ("A-1", "1.2"), ("B-2", "1.3")], 41):
        series(root, "AX T1", seed, patient=patient, study=study)
        series(root, "AX FLAIR", seed + 10, patient=patient, study=study)
    done = run_import(server, root)
    assert [set(study["slots"]) for study in done.report["studies"]] == [{"t1", "flair"}] * 3
    assert sorted(Counter(study["patient"] for study in done.report["studies"]).values()) == [1, 2]
    assert not done.report["notes"], "the names were those of two patients, and they are two"


def test_the_same_number_of_another_hospital_is_another_patient(server: ServerProcess, tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    series(root / "a", "AX T1", 61, patient="100", study="2.1", IssuerOfPatientID="North")
    series(root / "b", "AX T1", 62, patient="100", study="2.2", IssuerOfPatientID="South")
    one, other = (study["patient"] for study in run_import(server, root).report["studies"])
    assert one != other


def test_numbers_that_were_taken_out_do_not_make_all_one_patient(tmp_path: Path) -> None:
    root = tmp_path / "trial"
    for name, study in (("Site-Ulm-17", "3.1"), ("Site-Ulm-18", "3.2")):
        series(root / name / "AX T1", "AX T1", 63, patient="ANONYMOUS", study=study)
        series(root / name / "AX FLAIR", "AX FLAIR", 64, patient="ANONYMOUS", study=study)
    found = find_studies(root, "auto", lambda what, why: pytest.fail(f"{what}: {why}"))
    assert [study.patient for study in found] == ["Site-Ulm-17", "Site-Ulm-18"]
    assert [set(study.slots) for study in found] == [{"t1", "flair"}] * 2


def test_what_is_wrong_with_a_series_is_told_and_the_others_are_imported(server: ServerProcess, tmp_path: Path) -> None:
    root = tmp_path / "export"
    whole = series(root / "whole", "AX FLAIR", 71, patient="C-3", study="4.1")
    gap = series(root / "gap", "AX T2", 72, patient="C-3", study="4.1")
    next(path for path in gap if path.name.endswith("002.dcm")).unlink()
    stray = series(root / "stray", "AX T1", 73, patient="C-3", study="4.1")
    extra = pydicom.dcmread(stray[0])
    extra.ImageOrientationPatient, extra.SOPInstanceUID = list(SAGITTAL), generate_uid()
    save(extra, root / "stray" / "extra.dcm")
    twice = series(root / "twice", "AX T1 POST", 74, patient="C-3", study="4.1")
    for path in twice:
        again = pydicom.dcmread(path)
        again.SOPInstanceUID = generate_uid()
        save(again, path.with_name(f"second-{path.name}"))
    shutil.copy(whole[0], root / "copy.dcm")
    cut = root / "whole" / "cut.dcm"
    cut.write_bytes(whole[1].read_bytes()[:300])
    report = pydicom.dcmread(whole[2], stop_before_pixels=True)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SOPInstanceUID = generate_uid()
    del report.Rows
    save(report, root / "report.dcm")
    done = run_import(server, root)
    (study,) = done.report["studies"]
    assert set(study["slots"]) == {"flair", "t1"}, done.output
    reasons = {what.rsplit("/", 1)[-1].split(": series ")[-1]: why for what, why in done.skipped.items()}
    assert "Slices are missing" in reasons["72 AX T2 (8 images)"]
    assert "4-D" in reasons["74 AX T1 POST (18 images)"]
    assert "extra image" in reasons["extra.dcm"]
    # which of two copies is taken goes by the order of the names
    assert any("the same image as" in why for why in reasons.values())
    assert "without an image" in reasons["report.dcm"] and "cut.dcm" in reasons


def test_two_echoes_of_one_series_are_two_volumes(tmp_path: Path) -> None:
    root = tmp_path / "export"
    first = series(root, "PD T2 dual echo", 81, EchoTime=15.0, RepetitionTime=3500.0)
    for path in first:
        second = pydicom.dcmread(path)
        second.EchoTime, second.SOPInstanceUID = 100.0, generate_uid()
        save(second, path.with_name(f"e2-{path.name}"))
    skipped: dict[str, str] = {}
    find_studies(root, "auto", skipped.__setitem__)
    assert all("4-D" not in why for why in skipped.values())


def radiograph(path: Path, patient: str, part: str = "SKULL", seed: int = 0) -> Path:
    """A CR image of 300 rows and 260 columns."""
    (dataset,) = slices(1)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.Modality, dataset.PatientID, dataset.BodyPartExamined = "CR", patient, part
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = 300, 260
    dataset.ImagerPixelSpacing = [0.1, 0.1]
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)
    dataset.PixelData = np.random.default_rng(seed).integers(0, 4000, (300, 260)).astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(dataset, path)


def test_radiographs_are_cephalograms_unless_they_say_otherwise(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    root = tmp_path / "export"
    path = radiograph(root / "a.dcm", "D-4", seed=1)
    radiograph(root / "b.dcm", "D-4", seed=2)
    radiograph(root / "hand.dcm", "D-5", "HAND", seed=3)
    done = run_import(server, root)
    assert [study["task"] for study in done.report["studies"]] == ["cephalometry"] * 2
    assert len({study["patient"] for study in done.report["studies"]}) == 1
    assert "hand" in done.skipped["hand.dcm"]
    case = client.get(f"/v1/cases/{done.studies['a.dcm']['case']}").json()
    source = client.get(f"/v1/cases/{case['id']}/source").json()["source"]
    assert source["pixel_size"]["ceph"]["mm"] == [0.1, 0.1]
    sent = as_read(client.get(f"/v1/volumes/{case['volumes']['ceph']}").content, tmp_path)
    original = SimpleITK.ReadImage(str(path))
    assert np.array_equal(SimpleITK.GetArrayFromImage(sent), SimpleITK.GetArrayFromImage(original))
    np.testing.assert_allclose(sent.GetSpacing()[:2], original.GetSpacing()[:2])
