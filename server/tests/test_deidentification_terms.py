"""What says how an image is to be read stays, also where the patient's own name or number is written the same."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mahtai.deidentification.folder import deidentify_folder
from mahtai.deidentification.profile import Option
from mahtai.deidentification.report import Report
from mahtai.deidentification.texts import code_string_kept, words_kept

KEY = b"k" * 32


def made_of(tmp_path: Path, name: str = "MR_small.dcm", *options: Option, **changes: object) -> tuple[Dataset, Report]:
    """One of pydicom's real files with some attributes changed, de-identified; an empty data set if it was refused."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    (tmp_path / "in").mkdir()
    dataset.save_as(tmp_path / "in" / "one.dcm")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, frozenset(options))
    paths = list((tmp_path / "out").rglob("*.dcm"))
    return (pydicom.dcmread(paths[0]) if paths else Dataset()), report


def test_only_known_words_are_kept_and_never_the_patients_own() -> None:
    assert words_kept("T1 MPRAGE sag Mustermann 03.04.1951 #4711007") == "T1 MPRAGE sag"
    assert words_kept("T1 Brain", frozenset({"brain"})) == "T1"
    assert code_string_kept("MONOCHROME2") and code_string_kept("AX") and not code_string_kept("MUSTERMANN")
    assert not code_string_kept("AXIAL BRAIN", frozenset({"brain"}))


@pytest.mark.parametrize("text", ["EM51", "JD47", "T1 ÄJ47", "Müller", "M üller"])
def test_initials_with_a_year_and_parts_of_names_go(text: str) -> None:
    assert words_kept(text) in ("", "T1")
    assert words_kept(text, keyword="ConvolutionKernel") in ("", "T1")


def test_names_of_kernels_and_sequences_stay() -> None:
    assert words_kept("B40f", keyword="ConvolutionKernel") == "B40f"
    assert words_kept("Br40d", keyword="ConvolutionKernel") == "Br40d"
    assert words_kept("*tfl3d1_16") == "tfl3d1"
    assert words_kept("T1w FL3D b1000") == "T1w FL3D b1000"


def test_a_position_that_is_also_the_patients_number_stays(tmp_path: Path) -> None:
    changed = {"PatientID": "120", "ImagePositionPatient": [120, -3.5, 120], "KVP": "120", "SliceThickness": 120}
    after, _ = made_of(tmp_path, **changed)
    assert after.ImagePositionPatient == [120, -3.5, 120] and after.SliceThickness == 120 and after.KVP == 120
    assert after.PatientID != "120"


def test_a_long_number_that_may_be_the_patients_is_refused_aloud_or_goes_where_it_only_counts(tmp_path: Path) -> None:
    after, report = made_of(tmp_path, PatientID="300000", ActualFrameDuration=300000)
    assert "ActualFrameDuration" in str(report.refused) and not after
    assert "300000" not in str(report.refused)
    (tmp_path / "other").mkdir()
    after, _ = made_of(tmp_path / "other", PatientID="471100", SeriesNumber=471100, InstanceNumber=7)
    assert after.SeriesNumber is None and after.InstanceNumber == 7


@pytest.mark.parametrize("name", ["Full^Maria", "Ybr^Inverse", "Basic^Profile", "Annex^Rigid", "Head^Axial"])
def test_terms_of_the_standard_stay_whatever_the_patients_name(tmp_path: Path, name: str) -> None:
    after, report = made_of(
        tmp_path,
        PatientName=name,
        PatientID="SEG-001",
        BodyPartExamined="HEAD",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        PresentationLUTShape="INVERSE",
        PixelIntensityRelationship="LOG",
        LossyImageCompression="00",
    )
    assert report.made == 1 and after.Modality == "MR" and after.BodyPartExamined == "HEAD"
    assert after.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"] and after.PixelIntensityRelationship == "LOG"
    assert after.PresentationLUTShape == "INVERSE" and after.PhotometricInterpretation == "MONOCHROME2"
    assert after.DeidentificationMethodCodeSequence[0].CodeMeaning == "Basic Application Confidentiality Profile"


TERMS = """
SEG RTDOSE IVUS KO PLAN OPTENF YBR_FULL_422 TILED_FULL RIGID RELATIVE PROPCPS INVERSE LOG
PTV NON_RIGID MONOCHROME1 GATED T2_STAR_MAP FRACTIONAL LABELMAP HFDR CEPHALOSTAT ISO_15444_1
"""


@pytest.mark.parametrize("term", TERMS.split())
def test_defined_terms_are_known(term: str) -> None:
    assert code_string_kept(term, frozenset({term.lower()})) == term


def coded(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


@pytest.mark.parametrize(
    ("code", "stays"),
    [
        (("12738006", "SCT", "Brain"), True),
        (("T-A0100", "SRT", "Brain"), True),
        (("276650", "FMA", "Arcuate Fasciculus"), True),
        (("mm2/s", "UCUM", "mm2/s"), True),
        (("s", "UCUM", "s"), True),
        (("113076", "DCM", "Segmentation"), True),
        (("Maria", "UCUM", "Maria"), False),
        (("M41195", "UCUM", "mm"), False),
        (("47110", "FMA", "Mustermann"), False),
        (("147110", "DCM", "Mustermann"), False),
        (("T-4711A", "SRT", "Mustermann"), False),
        (("99", "99HOSPITAL", "Brain"), False),
    ],
)
def test_codes_stay_if_they_are_public(tmp_path: Path, code: tuple[str, str, str], stays: bool) -> None:
    after, _ = made_of(tmp_path, AnatomicRegionSequence=coded(*code))
    item = after.AnatomicRegionSequence[0]
    kept = (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
    assert kept == code if stays else not {code[0], code[2]} & set(kept)


def test_a_public_code_that_is_the_patients_number_goes(tmp_path: Path) -> None:
    after, report = made_of(tmp_path, PatientID="12738006", AnatomicRegionSequence=coded("12738006", "SCT", "Brain"))
    assert report.made == 1 and after.AnatomicRegionSequence[0].CodeValue == "REMOVED"


def test_the_meaning_of_a_public_code_stays_whatever_the_patients_name(tmp_path: Path) -> None:
    after, _ = made_of(tmp_path, PatientName="Brain^Ada", AnatomicRegionSequence=coded("12738006", "SCT", "Brain"))
    assert after.AnatomicRegionSequence[0].CodeMeaning == "Brain"


@pytest.mark.parametrize(("age", "said"), [("067Y", "067Y"), ("090Y", "090Y"), ("101Y", "090Y"), ("003M", "003M")])
def test_a_very_great_age_is_not_told(tmp_path: Path, age: str, said: str) -> None:
    after, _ = made_of(tmp_path, "MR_small.dcm", Option.PATIENT, PatientAge=age)
    assert after.PatientAge == said


def test_numbers_of_surfaces_and_spectra_stay(tmp_path: Path) -> None:
    after, _ = made_of(tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2", SpectroscopyData=b"\0\0\x80\x3f" * 8)
    assert after.SpectroscopyData == b"\0\0\x80\x3f" * 8
    triangles = Dataset()
    triangles.LongTrianglePointIndexList = b"\1\0\0\0\2\0\0\0\3\0\0\0"
    (tmp_path / "surface").mkdir()
    after, _ = made_of(
        tmp_path / "surface", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.5", SurfaceMeshPrimitivesSequence=[triangles]
    )
    assert after.SurfaceMeshPrimitivesSequence[0].LongTrianglePointIndexList == triangles.LongTrianglePointIndexList


def test_an_image_in_an_item_goes(tmp_path: Path) -> None:
    inner = Dataset()
    inner.Rows, inner.Columns, inner.BitsAllocated, inner.PixelData = 1, 2, 8, b"\1\2"
    after, _ = made_of(tmp_path, MRImagingModifierSequence=[inner])
    assert "PixelData" not in after.MRImagingModifierSequence[0] and "PixelData" in after
