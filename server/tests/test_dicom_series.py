"""DICOM series: sorted by position, placed as SimpleITK places them, refused with the reason when not whole."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from grids import from_sitk
from mahtai.errors import MahtaiError
from mahtai.volumes import dicom_files, dicom_series
from mahtai.volumes.formats import describe, read_volume
from mahtai.volumes.volume import VolumeError

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.96, 0.28, 0, -0.28 * 0.8, 0.96 * 0.8, 0.6)
SERIES = generate_uid()


def slices(count: int = 9, orientation: tuple[float, ...] = AXIAL, distance: float = 2.5) -> list[Dataset]:
    """An MR series of 12 rows and 10 columns, 0.8 mm between rows and 0.7 mm between columns."""
    normal = np.cross(orientation[:3], orientation[3:])
    draw = np.random.default_rng(1)
    result = []
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.Modality = SERIES, SERIES, "MR"
        # instance numbers run against the positions, as some scanners' do
        dataset.InstanceNumber = count - number
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = [float(f"{v:.6f}") for v in np.array([-30, 20, 5]) + number * distance * normal]
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.7], 2.0
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 12, 10, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = draw.integers(0, 4000, (12, 10)).astype("<u2").tobytes()
        result.append(dataset)
    return result


def file_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def zipped(datasets: Iterable[Dataset], extra: dict[str, bytes] | None = None) -> bytes:
    """A zip in which neither names nor order say anything."""
    files = [(f"IM/{generate_uid()[-12:]}", file_bytes(dataset)) for dataset in datasets]
    random.Random(5).shuffle(files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*files, *(extra or {}).items()]:
            archive.writestr(name, content)
    return stream.getvalue()


def read_by_simpleitk(folder: Path, datasets: Iterable[Dataset]) -> tuple[np.ndarray, np.ndarray]:
    for number, dataset in enumerate(datasets):
        (folder / f"{number}.dcm").write_bytes(file_bytes(dataset))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return from_sitk(reader.Execute())


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_a_series_is_read_as_simpleitk_reads_it(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    datasets = slices(orientation=orientation)
    expected, affine = read_by_simpleitk(tmp_path, datasets)
    data = zipped(datasets)
    volume = read_volume(data)
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, affine, atol=1e-5)
    assert volume.array.dtype == np.uint16
    info = describe(data)
    assert (info.format, info.dtype) == ("dicom", "uint16")
    assert info.geometry.same_grid(volume.geometry)


def test_files_that_are_no_images_are_passed_over() -> None:
    extra = {"DICOMDIR": b"\0" * 200, "__MACOSX/._IM1": b"x" * 300, "readme.txt": b"exported"}
    assert read_volume(zipped(slices(), extra)).array.shape == (10, 12, 9)


def test_rescaling_differs_by_slice_and_is_applied_to_each() -> None:
    datasets = slices(3)
    for number, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + number, -10
    volume = read_volume(zipped(datasets))
    assert volume.array.dtype == np.float32
    for number, dataset in enumerate(datasets):
        np.testing.assert_allclose(volume.array[:, :, number].T, dataset.pixel_array * (0.5 + number) - 10)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"])
def test_losslessly_compressed_pixels_are_read(tmp_path: Path, syntax: str) -> None:
    datasets = slices()
    plain = read_volume(zipped(datasets)).array
    for dataset in datasets:
        compress(dataset, syntax, tmp_path)
    np.testing.assert_array_equal(read_volume(zipped(datasets)).array, plain)


def compress(dataset: Dataset, syntax: str, folder: Path) -> None:
    """RLE by pydicom; JPEG and JPEG 2000 by GDCM, from which only the packed pixels are taken."""
    if syntax == "1.2.840.10008.1.2.5":
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        return
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(file_bytes(dataset))
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor("JPEG2000" if syntax.endswith("90") else "JPEG")
    writer.SetUseCompression(True)
    writer.SetFileName(str(packed))
    writer.Execute(SimpleITK.ReadImage(str(plain)))
    result = pydicom.dcmread(packed)
    assert result.file_meta.TransferSyntaxUID == syntax
    dataset.PixelData = result.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.BitsStored, dataset.HighBit = result.BitsStored, result.HighBit
    dataset.file_meta.TransferSyntaxUID = result.file_meta.TransferSyntaxUID


def enhanced(order: list[int], shared_orientation: bool = True) -> Dataset:
    """One multi-frame file with the frames in the given order."""
    single = slices()
    positions = [dataset.ImagePositionPatient for dataset in single]
    result = deepcopy(single[0])
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(result, name)
    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = Sequence([part(PixelSpacing=[0.8, 0.7])])
    if shared_orientation:
        shared.PlaneOrientationSequence = Sequence([part(ImageOrientationPatient=list(AXIAL))])
    for number in order:
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([part(ImagePositionPatient=positions[number])])
        frame.PixelValueTransformationSequence = Sequence([part(RescaleSlope=2, RescaleIntercept=1)])
        if not shared_orientation:
            frame.PlaneOrientationSequence = Sequence([part(ImageOrientationPatient=list(AXIAL))])
        frames.append(frame)
    result.SharedFunctionalGroupsSequence = Sequence([shared])
    result.PerFrameFunctionalGroupsSequence = Sequence(frames)
    result.NumberOfFrames = len(order)
    result.PixelData = b"".join(single[number].PixelData for number in order)
    return result


def part(**values: object) -> Dataset:
    dataset = Dataset()
    for key, value in values.items():
        setattr(dataset, key, value)
    return dataset


@pytest.mark.parametrize("shared_orientation", [True, False])
def test_an_enhanced_file_is_read_like_the_series_it_replaces(shared_orientation: bool) -> None:
    dataset = enhanced([4, 0, 8, 2, 6, 1, 3, 7, 5], shared_orientation)
    expected = read_volume(zipped(slices()))
    for data in (file_bytes(dataset), zipped([dataset])):
        volume = read_volume(data)
        np.testing.assert_allclose(volume.array, expected.array * 2.0 + 1)
        assert volume.geometry.same_grid(expected.geometry)


def changed(number: int = 3, **values: object) -> list[Dataset]:
    datasets = slices()
    for key, value in values.items():
        if value is None:
            delattr(datasets[number], key)
        else:
            setattr(datasets[number], key, value)
    return datasets


def tilted() -> list[Dataset]:
    """As a gantry tilt leaves them: every slice is pushed along the table against the last one."""
    datasets = slices()
    for number, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] += 0.4 * number
    return datasets


def report() -> Dataset:
    dataset = changed(0, PixelData=None, Rows=None, Columns=None)[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    return dataset


def photograph() -> Dataset:
    dataset = changed(0, ImagePositionPatient=None, SamplesPerPixel=3)[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    return dataset


BAD_SERIES = {
    "two series": (lambda: zipped(changed(SeriesInstanceUID=generate_uid())), "9 images of 2 DICOM series"),
    "a slice missing": (lambda: zipped(slices()[:4] + slices()[5:]), "2.50 mm apart as a rule, 5.00 mm at one place"),
    "a time series": (lambda: zipped(slices() + slices()), "same place"),
    "a localizer": (lambda: zipped(changed(ImageOrientationPatient=list(SAGITTAL))), "different directions"),
    "slices of two sizes": (lambda: zipped(changed(Rows=10, PixelData=bytes(200))), "differ in size"),
    "one image": (lambda: zipped(slices(1)), "one DICOM image only"),
    "one image, not zipped": (lambda: file_bytes(slices(1)[0]), "one DICOM image only"),
    "a truncated header": (lambda: file_bytes(slices(1)[0])[:170], "DICOM file is damaged|holds no image, or is cut"),
    "a truncated data set": (lambda: file_bytes(slices(1)[0])[:700], "its pixels are missing"),
    "a report": (lambda: file_bytes(report()), "^The DICOM file holds no image"),
    "a photograph": (lambda: file_bytes(photograph()), "one DICOM image only .VL Photographic Image Storage."),
    "a screenshot without position": (lambda: zipped(changed(ImagePositionPatient=None)), "does not say where"),
    "a position of two numbers": (lambda: zipped(changed(ImagePositionPatient=[1, 2])), "does not say where"),
    "colour": (lambda: zipped(changed(SamplesPerPixel=3)), "in colour"),
    "frames without positions": (lambda: zipped(changed(NumberOfFrames=2)), "frames without positions"),
    "no DICOM at all": (lambda: zipped([], {"a.txt": b"hello"}), "no DICOM images"),
    "a damaged file": (lambda: zipped(slices(), {"broken": b"\0" * 128 + b"DICM" + b"\xff" * 50}), "damaged"),
    "an image without pixels": (lambda: zipped(changed(PixelData=None)), "its pixels are missing"),
    "a damaged zip": (lambda: zipped(slices())[:-400], "zip is damaged"),
    "tilted": (lambda: zipped(tilted()), "sheared"),
}


@pytest.mark.parametrize("name", BAD_SERIES)
def test_what_is_not_one_whole_series_is_refused_with_reason_and_hint(name: str) -> None:
    make, said = BAD_SERIES[name]
    for call in (read_volume, describe):
        with pytest.raises(MahtaiError, match=said) as caught:
            call(make())
        assert caught.value.status == 422
        assert caught.value.hint
        if "zip" in caught.value.reason:
            assert make()[:2] == b"PK"


@pytest.mark.parametrize("name", ["one image, not zipped", "a photograph", "a report"])
def test_a_single_file_that_serves_no_task_says_what_each_of_them_needs(name: str) -> None:
    with pytest.raises(VolumeError) as caught:
        read_volume(BAD_SERIES[name][0]())
    assert "brain study send the whole series as a zip" in caught.value.hint
    assert "cephalogram choose the radiograph itself" in caught.value.hint


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("little_endian", [True, False])
def test_a_series_without_preambles_is_read_as_one_with_them(implicit: bool, little_endian: bool) -> None:
    if implicit and not little_endian:
        pytest.skip("DICOM has no such encoding")
    expected = read_volume(zipped(slices())).array
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, dataset in enumerate(slices()):
            del dataset.file_meta
            if not little_endian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
                dataset["PixelData"].VR = "OW"
            bare = io.BytesIO()
            pydicom.dcmwrite(bare, dataset, implicit_vr=implicit, little_endian=little_endian)
            archive.writestr(str(number), bare.getvalue())
        archive.writestr("no DICOM", b"\x08\0" + b"other" * 50)
    np.testing.assert_array_equal(read_volume(stream.getvalue()).array, expected)


def test_nothing_that_names_the_patient_is_read_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    datasets = changed(PatientName="Mustermann^Erika", PatientID="4711", PatientBirthDate="19701332")
    data = zipped(datasets)
    caplog.clear()
    with caplog.at_level("DEBUG"):
        series = dicom_series.read_series(dicom_files.read_datasets(data), 10**6)
        series.read()
    assert "Mustermann" not in caplog.text + repr(series)
    assert "19701332" not in caplog.text + repr(series)


def test_pixels_that_were_cut_off_are_refused() -> None:
    with pytest.raises(VolumeError, match="damaged or cut off"):
        read_volume(zipped(changed(PixelData=bytes(100))))


def test_a_compressed_file_of_rubbish_is_refused() -> None:
    datasets = slices()
    for dataset in datasets:
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no picture"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    with pytest.raises(VolumeError, match="compressed pixels"):
        read_volume(zipped(datasets))


def test_a_zip_bomb_does_not_unpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "MOST_BYTES", 1_000_000)
    for files in ({"bomb": bytes(50_000_000)}, {f"part {number}": bytes(300_000) for number in range(4)}):
        with pytest.raises(VolumeError, match="unpacks to more than any DICOM series"):
            read_volume(zipped([], files))


@pytest.mark.parametrize("head", ["as usual", "a long one", "no preamble"])
def test_a_deflated_file_is_refused_before_it_is_unpacked(head: str) -> None:
    bomb = slices(1)[0]
    bomb.PixelData = bytes(200 << 20)
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    if head == "a long one":  # so that the transfer syntax stands far behind
        bomb.file_meta.FileMetaInformationVersion = bytes(6000)
    content = file_bytes(bomb)[132 if head == "no preamble" else 0 :]
    assert len(content) < 1 << 20
    tracemalloc.start()
    with pytest.raises(VolumeError, match="deflated"):
        read_volume(content)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_zip_that_lists_one_file_a_million_times_is_refused_before_the_list_is_read() -> None:
    whole = zipped([], {"a": b"a"})
    first, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    listed = whole[first:end] * 300_000
    big = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 300_000, 300_000, len(listed), first)
    place = struct.pack("<4sIQI", b"PK\x06\x07", 0, first + len(listed), 1)
    small = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    content = whole[:first] + listed + big + place + small
    tracemalloc.start()
    with pytest.raises(VolumeError, match="holds 300,000 files"):
        read_volume(content)
    assert tracemalloc.get_traced_memory()[1] < len(content) + (10 << 20)
    tracemalloc.stop()


def test_a_zip_of_more_files_than_a_series_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "MOST_FILES", 5)
    with pytest.raises(VolumeError, match="holds 9 files"):
        read_volume(zipped(slices()))


def test_a_series_larger_than_allowed_is_refused() -> None:
    with pytest.raises(VolumeError, match="at most 100"):
        read_volume(zipped(slices()), max_voxels=100)


def test_implicit_vr_is_read_as_explicit_is() -> None:
    expected = read_volume(zipped(slices())).array
    datasets = slices()
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_array_equal(read_volume(zipped(datasets)).array, expected)


def test_a_real_series_is_read_as_simpleitk_reads_it(shared_data: Path) -> None:
    folder = shared_data / "dicom_t1w"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file():
                archive.write(path, path.name)
    volume = read_volume(stream.getvalue())
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    expected, affine = from_sitk(reader.Execute())
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, affine, atol=1e-4)
