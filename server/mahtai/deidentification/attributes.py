"""The walk through one DICOM object: what becomes of each attribute."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mahtai.deidentification.keyed import Keyed, shifted_date, shifted_datetime
from mahtai.deidentification.pixels import PIXELS
from mahtai.deidentification.profile import Option, action_for, action_of_removal, are_bytes_kept, kept_text
from mahtai.deidentification.public_codes import is_public_code, is_public_meaning
from mahtai.deidentification.refusal import Refused
from mahtai.deidentification.texts import code_string_kept, words_kept

TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "PN", "UR", "AE", "AS"})
BYTES = frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})
_DUMMIES = {
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC", "PN", "CS", "AE"), "REMOVED"),
    "UR": "urn:removed",
    "AS": "000D",
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "DS": "0",
    "IS": "0",
}
_NUMBER = {"DS": re.compile(r"[+-]?\d*\.?\d*([eE][+-]?\d+)?"), "IS": re.compile(r"[+-]?\d{1,11}")}
_TIME = re.compile(r"\d{2}:?(\d{2}:?(\d{2}(\.\d{1,6})?)?)?")
_COUNTED = {"SeriesNumber", "AcquisitionNumber", "InstanceNumber"}
"""Numbers that only tell one from another."""

_YEARS = re.compile(r"(\d{1,3})Y")
"""Of those older than 90 there are so few that they are known by their age (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""

_CODE = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
_TABLES = {
    "LUTData": "LUTDescriptor",
    **{
        f"{colour}PaletteColorLookupTableData": f"{colour}PaletteColorLookupTableDescriptor"
        for colour in ("Red", "Green", "Blue")
    },
}
_UNWRITTEN = {"SpecificCharacterSet", "LengthToEnd", "DataSetTrailingPadding"}


@dataclass
class Walk:
    """The walk through one object.

    Attributes:
        keyed: maps UIDs and people.
        options: of the profile.
        person: whose it is.
        sop_class: of the object.
        own: words that identify that person, lower case.
        done: (keyword, what was done) → how often; counted up.
    """

    keyed: Keyed
    options: Set[Option]
    person: str
    sop_class: str
    own: frozenset[str]
    done: Counter[tuple[str, str]]

    def cleaned(self, dataset: Dataset, is_item: bool = False) -> Dataset:
        """A new data set of what may stay.

        Args:
            is_item: of a sequence; an image in an image goes.

        Raises:
            Refused: a number that is needed is also one of the person's.
        """
        result = Dataset()
        for tag in list(dataset.keys()):
            keyword = keyword_for_tag(tag)
            if tag.is_private or not dictionary_has_tag(tag):
                self._note("private attributes" if tag.is_private else "unknown attributes", "removed")
                continue
            if keyword in _UNWRITTEN or tag.group in (0x0000, 0x0002) or tag.element == 0:
                continue
            try:
                element = dataset[tag]
            except Exception:  # noqa: BLE001 -- pydicom raises whatever a damaged value leads to; it goes
                self._note(keyword, "removed (damaged)")
                continue
            if is_item and keyword in PIXELS:
                self._note(keyword, "removed (of an item)")
                continue
            new, what = self._of_code(element, dataset) if keyword in _CODE else self._element(element, keyword)
            self._note(keyword, what)
            if new is not None:
                result.add(new)
        self._drop_odd_tables(result)
        return result

    def _drop_odd_tables(self, result: Dataset) -> None:
        """Look-up tables that are not as long as their descriptor says (PS3.3 C.7.6.3.1.5) could hold anything."""
        for data, descriptor in _TABLES.items():
            if data not in result:
                continue
            numbers = list(result.get(descriptor) or ()) if descriptor in result else []
            entries = (int(numbers[0]) or 2**16) if len(numbers) == 3 else 0
            value = result[data].value
            size = len(value) if isinstance(value, bytes) else 2 * len(value)
            if not entries or size not in (entries + entries % 2, 2 * entries):
                del result[data]
                self._note(data, "removed (not as long as its descriptor says)")

    def _element(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        """The new element and what was done; None for one that goes."""
        if old.VR not in dictionary_VR(old.tag).split(" or "):
            return None, "removed (of another type than the dictionary says)"
        if keyword in {"PatientID", "PatientName"}:
            return _with(old, self._pseudonym(old)), "pseudonym"
        action = action_for(old.tag, self.options)
        if action == "U" or (action in ("K", None) and old.VR == "UI"):
            return self._uids(old)
        if action == "X":
            return None, "removed"
        if action == "Z":
            return _emptied(old), "emptied"
        if action == "D":
            return self._dummy(old)
        if action == "C":
            return self._clean(old)
        return self._kept(old) if action == "K" else self._unnamed(old, keyword)

    def _unnamed(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        """An attribute that the table does not name: numbers stay, text goes unless its words are known."""
        if old.VR == "SQ":
            return self._sequence(old), "items cleaned"
        if old.VR in ("DA", "TM", "DT"):
            return self._clean(old) if Option.DATES in self.options else self._gone(old, keyword)
        if old.VR == "CS":
            return self._coded(old, keyword)
        if old.VR in _NUMBER:
            return self._numbers(old, keyword)
        if old.VR in TEXT:
            if keyword not in kept_text().known_words or old.VR not in ("LO", "SH", "ST", "LT", "UT", "UC"):
                return self._gone(old, keyword)
            return self._words(old, keyword)
        if old.VR in BYTES or (old.VR in ("US", "SS") and isinstance(old.value, bytes)):
            return (_with(old, old.value), "kept") if are_bytes_kept(keyword, self.sop_class) else (None, "removed")
        if old.VR == "UN" or (isinstance(old.value, bytes | str) and old.value):
            return None, "removed"
        return _with(old, old.value), "kept"

    def _gone(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        action = action_of_removal(keyword)
        if action == "X":
            return None, "removed (not known to be harmless)"
        return self._dummy(old) if action == "D" and old.VM else (_emptied(old), "emptied")

    def _words(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        kept = [words for value in _values(old) if (words := words_kept(str(value), self.own, old.keyword))]
        if not kept:
            return self._gone(old, keyword)
        new = _with(old, kept if len(kept) > 1 else kept[0])
        return new, "kept" if new.value == old.value else "words kept"

    def _coded(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        values = [str(value) for value in _values(old)]
        kept = [code_string_kept(value, self.own) if value else "" for value in values]
        if kept == values:
            return _with(old, old.value), "kept"
        if len(kept) > 1 and any(kept):  # such as Image Type, where the place tells the meaning
            return _with(old, [new or ("OTHER" if value else "") for new, value in zip(kept, values, strict=True)]), (
                "known terms kept"
            )
        return self._gone(old, keyword)

    def _numbers(self, old: DataElement, keyword: str) -> tuple[DataElement | None, str]:
        texts = [str(getattr(value, "original_string", value)).strip() for value in _values(old)]
        if not all(not text or _NUMBER[old.VR].fullmatch(text) for text in texts):
            return self._gone(old, keyword)
        if self.own.isdisjoint(texts):
            return _with(old, old.value), "kept"
        if keyword in _COUNTED:
            return self._gone(old, keyword)
        raise Refused(f"a number in it ({keyword}) is also one of the patient's, and may be either")

    def _of_code(self, old: DataElement, item: Dataset) -> tuple[DataElement | None, str]:
        """Value, scheme or meaning of a coded item: they stay where the code is public."""
        if not is_public_code(item) or not self.own.isdisjoint(re.split(r"\W+", str(item.get("CodeValue")).lower())):
            return self._dummy(old) if old.VM else (_emptied(old), "emptied")
        if old.keyword != "CodeMeaning" or is_public_meaning(item):
            return _with(old, old.value), "kept"
        return self._words(old, old.keyword)

    def _uids(self, old: DataElement) -> tuple[DataElement | None, str]:
        if old.VR != "UI":  # a sequence of references: it stays with mapped UIDs
            return self._sequence(old), "items cleaned"
        new = [value if value in UID_dictionary else self.keyed.uid(value) for value in map(str, _values(old)) if value]
        what = "kept" if new == [str(value) for value in _values(old)] else "UID mapped"
        return _with(old, new if len(new) > 1 else (new or [""])[0]), what

    def _dummy(self, old: DataElement) -> tuple[DataElement | None, str]:
        if old.VR == "SQ":
            return self._sequence(old), "items cleaned"
        if old.VR == "UI":
            return self._uids(old)
        if old.VR in BYTES or old.VR == "UN":
            return _with(old, b"\0\0"), "dummy"
        return (_with(old, _DUMMIES[old.VR]), "dummy") if old.VR in _DUMMIES else (_emptied(old), "emptied")

    def _clean(self, old: DataElement) -> tuple[DataElement | None, str]:
        if old.VR == "SQ":
            return self._sequence(old), "items cleaned"
        if old.VR in ("DA", "DT", "TM"):
            new = [self._moved(old.VR, str(value)) for value in _values(old)]
            if all(new):
                return _with(old, new if len(new) > 1 else (new or [""])[0]), "date moved"
            return self._gone(old, old.keyword)
        if old.VR in ("LO", "SH", "ST", "LT", "UT", "UC"):
            return self._words(old, old.keyword)
        return self._gone(old, old.keyword)

    def _kept(self, old: DataElement) -> tuple[DataElement | None, str]:
        """An attribute that an option keeps, unless it holds a word of the patient's."""
        if old.VR == "SQ":
            return self._sequence(old), "items cleaned"
        if old.keyword == "PatientAge" and (age := _YEARS.fullmatch(str(old.value))) and int(age[1]) > 90:
            return _with(old, "090Y"), "kept as 90 or more"
        words = {word for value in _values(old) for word in re.split(r"\W+", str(value).lower())}
        return self._gone(old, old.keyword) if words & self.own else (_with(old, old.value), "kept")

    def _moved(self, vr: str, value: str) -> str:
        """A date or time with the patient's dates moved; the time of day stays, and with it every interval."""
        if vr == "TM":
            return value if _TIME.fullmatch(value.strip()) else ""
        days = self.keyed.days(self.person)
        return shifted_date(value, days) if vr == "DA" else shifted_datetime(value, days)

    def _sequence(self, old: DataElement) -> DataElement:
        return _with(old, Sequence(self.cleaned(item, is_item=True) for item in old.value))

    def _pseudonym(self, old: DataElement) -> str:
        return self.keyed.pseudonym(self.person) if self.person and not old.is_empty else ""

    def _note(self, keyword: str, what: str) -> None:
        self.done[keyword, what] += 1


def _values(element: DataElement) -> Iterable[Any]:
    value = element.value
    return [] if value is None or element.is_empty else list(value) if element.VM > 1 else [value]


def _with(old: DataElement, value: Any) -> DataElement:
    return DataElement(old.tag, old.VR, value)


def _emptied(old: DataElement) -> DataElement:
    return DataElement(old.tag, old.VR, Sequence() if old.VR == "SQ" else None)
