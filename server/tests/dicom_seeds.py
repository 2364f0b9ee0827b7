"""DICOM files with an identifier of its own in every attribute of the dictionary that can hold text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498."
MR = "1.2.840.10008.5.1.4.1.1.4"
STRUCTURE = {0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080060, 0x00280301, 0x00280004, 0x00020010}
"""Without whose right values the object would be refused or unreadable."""

CHARACTER_SETS = {
    "ISO_IR 100": "Müller-Ångström^Jörg",
    "ISO_IR 192": "Ωμέγα^Дмитрий^山田",
    "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎",
    "GB18030": "王^小东",
    "ISO_IR 144": "Люкceмбypг^Анна",
}
_TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "PN", "UR", "AE", "CS", "AS", "DS", "IS", "OB", "OW", "UN"}


@dataclass
class Seeded:
    """Files and what was hidden in them.

    Attributes:
        seeds: text → the attribute it was hidden in.
        attributes: how many attributes hold one.
    """

    paths: list[Path] = field(default_factory=list)
    seeds: dict[str, str] = field(default_factory=dict)
    attributes: set[int] = field(default_factory=set)

    def seed(self, tag: int, vr: str, where: str) -> Any:
        """A value of that VR that names somebody and is found nowhere else."""
        text = f"ZQ{len(self.seeds):06}X"
        self.seeds[text] = f"{where} {tag:08X} {vr}"
        self.attributes.add(tag)
        return text.encode() + b"\0" if vr in ("OB", "OW", "UN") else text


def write_seeded_files(folder: Path, slices: int = 3) -> Seeded:
    """A file a character set and slice: at the root, in a sequence, in a sequence in it, and in private attributes."""
    seeded = Seeded()
    folder.mkdir(parents=True)
    with config.disable_value_validation():
        for number, (charset, name) in enumerate(CHARACTER_SETS.items()):
            for one in range(slices):
                path = folder / f"IM{number}{one}"
                _file(seeded, charset, name, number, one).save_as(path, enforce_file_format=True)
                seeded.paths.append(path)
    raw = b"".join(path.read_bytes() for path in seeded.paths)  # what _structure wrote over is no seed
    seeded.seeds = {seed: where for seed, where in seeded.seeds.items() if seed.encode() in raw}
    return seeded


def _file(seeded: Seeded, charset: str, name: str, study: int, number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR
    meta.MediaStorageSOPInstanceUID = f"{ROOT}{study}.3.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if study % 2 else ImplicitVRLittleEndian
    meta.ImplementationVersionName = "ZQVERSION"
    meta.SourceApplicationEntityTitle = "ZQSOURCE"
    seeded.seeds.update(
        {"ZQVERSION": "file meta", "ZQSOURCE": "file meta", "ZQPREAMBLE": "preamble", "ZQBEYOND": "pixels"}
    )
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"ZQPREAMBLE".ljust(128, b"\0"))
    item, inner = Dataset(), Dataset()
    if number == 0:  # the others of a series are there for the references
        every_attribute(dataset, seeded, "root")
        if study < 2:
            every_attribute(inner, seeded, "in a sequence in a sequence")
            every_attribute(item, seeded, "in a sequence")
    item.PurposeOfReferenceCodeSequence = Sequence([inner])
    dataset.MRImagingModifierSequence = Sequence([item])
    block = dataset.private_block(0x0029, "ZQPRIVATE", create=True)
    block.add_new(0x10, "LO", seeded.seed(0x00291010, "LO", "private"))
    block.add_new(0x11, "UN", seeded.seed(0x00291011, "UN", "private"))
    _structure(dataset, charset, name, study, number)
    return dataset


def every_attribute(dataset: Dataset, seeded: Seeded, where: str) -> None:
    """An identifier in each attribute of the dictionary whose VR can hold text, and in overlays and curves."""
    for tag, (vrs, *_) in DicomDictionary.items():
        vr = vrs.split(" or ")[0]
        if tag in STRUCTURE or vr not in _TEXT or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFE, 0xFFFC, 0x7FE0):
            continue
        if (tag & 0xFFFF) == 0:
            continue
        seed = seeded.seed(tag, vr, where)
        if vr in ("DS", "IS"):  # pydicom itself writes numbers only
            dataset[Tag(tag)] = RawDataElement(Tag(tag), vr, 10, f"{seed} ".encode(), 0, False, True)
        else:
            dataset.add(DataElement(Tag(tag), vr, seed))
    for group in (0x6000, 0x6004, 0x5000):
        dataset.add(DataElement(Tag(group, 0x3000), "OB", seeded.seed(group << 16 | 0x3000, "OB", where)))
        dataset.add(DataElement(Tag(group, 0x0022), "LO", seeded.seed(group << 16 | 0x0022, "LO", where)))


def _structure(dataset: Dataset, charset: str, name: str, study: int, number: int) -> None:
    """What makes it an MR image of a series, with dates, references and pixels."""
    for group in (0x6000, 0x6004):
        dataset.add(DataElement(Tag(group, 0x0102), "US", 0))
    dataset.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR, dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}{study}.1", f"{ROOT}{study}.2"
    dataset.FrameOfReferenceUID = f"{ROOT}{study}.4"
    dataset.Modality, dataset.BurnedInAnnotation, dataset.PhotometricInterpretation = "MR", "NO", "MONOCHROME2"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "ZQIMAGETYPE"]
    dataset.PatientName, dataset.PatientID = name, f"ZQ-4711{study:03}"
    dataset.IssuerOfPatientID = "ZQ-ISSUER"
    dataset.PatientBirthDate, dataset.PatientSex = "19510403", "F"
    dataset.StudyDate, dataset.StudyTime = "20240229", "131211.123"
    dataset.SeriesDate, dataset.SeriesTime = "20240302", "000001"
    dataset.AcquisitionDateTime = "20240302000001.5+0100"
    dataset.SeriesDescription = f"T1 MPRAGE sag {name}"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = MR, f"{ROOT}{study}.3.{(number + 1) % 3}"
    dataset.ReferencedImageSequence = Sequence([reference])
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number * 2.0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.InstanceNumber = [1.5, 1.25], 2, number + 1
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated = 8, 10, 1, 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation, dataset.NumberOfFrames = 16, 15, 0, 1
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10) + 100 * number
    dataset.add(DataElement(Tag(0x7FE00010), "OW", pixels.tobytes() + b"ZQBEYOND"))
