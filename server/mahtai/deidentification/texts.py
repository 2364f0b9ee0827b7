"""Free text → the words of it that say nothing about a person. What is not known not to identify goes."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache
from importlib.resources import files

from pydicom.dataset import Dataset

from mahtai.deidentification.profile import kept_text

_SPLIT = re.compile(r"[^\w.]+|_", re.ASCII)
_TECHNICAL = re.compile(r"[a-z]{1,2}\d{1,2}[a-z]{0,2}|\d[a-z]{1,2}\d?")
"""As in T1w, FL3D, B40f, 3D: too short to name anybody."""

_SHORT_NUMBER = re.compile(r"\d{1,2}")
_DIRECTIONS = re.compile(r"[aplrfh]{1,3}")
"""Patient orientation (PS3.3 C.7.6.1.1.1)."""


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words of ``known_words.txt``, lower case."""
    text = files("mahtai.deidentification").joinpath("known_words.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())


def words_kept(text: str, own: Set[str] = frozenset()) -> str:
    """The known words of a text, in their order.

    Args:
        own: words that identify this very patient, lower case, which go even if they are known ones.
    """
    kept = [word for word in _SPLIT.split(text) if _is_known(word.lower(), own)]
    return " ".join(kept)


def code_string_kept(value: str, own: Set[str] = frozenset()) -> str:
    """A coded value (VR CS) that is made of known words alone; else empty."""
    value = value.strip()
    words = [word for word in _SPLIT.split(value.lower()) if word]
    is_known = own.isdisjoint(words) and all(
        _is_known(word, own) or _SHORT_NUMBER.fullmatch(word) or _DIRECTIONS.fullmatch(word) for word in words
    )
    return value if len(value) <= 16 and words and is_known else ""


def is_public_code(item: Dataset) -> bool:
    """Whether an item names a code of a public scheme, written as codes of that scheme are."""
    scheme = str(item.get("CodingSchemeDesignator") or "")
    form = kept_text().code_values.get(scheme)
    value = str(item.get("CodeValue") or "")
    return bool(form and re.fullmatch(form, value) and (scheme != "SCT" or _has_check_digit(value)))


def _is_known(word: str, own: Set[str]) -> bool:
    return word not in own and (word in known_words() or _TECHNICAL.fullmatch(word) is not None)


def _has_check_digit(number: str) -> bool:
    """Verhoeff's check digit, which every SNOMED CT identifier ends with; one number in ten has it by chance."""
    permutation = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    check = 0
    for place, digit in enumerate(map(int, reversed(number))):
        for _ in range(place % 8):
            digit = permutation[digit]
        check = _dihedral(check, digit)
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """The product in the dihedral group of the pentagon, rotations 0 to 4 and reflections 5 to 9."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b - 5) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5
