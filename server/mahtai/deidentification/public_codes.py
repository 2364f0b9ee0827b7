"""Which codes of coded items (PS3.3 section 8) are public, so that they name nobody."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pydicom.dataset import Dataset

from mahtai.deidentification.profile import kept_text
from mahtai.deidentification.texts import words_kept, words_of


def is_public_code(item: Dataset) -> bool:
    """Whether an item names a code of a public scheme.

    Codes of the standard's own lists are known one by one; another one has to be written as those of its scheme are,
    and to end with the right check digit (SNOMED CT) or to have a meaning of known words alone.
    """
    scheme, value = str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeValue") or "")
    if value in _listed().get(scheme, ()):
        return True
    form = kept_text().code_values.get(scheme)
    if not form or not re.fullmatch(form, value):
        return False
    meaning = str(item.get("CodeMeaning") or "")
    return _has_check_digit(value) if scheme == "SCT" else bool(meaning) and words_kept(meaning) == words_of(meaning)


def is_public_meaning(item: Dataset) -> bool:
    """Whether the meaning of a public code is its own value, what the standard's lists give for it, or known words."""
    scheme, value = str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeValue") or "")
    meaning = str(item.get("CodeMeaning") or "").strip()
    listed = _listed().get(scheme, {}).get(value, "")
    return meaning.lower() in (value.lower(), listed.lower()) or words_kept(meaning) == words_of(meaning)


@lru_cache(maxsize=1)
def _listed() -> dict[str, dict[str, str]]:
    """Scheme → code → meaning, of the context groups of PS3.16; those of SNOMED also under their former numbers."""
    from pydicom.sr._concepts_dict import concepts  # large
    from pydicom.sr._snomed_dict import mapping

    groups: dict[str, dict[str, Any]] = dict(concepts)
    listed = {
        scheme: {code: str(said[0]) for codes in group.values() for code, said in codes.items()}
        for scheme, group in groups.items()
    }
    for former in ("SRT", "SNM3", "99SDM"):
        listed[former] = {old: listed["SCT"].get(new, "") for old, new in mapping["SRT"].items()}
    return listed


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
