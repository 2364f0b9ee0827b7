"""The command on real and odd files: what is refused and why, keys, the mapping, compressed frames, the check."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from pydicom.data import get_testdata_file

from mahtai.cli import main
from mahtai.deidentification.folder import deidentify_folder
from shared_data import shared_data

__all__ = ["shared_data"]

KEY = b"k" * 32


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["deidentify", *map(str, arguments)])


def one_of(tmp_path: Path, name: str, **changes: object) -> Path:
    """A folder with one of pydicom's real files, some attributes changed."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    folder = tmp_path / "in"
    folder.mkdir()
    dataset.save_as(folder / "Mustermann.dcm")
    return folder


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("MR_small.dcm", {"BurnedInAnnotation": "YES"}, "burned into"),
        ("MR_small.dcm", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ("MR_small.dcm", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "encapsulated document"),
        ("MR_small.dcm", {"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "private kind"),
        ("CT_small.dcm", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen"),
        ("examples_rgb_color.dcm", {}, "US that does not say NO"),
        ("test-SR.dcm", {}, "structured report"),
        ("waveform_ecg.dcm", {}, "waveform"),
    ],
)
def test_what_cannot_be_made_safe_is_left_out_with_the_reason(
    tmp_path: Path, name: str, changes: dict[str, object], reason: str
) -> None:
    report = deidentify_folder(one_of(tmp_path, name, **changes), tmp_path / "out", KEY)
    assert report.made == 0 and reason in " ".join(report.refused.values())
    assert "Mustermann" not in (tmp_path / "out" / "deidentification-report-1.json").read_text("utf-8")
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_broken_files_and_other_files_are_not_copied(tmp_path: Path) -> None:
    folder = one_of(tmp_path, "MR_small.dcm")
    (folder / "notes.txt").write_text("Mustermann", "utf-8")
    (folder / "cut.dcm").write_bytes((folder / "Mustermann.dcm").read_bytes()[:900])
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    assert (report.files, report.made, report.not_dicom, len(report.refused)) == (3, 1, 1, 1)


def test_a_key_is_made_once_and_the_mapping_only_on_request(tmp_path: Path) -> None:
    folder, key, mapping = one_of(tmp_path, "MR_small.dcm", PatientID="4711007"), tmp_path / "key", tmp_path / "map.csv"
    first = run(folder, tmp_path / "a", "--key-file", key)
    assert first.exit_code == 0 and "1 of 1 files written" in first.output, first.output
    assert len(key.read_bytes()) == 32 and key.stat().st_mode & 0o077 == 0
    again = run(folder, tmp_path / "a", "--key-file", key, "--mapping", mapping)
    assert "1 were there already" in again.output and mapping.stat().st_mode & 0o077 == 0
    (made,) = (tmp_path / "a").rglob("*.dcm")
    (row,) = csv.DictReader(mapping.read_text("utf-8").splitlines())
    assert row["patient_id"] == "4711007" and row["pseudonym"] == pydicom.dcmread(made).PatientID
    key.write_bytes(b"short")
    refused = run(folder, tmp_path / "b", "--key-file", key)
    assert refused.exit_code == 1 and "32 bytes" in refused.output


def test_where_the_mapping_goes_is_looked_at_before_anything_is_done(tmp_path: Path) -> None:
    folder, out = one_of(tmp_path, "MR_small.dcm"), tmp_path / "out"
    (tmp_path / "there.csv").write_text("kept", "utf-8")
    for place, why in (
        (tmp_path / "there.csv", "is there already"),
        (tmp_path / "none" / "map.csv", "There is no folder"),
        (out / "map.csv", "beside the result"),
    ):
        done = run(folder, out, "--key-file", tmp_path / "key", "--mapping", place)
        assert done.exit_code == 1 and why in done.output, done.output
        assert not out.exists() and not (tmp_path / "key").exists()
    assert (tmp_path / "there.csv").read_text("utf-8") == "kept"


def test_nothing_written_is_no_success(tmp_path: Path) -> None:
    done = run(
        one_of(tmp_path, "MR_small.dcm", BurnedInAnnotation="YES"), tmp_path / "out", "--key-file", tmp_path / "k"
    )
    assert done.exit_code == 1 and "nothing was written" in done.output
    (tmp_path / "file").write_text("mine", "utf-8")
    done = run(tmp_path / "in", tmp_path / "file", "--key-file", tmp_path / "k")
    assert done.exit_code == 1 and "is a file" in done.output
    assert (tmp_path / "file").read_text("utf-8") == "mine"


@pytest.mark.skipif(os.name != "posix", reason="links need a right of their own on Windows")
def test_links_and_folders_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = one_of(tmp_path, "MR_small.dcm")
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "link.dcm").symlink_to(folder / "Mustermann.dcm")
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:  # whoever runs the tests may be allowed to read everything
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    done = run(folder, tmp_path / "out", "--key-file", tmp_path / "key")
    assert done.exit_code == 0 and "1 of 4 files written" in done.output, done.output
    assert "3 cannot be made safe" in done.output and done.output.count("it is a link") == 2
    assert "cannot be read (Permission denied)" in done.output


def test_a_disk_without_hard_links_takes_the_files_and_nothing_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    folder = one_of(tmp_path, "MR_small.dcm")
    assert deidentify_folder(folder, tmp_path / "out", KEY).made == 1
    (made,) = (tmp_path / "out").rglob("*.dcm")
    before = made.read_bytes()
    assert deidentify_folder(folder, tmp_path / "out", KEY).there == 1
    made.write_bytes(b"another")
    assert "was written before" in str(deidentify_folder(folder, tmp_path / "out", KEY).refused)
    assert made.read_bytes() == b"another" != before
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_study_of_which_part_says_who_gave_the_number_stays_one_persons(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("MR_small.dcm")))
    (tmp_path / "in").mkdir()
    for number, issuer in enumerate(("", "KLINIKUM", "")):
        dataset.PatientID, dataset.IssuerOfPatientID = "4711007", issuer
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.save_as(tmp_path / "in" / f"{number}.dcm")
    dataset.StudyInstanceUID, dataset.IssuerOfPatientID = "1.2.4", "ANOTHER"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.4.1"
    dataset.save_as(tmp_path / "in" / "other.dcm")
    assert (
        run(tmp_path / "in", tmp_path / "out", "--key-file", tmp_path / "k", "--mapping", tmp_path / "m").exit_code == 0
    )
    people = {(one.StudyInstanceUID, one.PatientID) for one in map(pydicom.dcmread, (tmp_path / "out").rglob("*.dcm"))}
    assert len(people) == 2 and len({study for study, _ in people}) == 2 and len({name for _, name in people}) == 2
    assert {row["pseudonym"] for row in csv.DictReader((tmp_path / "m").open())} == {name for _, name in people}


def test_the_check_finds_a_leak_and_says_none_where_there_is_none(tmp_path: Path) -> None:
    folder = one_of(tmp_path, "MR_small.dcm", PatientName="Müstermann^Erika", PatientBirthDate="19510403")
    run(folder, tmp_path / "out", "--key-file", tmp_path / "key")
    assert run(folder, tmp_path / "out", "--check").exit_code == 0
    assert run(folder, tmp_path / "not there", "--check").exit_code == 1  # a typing mistake is no clearance
    for text in ("MUSTERMANN", "Erika M", "geb. 03.04.1951", "1951-04-03"):
        (tmp_path / "out" / "notes.txt").write_text(text, "utf-8")
        assert run(folder, tmp_path / "out", "--check").exit_code == 1, text


def test_a_real_series_keeps_its_voxels(shared_data: Path, tmp_path: Path) -> None:
    report = deidentify_folder(shared_data / "dicom_t1w", tmp_path / "out", KEY)
    assert report.made == report.files == 16
    before = {one.InstanceNumber: one for one in map(pydicom.dcmread, (shared_data / "dicom_t1w").iterdir())}
    for path in (tmp_path / "out").rglob("*.dcm"):
        after = pydicom.dcmread(path)
        same = before[after.InstanceNumber]
        assert np.array_equal(after.pixel_array, same.pixel_array)
        assert after.ImagePositionPatient == same.ImagePositionPatient
        assert after.SOPInstanceUID != same.SOPInstanceUID


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "MR_small.dcm", "MR_small_RLE.dcm"])
def test_a_data_set_that_does_not_say_how_it_is_written_keeps_its_pixels_or_is_refused(
    tmp_path: Path, name: str
) -> None:
    whole = Path(str(get_testdata_file(name))).read_bytes()
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    start = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bare.dcm").write_bytes(whole[start:])
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    if "RLE" in name:
        assert report.made == 0 and "compressed" in " ".join(report.refused.values())
        return
    (made,) = (tmp_path / "out").rglob("*.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(made).pixel_array, dataset.pixel_array)
