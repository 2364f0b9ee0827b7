"""What identifies the people of a DICOM object: the values of the attributes that name them, as people write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from pydicom.datadict import keyword_dict
from pydicom.dataset import Dataset

from mahtai.deidentification.profile import action_for
from mahtai.deidentification.texts import known_words

OWN = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "AccessionNumber",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "RequestingPhysician",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "PatientBirthDate",
    "AdmissionID",
)
"""Attributes whose words go from every text, even those that are common words."""

_WORD = re.compile(r"[^\W_]+")
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_SHORTEST = {False: 3, True: 5}
_TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "PN", "UR", "AE"}


def own_words(dataset: Dataset) -> frozenset[str]:
    """Words, lower case, of at least three letters, and numbers of at least five digits, that identify the people of
    this object: a shorter number is also a position or an age."""
    found: set[str] = set()
    for keyword in OWN:
        try:
            value = dataset.get(keyword)
        except Exception:  # noqa: BLE001 -- a damaged value identifies nobody
            continue
        for one in value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]:
            found |= {word for word in _WORD.findall(str(one or "").lower()) if len(word) >= _SHORTEST[word.isdigit()]}
    return frozenset(found)


def identifiers_of(dataset: Dataset, depth: int = 0) -> set[str]:
    """Values to look for in what came out: text and UIDs that the basic profile takes away, at any depth.

    Left out are values of known words alone, and words and numbers too short to identify anybody.
    """
    found: set[str] = set()
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 -- a damaged value cannot be looked for
            continue
        if element.VR == "SQ":
            for item in element.value:
                found |= identifiers_of(item, depth + 1)
            continue
        action = action_for(tag, frozenset())
        if action is None and not tag.is_private:
            continue
        for value in element.value if element.VM > 1 else [element.value]:
            found |= set(_telling(element.VR, element.keyword, value))
    return found


def _telling(vr: str, keyword: str, value: object) -> Iterable[str]:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    if vr in ("DA", "DT") and (found := _DATE.match(text)):
        if found[0].replace("-", "") > "1900":
            yield from spellings_of_date(*found.groups())
    elif vr == "UI" and len(text) > 12:
        yield text
    elif vr in _TEXT:
        words = [word for word in _WORD.findall(text) if word.lower() not in known_words() | _public_words()]
        if len(text) >= 4 and any(not word.isdigit() or len(text) >= 5 for word in words):
            yield text
        for word in words:
            if len(word) >= 5 if word.isdigit() else len(word) >= 4 and (vr == "PN" or keyword in OWN):
                yield word


@lru_cache(maxsize=1)
def _public_words() -> frozenset[str]:
    """Names of attributes, which the report holds and which a value may happen to be."""
    return frozenset(keyword.lower() for keyword in keyword_dict)


def spellings_of_date(year: str, month: str, day: str) -> Iterable[str]:
    """As DICOM, German, ISO and American people write a date."""
    yield f"{year}{month}{day}"
    yield f"{day}.{month}.{year}"
    yield f"{year}-{month}-{day}"
    yield f"{month}/{day}/{year}"


def without_marks(text: str) -> str:
    """Without diacritics: Müller → Muller."""
    return "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
