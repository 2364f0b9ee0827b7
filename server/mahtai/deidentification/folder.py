"""A folder of DICOM files → a folder of de-identified ones, named by their mapped UIDs. Nothing is written over."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Set
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mahtai.deidentification.defacing import FacePlane
from mahtai.deidentification.dicom_faces import deface, may_show_a_face, planes_of
from mahtai.deidentification.engine import Deidentifier, marks
from mahtai.deidentification.identifiers import OWN, own_words
from mahtai.deidentification.keyed import Keyed
from mahtai.deidentification.leaks import IN_PIXELS, Scan
from mahtai.deidentification.people import issuers_in
from mahtai.deidentification.pixels import PIXELS
from mahtai.deidentification.profile import Option
from mahtai.deidentification.refusal import Refused
from mahtai.deidentification.report import NAME, Report
from mahtai.deidentification.texts import defined_terms, known_words, words_of
from mahtai.errors import MahtaiError
from mahtai.volumes.dicom_files import looks_like_dicom
from mahtai.volumes.store import full_disk_named

IMPLEMENTATION_UID = "2.25.229451600072090404564544894284998027179"
"""Of the program that writes the files; one for all its versions."""

Tell = Callable[[int, int, Path, str], None]
"""Called with the number of the file, of how many, its path, and why it was left out (else empty)."""


class FolderError(MahtaiError):
    """The folders cannot be used as they were given."""

    kind = "folders"
    title = "The folders cannot be used"
    status = 422


def deidentify_folder(
    source: Path,
    target: Path,
    key: bytes,
    options: Set[Option] = frozenset(),
    faces: bool = False,
    tell: Tell | None = None,
    heads: bool = False,
) -> Report:
    """De-identify every DICOM file below a folder; what cannot be made safe is left out with the reason.

    Args:
        source: a folder, or one file.
        target: made if it is not there; files in it stay as they are.
        faces: take the face out of scans of heads.
        tell: progress. A KeyboardInterrupt ends the run between two files; the report is written then too.
        heads: a brain may be looked for also in MR scans that do not say of what they are.

    Raises:
        FolderError: one folder lies in the other, or ``target`` is a file. OSError: ``target`` cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise FolderError(f"{target} is a file.", "Choose a folder for the output. Nothing was changed.")
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise FolderError(
            "One of the folders lies in the other.", "Choose an output folder elsewhere. Nothing was changed."
        )
    report = Report(options)

    def passed_over(path: Path, why: str) -> None:
        report.files += 1
        report.refused[_name_of(path)] = why
        if tell is not None:
            tell(0, 0, path, why)

    paths = files_below(source, passed_over)
    target.mkdir(parents=True, exist_ok=True)
    try:
        engine = Deidentifier(Keyed(key), options, report.done, issuers_in(paths))
        planes = planes_of(paths, heads) if faces else None
        for number, path in enumerate(paths):
            report.files += 1
            why = _one(path, target, engine, planes, report)
            if tell is not None:
                tell(number + 1, len(paths), path, why)
    except KeyboardInterrupt:
        report.interrupted = True
    report.write(target)
    return report


def files_below(folder: Path, passed_over: Callable[[Path, str], None] = lambda path, why: None) -> list[Path]:
    """All files in the order of their names; reports of former runs are none.

    Args:
        passed_over: called with links, which may lead anywhere, and with folders that cannot be read.
    """
    if folder.is_file():
        return [folder]
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        passed_over(Path(error.filename), f"the folder cannot be read ({error.strerror})")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        for path in (Path(place) / name for name in (*folders, *names)):
            if path.is_symlink():
                passed_over(path, "it is a link; give the folder that it leads to")
            elif path.is_file() and not path.name.startswith(NAME):
                found.append(path)
    return sorted(found)


def _name_of(path: Path) -> str:
    """For the report: names of files may name people."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _one(path: Path, target: Path, engine: Deidentifier, planes: Mapping[str, FacePlane] | None, report: Report) -> str:
    """Why a file was left out; empty if it is in ``target``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        report.refused[_name_of(path)] = "it cannot be read"
        return f"it cannot be read ({error.strerror})"
    if not looks_like_dicom(content):
        report.not_dicom += 1
        return "no DICOM file"
    try:
        place, made = _made(content, engine, planes, report)
        is_new = _put_down(target / place, made)
    except Refused as error:
        report.refused[hashlib.sha256(content).hexdigest()] = str(error)
        return str(error)
    report.made += is_new
    report.there += not is_new
    return ""


def _made(
    content: bytes, engine: Deidentifier, planes: Mapping[str, FacePlane] | None, report: Report
) -> tuple[Path, bytes]:
    """Where the new file goes and its bytes, looked through for what identifies the patient.

    Raises:
        Refused: it cannot be made safe.
    """
    try:
        dataset = pydicom.dcmread(BytesIO(content), force=True)
    except Exception as error:  # noqa: BLE001 -- pydicom raises whatever a damaged file leads to
        raise Refused("it is damaged") from error
    try:
        shows_face = may_show_a_face(dataset)
        syntax = _syntax(dataset)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        if planes is not None and shows_face:
            deface(dataset, dict(planes))
            syntax = str(dataset.file_meta.TransferSyntaxUID)
        result = engine.deidentified(dataset, syntax, planes is not None and shows_face)
        made = file_of(result, syntax)
        _check(dataset, made, result, engine.options)
        place = Path(str(result.StudyInstanceUID), str(result.SeriesInstanceUID), f"{result.SOPInstanceUID}.dcm")
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 -- likewise, when a value is read or written
        raise Refused(f"it is damaged or lacks what every object has ({type(error).__name__})") from error
    report.defaced += planes is not None and shows_face
    report.may_show_faces += planes is None and shows_face
    return place, made


def _syntax(dataset: FileDataset) -> str:
    """The transfer syntax; of a bare data set the one that it was read by.

    Raises:
        Refused: its pixels are compressed, and nothing says how.
    """
    named = dataset.file_meta.get("TransferSyntaxUID")
    if named:
        return str(named)
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise Refused("its pixels are compressed, and it does not say how")
    is_implicit, is_little_endian = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
    return str(ImplicitVRLittleEndian if is_implicit else explicit)


def file_of(dataset: Dataset, transfer_syntax: str) -> bytes:
    """A DICOM file with an empty preamble and a file meta group that names this program and no other."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "MAHTAI"
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    buffer = BytesIO()
    pydicom.dcmwrite(
        buffer,
        dataset,
        implicit_vr=meta.TransferSyntaxUID.is_implicit_VR,
        little_endian=meta.TransferSyntaxUID.is_little_endian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def _check(original: Dataset, made: bytes, result: Dataset, options: Set[Option]) -> None:
    """The last look: whether a word that identifies the patient is in the file after all.

    Raises:
        Refused: it is; the message names none.
    """
    words = {word for word in own_words(original) if len(word) >= 4 and len(set(word)) > 1}
    scan = Scan(words - known_words() - set(words_of(f"{marks(options)} {' '.join(defined_terms())}".lower()).split()))
    rest, among_pixels = made, set[str]()
    for keyword in PIXELS:
        if keyword in result:
            pixels: bytes = result[keyword].value
            rest = rest.replace(pixels, b"")
            among_pixels |= scan.in_bytes(pixels, IN_PIXELS)
    if among_pixels or scan.in_bytes(rest):
        raise Refused(
            f"something that identifies the patient would be left in it ({', '.join(OWN[:2])} or another name)"
        )


def _put_down(place: Path, content: bytes) -> bool:
    """Write a file whole or not at all; False where the same one is there already.

    Raises:
        Refused: another file of that name is there.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    with full_disk_named():
        try:
            with partial.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            _name_once(partial, place)
        except FileExistsError:
            if place.read_bytes() == content:
                return False
            raise Refused("another file with the same SOP instance UID was written before") from None
        finally:
            partial.unlink(missing_ok=True)
    return True


def _name_once(partial: Path, place: Path) -> None:
    """Give a file its name, unless another has it: nothing is ever written over.

    Raises:
        FileExistsError: another has it.
    """
    try:
        os.link(partial, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if place.exists():
            raise FileExistsError(place) from None
        os.replace(partial, place)
