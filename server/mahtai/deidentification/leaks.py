"""Whether identifiers of the originals are left in what came out: in every value, and in the bytes of the file.

It knows nothing of how the files were made, so that it can judge the engine and other tools alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from mahtai.deidentification.identifiers import identifiers_of, without_marks
from mahtai.volumes.dicom_files import looks_like_dicom

_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "iso2022_jp", "iso2022_kr", "gb18030", "shift_jis")
IN_PIXELS = 7
"""Bytes that an identifier has at least to be looked for among pixels, where shorter ones are there by chance."""


@dataclass(frozen=True)
class Leak:
    """An identifier that was found.

    Attributes:
        file: where; a path below the folder.
        place: keyword, ``file name`` or ``bytes``.
        identifier: the value; it is shown to whoever asked and written nowhere.
    """

    file: str
    place: str
    identifier: str


class Scan:
    """A search for some identifiers in any number of files."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        self.identifiers = {one.strip() for one in identifiers if one.strip()}
        self._folded = {_folded(one): one for one in self.identifiers}
        self._bytes = {code: one for one in self.identifiers for code in _spellings(one)}

    def of_file(self, path: Path, name: str) -> list[Leak]:
        """Leaks in a file's bytes, in its values where it is DICOM, and in its name."""
        content = path.read_bytes()
        leaks = [Leak(name, "file name", one) for one in self.in_text(name)]
        pixels = b""
        if looks_like_dicom(content):
            try:
                dataset = pydicom.dcmread(path, force=True)
                leaks += [Leak(name, place, one) for place, one in self._in_values(dataset)]
                pixels = bytes(dataset.get("PixelData") or b"")
            except Exception:  # noqa: BLE001 -- what cannot be parsed is still looked through as bytes
                pixels = b""
        rest = content.replace(pixels, b"") if pixels else content
        leaks += [Leak(name, "bytes", one) for one in self.in_bytes(rest)]
        return leaks + [Leak(name, "pixel bytes", one) for one in self.in_bytes(pixels, IN_PIXELS)]

    def in_text(self, text: str) -> Iterator[str]:
        """Identifiers in a text, whatever case and diacritics; numbers and short words only as wholes."""
        folded = _folded(text)
        for form, one in self._folded.items():
            if form in folded and _stands_alone(form, folded):
                yield one

    def in_bytes(self, content: bytes, shortest: int = 0) -> set[str]:
        """Identifiers in bytes, in any of the usual encodings."""
        lower = content.lower()
        return {
            one
            for code, one in self._bytes.items()
            if len(code.replace(b"\0", b"")) >= shortest and code in lower and _stands_alone_in_bytes(code, lower)
        }

    def _in_values(self, dataset: Dataset) -> Iterator[tuple[str, str]]:
        texts: list[tuple[str, str]] = []
        for element in dataset.iterall():
            if element.VR == "SQ" or element.keyword == "PixelData":
                continue
            for value in element.value if element.VM > 1 else [element.value]:
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                texts.append((element.keyword or str(element.tag), text))
        whole = "\n".join(
            text for _, text in texts
        )  # one search for each identifier; where it is, is asked for if it is
        for one in self.in_text(whole):
            form = _folded(one)
            for place, text in texts:
                if form in _folded(text):
                    yield place, one


def identifiers_in(paths: Iterable[Path]) -> set[str]:
    """Of all DICOM files among these."""
    found: set[str] = set()
    for path in paths:
        try:
            found |= identifiers_of(pydicom.dcmread(path, stop_before_pixels=True))
        except Exception:  # noqa: BLE001 -- no DICOM, or damaged: nothing of it can have been copied
            continue
    return found


def _folded(text: str) -> str:
    return without_marks(text).lower()


def _spellings(identifier: str) -> set[bytes]:
    found = set()
    for form in {identifier, identifier.lower(), identifier.upper(), without_marks(identifier)}:
        for encoding in _ENCODINGS:
            try:
                found.add(form.encode(encoding).lower())
            except UnicodeEncodeError:
                continue
    return {code for code in found if len(code) >= 4}


def _stands_alone(form: str, text: str) -> bool:
    """A number is no part of a longer one (as in a UID), a word of less than six letters none of a longer word."""
    if form.isdigit():
        return re.search(rf"(?<![\d.]){form}(?![\d.])", text) is not None
    if len(form) >= 6 or not form.isalnum():
        return True
    return re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text) is not None


def _stands_alone_in_bytes(code: bytes, content: bytes) -> bool:
    plain = code.replace(b"\0", b"")
    if plain.isdigit():
        return re.search(rb"(?<![\d.])" + re.escape(code) + rb"(?![\d.])", content) is not None
    if len(plain) >= 6 or not plain.isalnum():
        return True
    return re.search(rb"(?<![A-Za-z])" + re.escape(code) + rb"(?![A-Za-z])", content) is not None
