"""What is done with an attribute: table E.1-1 of PS3.15, and the options that change it.

The table is that of the library dicom-anonymizer, which follows the standard; none of the library's engine is used. The
options keep or clean attributes that we name (``options.json``) or that a rule finds; what an option does not name is
treated as without it, so that a gap keeps too little and never too much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from pydicom.datadict import dictionary_VR, keyword_for_tag

EDITION = "2026c"

Action = Literal["D", "Z", "X", "K", "C", "U"]
"""Dummy value, empty, remove, keep, clean, map the UID."""


class Option(Enum):
    """An option of the profile: its name on the command line, its code (CID 7050, scheme DCM) and its meaning.

    Clean Graphics and Retain Safe Private are no options here: overlays, annotations and private attributes are
    removed whole. Clean Pixel Data is not claimed: what may have burned-in text is refused.
    """

    DATES = ("dates", "113107", "Retain Longitudinal Temporal Information Modified Dates Option")
    DEVICE = ("device", "113109", "Retain Device Identity Option")
    PATIENT = ("patient", "113108", "Retain Patient Characteristics Option")
    INSTITUTION = ("institution", "113112", "Retain Institution Identity Option")
    DESCRIPTORS = ("descriptors", "113105", "Clean Descriptors Option")

    def __init__(self, label: str, code: str, meaning: str) -> None:
        self.label, self.code, self.meaning = label, code, meaning


BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
DEFACED_CODE = ("113102", "Clean Recognizable Visual Features Option")

_PACKAGE = "mahtai.deidentification"

_CODES = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
"""Lists of the library → action codes of the standard."""


@dataclass(frozen=True)
class KeptText:
    """What is kept of attributes that the table does not name, and types of attributes (see ``kept_text.json``)."""

    known_words: frozenset[str]
    technical: dict[str, list[str]]
    code_values: dict[str, str]
    bytes: dict[str, frozenset[str]]
    type_1: frozenset[str]
    type_2: frozenset[str]
    type_3: frozenset[str]


@dataclass(frozen=True)
class Row:
    """What the table says of one attribute.

    Attributes:
        basic: action code of the basic profile, such as ``X/Z/D``.
        options: label of an option → ``K`` or ``C``.
    """

    keyword: str
    basic: str
    options: Mapping[str, Action]


@lru_cache(maxsize=1)
def table() -> dict[str, Row]:
    """Rows by tag: eight hexadecimal digits, ``x`` in repeating groups."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    categories = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    own = json.loads(files(_PACKAGE).joinpath("options.json").read_text("utf-8"))
    rows = {}
    for category, code in _CODES.items():
        for tag in categories[category]:
            name = _name(tag)
            keyword = "" if "x" in name else keyword_for_tag(int(name, 16))
            rows[name] = Row(keyword, code, _options(name, keyword, own))
    return rows


def _name(tag: tuple[int, ...]) -> str:
    """Group and element, and masks of both where they are given: a digit that the mask leaves open becomes ``x``."""
    digits = f"{tag[0]:04X}{tag[1]:04X}"
    mask = "FFFFFFFF" if len(tag) == 2 else f"{tag[2]:04X}{tag[3]:04X}"
    return "".join(digit if fixed == "F" else "x" for digit, fixed in zip(digits, mask, strict=True))


def _options(name: str, keyword: str, own: dict[str, Any]) -> dict[str, Action]:
    if not keyword:
        return {}
    vr = dictionary_VR(int(name, 16))
    found: dict[str, Action] = {label: "K" for label in ("device", "institution", "patient") if keyword in own[label]}
    if vr in ("DA", "DT", "TM") and keyword not in own["no_dates"]:
        found["dates"] = "C"
    if vr in ("LO", "LT", "SH", "ST", "UT") and keyword.endswith(tuple(own["descriptors"])):
        found["descriptors"] = "C"
    return found


@lru_cache(maxsize=1)
def kept_text() -> KeptText:
    """The lists of ``kept_text.json``."""
    document: dict[str, Any] = json.loads(files(_PACKAGE).joinpath("kept_text.json").read_text("utf-8"))
    lists = {name: frozenset(document[name]) for name in ("known_words", "type_1", "type_2", "type_3")}
    return KeptText(
        technical=document["technical"],
        code_values=document["code_values"],
        bytes={sop_class: frozenset(keywords) for sop_class, keywords in document["bytes"].items()},
        **lists,
    )


def are_bytes_kept(keyword: str, sop_class: str) -> bool:
    """Whether bytes of an attribute are numbers in objects of that class."""
    kept = kept_text().bytes
    return keyword in kept[""] or keyword in kept.get(sop_class, ())


def action_for(tag: int, options: Set[Option]) -> Action | None:
    """What the table says of an attribute; None for one that it does not name.

    A column of a chosen option goes before the basic profile (K before C where several are chosen); a combined code
    is resolved by the attribute's type.
    """
    row = _row(tag)
    if row is None:
        return None
    columns = {row.options[option.label] for option in options if option.label in row.options}
    for chosen in ("K", "C"):
        if chosen in columns:
            return chosen
    return resolved(row.basic, row.keyword)


def resolved(code: str, keyword: str) -> Action:
    """One action of a combined code, by the attribute's type in the information objects that have it.

    The code's strongest action that its type allows: type 1 needs a value, type 2 may be empty, type 3 may go.
    Where the type is not known, or differs between objects, the action that is valid for every type.
    """
    actions: list[Action] = [part.rstrip("*") for part in code.split("/")]  # type: ignore[misc]
    if len(actions) == 1:
        return actions[0]
    kept = kept_text()
    wanted: tuple[Action, ...] = ("U", "D", "Z", "X")
    if keyword in kept.type_1:
        wanted = ("D", "U", "Z", "X")
    elif keyword in kept.type_2:
        wanted = ("Z", "U", "D", "X")
    elif keyword in kept.type_3:
        wanted = ("X", "Z", "D", "U")
    return next(action for action in wanted if action in actions)


def action_of_removal(keyword: str) -> Action:
    """How an attribute that is not in the table and may not stay goes: by its type."""
    kept = kept_text()
    return "D" if keyword in kept.type_1 else "Z" if keyword in kept.type_2 else "X"


@lru_cache(maxsize=8192)
def _row(tag: int) -> Row | None:
    rows, name = table(), f"{tag:08X}"
    if row := rows.get(name):
        return row
    if name[:2] == "50":  # the whole of a curve
        return rows["50xxxxxx"]
    if name[:2] == "60" and keyword_for_tag(tag):
        return rows["60xx3000"]  # of an overlay its data and all that describes them
    return None
