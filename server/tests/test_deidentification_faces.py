"""Defacing: the plane clears the brain on any grid; the face of a real head is gone, as NIfTI and as DICOM."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicom_seeds import MR, ROOT
from mahtai.cli import main
from mahtai.deidentification.defacing import MARGIN_MM, FaceNotFound, face_plane
from mahtai.deidentification.dicom_faces import may_show_a_face, says_head
from mahtai.deidentification.folder import deidentify_folder
from mahtai.deidentification.refusal import why_refused
from mahtai.volumes.formats import read_volume
from mahtai.volumes.volume import Volume
from shared_data import shared_data

__all__ = ["shared_data"]


def tilted(degrees: float, spacing: tuple[float, float, float], flips: tuple[int, int, int]) -> np.ndarray:
    """ijk → RAS of an oblique grid of 120 mm and more round the origin, some axes turned round."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    other = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ other * np.array(spacing) * flips
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array((60, 60, 40)) / 2)
    return matrix


def brain_on(matrix: np.ndarray) -> np.ndarray:
    """An ellipsoid whose lower front is cut away, as under a frontal lobe."""
    ijk = np.indices((60, 60, 40)).reshape(3, -1)
    right, anterior, superior = matrix[:3, :3] @ ijk + matrix[:3, 3:]
    inside = (right / 50) ** 2 + (anterior / 60) ** 2 + (superior / 45) ** 2 < 1
    return (inside & ~((anterior > 20) & (superior < -5))).reshape(60, 60, 40)


@pytest.mark.parametrize("degrees", [0.0, 17.0])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)])
def test_the_plane_clears_the_brain_by_its_margin_on_any_grid(degrees: float, flips: tuple[int, int, int]) -> None:
    matrix = tilted(degrees, (2.5, 2.5, 3.0), flips)
    brain = brain_on(matrix)
    plane = face_plane(brain, matrix)
    face = plane.of_grid(brain.shape, matrix)
    assert not (face & brain).any()
    points = np.argwhere(brain) @ matrix[:3, :3].T + matrix[:3, 3]
    assert plane.offset - (points @ plane.normal).max() > MARGIN_MM
    right, anterior, superior = plane.normal
    assert right == 0 and anterior > 0 > superior
    assert plane.holds(np.array([0.0, 80.0, -70.0]))  # where mouth and nose are
    assert not plane.holds(np.array([[0.0, -60.0, 0.0], [0.0, 0.0, 60.0]])).any()


def test_without_a_brain_nothing_is_guessed() -> None:
    with pytest.raises(FaceNotFound):
        face_plane(np.zeros((4, 4, 4), bool), np.eye(4))


def test_the_face_of_a_real_head_is_gone_and_its_brain_is_untouched(shared_data: Path, tmp_path: Path) -> None:
    from mahtai.inference.brain_mask import brain_mask

    source, target = shared_data / "tcga_fg_6692" / "t1.nii.gz", tmp_path / "out.nii.gz"
    done = CliRunner().invoke(main, ["deface", str(source), str(target)])
    assert done.exit_code == 0, done.output
    before, after = read_volume(source), read_volume(target)
    np.testing.assert_array_equal(before.geometry.ijk_to_ras, after.geometry.ijk_to_ras)
    brain = brain_mask(before).array
    changed = before.array != after.array
    assert changed.any() and not (changed & brain).any()
    np.testing.assert_array_equal(after.array[changed], 0)
    plane = face_plane(brain, before.geometry.ijk_to_ras)
    assert not after.array[plane.of_grid(before.array.shape, before.geometry.ijk_to_ras)].any()
    header = nibabel.load(target).header
    assert not bytes(header["descrip"]).strip(b"\0") and not header.extensions
    again = CliRunner().invoke(main, ["deface", str(source), str(target)])
    assert again.exit_code == 1 and "there already" in again.output
    lost = nibabel.load(source)
    lost.set_sform(None, 0)
    lost.set_qform(None, 0)
    nibabel.save(lost, tmp_path / "lost.nii.gz")
    refused = CliRunner().invoke(main, ["deface", str(tmp_path / "lost.nii.gz"), str(tmp_path / "none.nii.gz")])
    assert refused.exit_code == 1 and "how the head lies" in refused.output
    assert not (tmp_path / "none.nii.gz").exists()


def test_the_face_goes_out_of_a_dicom_series_and_another_series_of_the_same_frame(
    shared_data: Path, tmp_path: Path
) -> None:
    volume = read_volume(shared_data / "tcga_fg_6692" / "t1.nii.gz")
    for number in (1, 2):
        write_series(tmp_path / "in", volume, number, slices=None if number == 1 else 3)
    write_series(tmp_path / "in", volume, 3, slices=3, frame="9")  # nobody knows where its face is
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", b"k" * 32, faces=True)
    slices = volume.array.shape[2]
    assert (report.made, report.defaced, len(report.refused)) == (slices + 3, slices + 3, 3)
    plane = face_plane_of(volume)
    for path in (tmp_path / "out").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        k = int(dataset.InstanceNumber) - 1
        face = plane[:, :, k].T
        before = volume.array[:, :, k].T.astype(np.int16)
        assert not dataset.pixel_array[face].any()
        np.testing.assert_array_equal(dataset.pixel_array[~face], before[~face])
        assert "113102" in {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}


def test_what_does_not_say_that_it_is_a_head_is_left_out_unless_the_user_says_so(
    shared_data: Path, tmp_path: Path
) -> None:
    volume = read_volume(shared_data / "tcga_fg_6692" / "t1.nii.gz")
    write_series(tmp_path / "in", volume, 1, slices=None, part="")
    slices = volume.array.shape[2]
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", b"k" * 32, faces=True)
    assert report.made == 0 and len(report.refused) == slices
    assert all("--heads" in reason for reason in report.refused.values())
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", b"k" * 32, faces=True, heads=True)
    assert report.defaced == report.made == slices


@pytest.mark.parametrize("said", ["MR Schädel nativ", "Neuro^Routine", "t1 brain", "IRM cérébrale"])
def test_a_description_says_head_as_well(said: str) -> None:
    scan = pydicom.Dataset()
    scan.StudyDescription = said
    assert says_head(scan)


def face_plane_of(volume: Volume) -> np.ndarray:
    from mahtai.deidentification.defacing import plane_of

    return plane_of(volume).of_grid(volume.array.shape, volume.geometry.ijk_to_ras)


def write_series(
    folder: Path, volume: Volume, series: int, slices: int | None, frame: str = "4", part: str = "HEAD"
) -> None:
    """The first slices of a volume as classic MR images."""
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for k in range(volume.array.shape[2] if slices is None else slices):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR, f"{ROOT}{series}.3.{k}"
        one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        one.SOPClassUID, one.SOPInstanceUID = MR, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = f"{ROOT}1", f"{ROOT}{series}.2"
        one.FrameOfReferenceUID, one.Modality, one.BodyPartExamined = f"{ROOT}{frame}", "MR", part
        one.PatientID, one.PatientName, one.InstanceNumber = "4711007", "Mustermann^Erika", k + 1
        one.ImagePositionPatient = [f"{value:.8g}" for value in lps[:3, 3] + k * lps[:3, 2]]
        one.ImageOrientationPatient = [f"{value:.8g}" for value in (*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1])]
        one.PixelSpacing, one.SliceThickness = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"], f"{spacing[2]:.8g}"
        one.Rows, one.Columns, one.SamplesPerPixel = volume.array.shape[1], volume.array.shape[0], 1
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.PixelData = np.ascontiguousarray(volume.array[:, :, k].T.astype("<i2")).tobytes()
        one.save_as(folder / f"{series}-{k}.dcm", enforce_file_format=True)


@pytest.mark.parametrize(
    "part", ["", "HEAD", "HEADANDNECK", "HEAD^FACE", "WHOLEBODY", "Kopf", "SCHAEDEL", "EYE", "CSPINE"]
)
def test_what_may_have_a_face_is_taken_for_it(part: str) -> None:
    scan = pydicom.Dataset()
    scan.Modality, scan.BodyPartExamined, scan.Rows = "MR", part, 1
    assert may_show_a_face(scan)


@pytest.mark.parametrize("part", ["KNEE", "Upper Arm", "CHEST", "L-SPINE"])
def test_what_has_none_is_not(part: str) -> None:
    scan = pydicom.Dataset()
    scan.Modality, scan.BodyPartExamined, scan.Rows = "MR", part, 1
    assert not may_show_a_face(scan)


def test_a_photograph_of_a_person_is_refused() -> None:
    photo = pydicom.Dataset()
    photo.SOPClassUID, photo.Modality = "1.2.840.10008.5.1.4.1.1.77.1.4", "XC"
    photo.BurnedInAnnotation = "NO"
    assert "picture of a person" in why_refused(photo, "1.2.840.10008.1.2.1")
