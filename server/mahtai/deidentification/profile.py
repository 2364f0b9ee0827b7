"""Table E.1-1 of PS3.15 (edition 2024e) and the options that change it: tag → what is done with an attribute."""

from __future__ import annotations

import csv
import json
from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from pydicom.datadict import keyword_for_tag

EDITION = "2024e"

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


@dataclass(frozen=True)
class KeptText:
    """What is kept of attributes that the table does not name, and types of attributes (see ``kept_text.json``)."""

    known_words: frozenset[str]
    code_values: dict[str, str]
    bytes: frozenset[str]
    type_1: frozenset[str]
    type_2: frozenset[str]
    type_3: frozenset[str]


@lru_cache(maxsize=1)
def table() -> dict[str, dict[str, str]]:
    """Rows by tag (eight hexadecimal digits, ``x`` in repeating groups): keyword, basic, one column an option."""
    text = files(_PACKAGE).joinpath("confidentiality_profile.csv").read_text("utf-8")
    return {row["tag"]: row for row in csv.DictReader(text.splitlines())}


@lru_cache(maxsize=1)
def kept_text() -> KeptText:
    """The lists of ``kept_text.json``."""
    document: dict[str, Any] = json.loads(files(_PACKAGE).joinpath("kept_text.json").read_text("utf-8"))
    names = ("known_words", "bytes", "type_1", "type_2", "type_3")
    return KeptText(code_values=document["code_values"], **{name: frozenset(document[name]) for name in names})


def action_for(tag: int, options: Set[Option]) -> Action | None:
    """What the table says of an attribute; None for one that it does not name.

    A column of a chosen option goes before the basic profile (K before C where several are chosen); a combined code
    is resolved by the attribute's type.
    """
    row = _row(tag)
    if row is None:
        return None
    columns = {row[option.label] for option in options} - {""}
    for chosen in ("K", "C"):
        if chosen in columns:
            return chosen
    return resolved(row["basic"], row["keyword"])


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
def _row(tag: int) -> dict[str, str] | None:
    rows, name = table(), f"{tag:08X}"
    if row := rows.get(name):
        return row
    if name[:2] == "50":  # the whole of a curve
        return rows["50xxxxxx"]
    if name[:2] == "60" and keyword_for_tag(tag):
        return rows["60xx3000"]  # of an overlay its data and all that describes them
    return None
