"""The PS3.15 engine on files with an identifier in every attribute that can hold text, judged in several ways."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from dicom_seeds import CHARACTER_SETS, ROOT, Seeded, write_seeded_files
from mahtai.deidentification.folder import FolderError, deidentify_folder
from mahtai.deidentification.leaks import Scan, identifiers_in
from mahtai.deidentification.profile import Option, action_for, table
from mahtai.deidentification.report import Report

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom, of the values that are hidden here

CLEANING = frozenset({Option.DATES, Option.DESCRIPTORS})


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    return write_seeded_files(tmp_path_factory.mktemp("seeded") / "in")


@pytest.fixture(scope="module", params=[frozenset(), CLEANING], ids=["basic", "dates and descriptors"])
def made(
    request: pytest.FixtureRequest, seeded: Seeded, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Report]:
    target = tmp_path_factory.mktemp("made") / "out"
    return target, deidentify_folder(seeded.paths[0].parent, target, KEY, request.param)


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def by_uid(paths: list[Path]) -> dict[str, Dataset]:
    return {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, paths)}


def test_the_seeds_are_in_every_attribute_that_can_hold_text_and_the_scan_finds_them(seeded: Seeded) -> None:
    assert len(seeded.attributes) > 2000 and len(seeded.seeds) > 20_000
    scan = Scan(identifiers_in(seeded.paths))
    leaks = scan.of_file(seeded.paths[0], "ZQ-4711000.dcm")
    assert {leak.place for leak in leaks} >= {"bytes", "PatientName", "PatientID", "file name", "StudyDate"}


def test_no_seeded_identifier_is_left_by_our_scan_and_in_the_raw_bytes(
    seeded: Seeded, made: tuple[Path, Report]
) -> None:
    target, report = made
    assert (report.made, report.refused) == (len(seeded.paths), {})
    scan = Scan([*identifiers_in(seeded.paths), *seeded.seeds])
    files = [path for path in target.rglob("*") if path.is_file()]
    leaks = [leak for path in files for leak in scan.of_file(path, str(path.relative_to(target)))]
    if "MODIFIED" in str(pydicom.dcmread(images(target)[0]).get("LongitudinalTemporalInformationModified")):
        leaks = [leak for leak in leaks if not re.fullmatch(r"\d{6}", leak.identifier)]  # times of day stay
    assert leaks == []
    raw = b"".join(path.read_bytes() for path in files) + "".join(map(str, files)).encode()
    assert re.findall(rb"ZQ\w*", raw, re.IGNORECASE) == []
    print(f"\n{len(files) - 2} files, {len(seeded.seeds)} seeds in {len(seeded.attributes)} attributes, 0 left")


def test_no_name_is_left_in_any_character_set(made: tuple[Path, Report]) -> None:
    raw = b"".join(path.read_bytes() for path in images(made[0])).lower()
    parts = {part for name in CHARACTER_SETS.values() for part in re.split(r"[\^=]", name)}
    for part in parts:
        for encoding in ("utf-8", "latin-1", "utf-16-le", "iso2022_jp", "gb18030", "iso8859_5"):
            assert part.encode(encoding, "ignore").lower() not in raw or len(part.encode(encoding, "ignore")) < 4


def test_other_tools_read_the_files_and_find_no_seed(made: tuple[Path, Report]) -> None:
    """GDCM, and DCMTK where it is installed."""
    for path in images(made[0]):
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.LoadPrivateTagsOn()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        told = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        assert told["0012|0062"].strip() == "YES" and len(told) > 30
        assert not [key for key, value in told.items() if "ZQ" in value.upper()]
        if dcmdump := shutil.which("dcmdump"):
            dumped = subprocess.run([dcmdump, "+L", "-q", path], capture_output=True, check=True)
            assert b"ZQ" not in dumped.stdout.upper() and b"PatientIdentityRemoved" in dumped.stdout


def test_references_resolve_and_uids_are_mapped_everywhere(seeded: Seeded, made: tuple[Path, Report]) -> None:
    there = by_uid(images(made[0]))
    for uid, dataset in there.items():
        assert uid.startswith("2.25.") and len(uid) <= 64
        assert dataset.file_meta.MediaStorageSOPInstanceUID == uid
        assert dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID in there
        for element in dataset.iterall():
            assert element.VR != "UI" or ROOT not in str(element.value)
    assert len({dataset.SeriesInstanceUID for dataset in there.values()}) == len(CHARACTER_SETS)
    assert len({dataset.PatientID for dataset in there.values()}) == len(CHARACTER_SETS)


def test_pixels_and_geometry_are_the_same_bit_for_bit(seeded: Seeded, made: tuple[Path, Report]) -> None:
    key = ("PatientID", "InstanceNumber")
    after = by_uid(images(made[0])).values()
    by_place = {tuple(map(float, one.ImagePositionPatient)): one for one in after}
    for path in seeded.paths[:3]:
        before = pydicom.dcmread(path)
        found = by_place[tuple(map(float, before.ImagePositionPatient))]
        assert np.array_equal(found.pixel_array, before.pixel_array), key
        for keyword in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns"):
            assert found[keyword].value == before[keyword].value
    reader = SimpleITK.ImageSeriesReader()
    folder = images(made[0])[0].parent
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert image.GetSize() == (10, 8, 3) and image.GetSpacing() == (1.25, 1.5, 2.0)


def test_what_was_done_is_said_in_the_object(made: tuple[Path, Report]) -> None:
    target, report = made
    dataset = pydicom.dcmread(images(target)[0])
    codes = {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}
    assert codes == {"113100", *(option.code for option in report.options)}
    assert dataset.PatientIdentityRemoved == "YES" and dataset.PatientName == dataset.PatientID != ""
    assert dataset.preamble == b"\0" * 128 and dataset.file_meta.ImplementationVersionName == "MAHTAI"
    assert dataset.SeriesDescription == "T1 MPRAGE sag" if Option.DESCRIPTORS in report.options else True
    written = json.loads((target / "deidentification-report-1.json").read_text("utf-8"))
    assert written["made"] == report.made and {one["keyword"] for one in written["attributes"]} >= {"PatientName"}


def test_dates_are_moved_by_the_same_days_and_intervals_stay(seeded: Seeded, tmp_path: Path) -> None:
    deidentify_folder(seeded.paths[0].parent, tmp_path / "out", KEY, frozenset({Option.DATES}))
    offsets = set()
    for dataset in by_uid(images(tmp_path / "out")).values():
        study, series = day(dataset.StudyDate), day(dataset.SeriesDate)
        assert (series - study).days == 2 and dataset.StudyTime == "131211.123"
        assert dataset.AcquisitionDateTime == f"{dataset.SeriesDate}000001.5+0100"
        assert not dataset.PatientBirthDate
        offsets.add((dataset.PatientID, (study - date(2024, 2, 29)).days))
    assert len(offsets) == len(CHARACTER_SETS) and all(-3651 < days < -365 for _, days in offsets)


def test_one_key_gives_one_result_and_another_key_another_one(seeded: Seeded, tmp_path: Path) -> None:
    folder = seeded.paths[0].parent
    for name, key in (("a", KEY), ("b", KEY), ("c", OTHER_KEY)):
        deidentify_folder(folder, tmp_path / name, key)
    a, b, c = ({path.name: path.read_bytes() for path in images(tmp_path / name)} for name in "abc")
    assert a == b and not set(a) & set(c)
    again = deidentify_folder(folder, tmp_path / "a", KEY)
    assert (again.made, again.there) == (0, len(seeded.paths))


def test_nothing_is_written_over_and_folders_may_not_lie_in_each_other(seeded: Seeded, tmp_path: Path) -> None:
    folder = seeded.paths[0].parent
    deidentify_folder(folder, tmp_path / "out", KEY)
    first = images(tmp_path / "out")[0]
    first.write_bytes(b"another")
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    assert first.read_bytes() == b"another" and len(report.refused) == 1
    with pytest.raises(FolderError):
        deidentify_folder(folder, folder / "out", KEY)


def test_an_attribute_that_the_table_lacks_is_caught(seeded: Seeded, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(seeded.paths[0])
    lacking = [
        element.tag
        for element in dataset
        if element.VR in ("LO", "LT", "UT") and action_for(element.tag, CLEANING) is None
    ]
    assert len(lacking) > 100 and len(table()) > 600
    (tmp_path / "in").mkdir()
    shutil.copy(seeded.paths[0], tmp_path / "in")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, CLEANING)
    after = pydicom.dcmread(images(tmp_path / "out")[0])
    assert all("ZQ" not in str(after[tag].value) for tag in lacking if tag in after)


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))
