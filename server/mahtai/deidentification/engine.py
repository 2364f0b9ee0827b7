"""One DICOM object → the same without what identifies anybody. Works on data sets; files are in ``folder``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mahtai.deidentification.attributes import Walk
from mahtai.deidentification.identifiers import own_words
from mahtai.deidentification.jpeg_frames import DamagedFrame
from mahtai.deidentification.keyed import Keyed
from mahtai.deidentification.people import Issuers, person_of
from mahtai.deidentification.pixels import PIXELS, clean_pixel_bytes
from mahtai.deidentification.profile import BASIC_CODE, DEFACED_CODE, EDITION, Option
from mahtai.deidentification.refusal import Refused, why_refused

METHOD = f"MahtAI, DICOM PS3.15 {EDITION} Annex E"


@dataclass
class Deidentifier:
    """The engine with its key and options.

    Attributes:
        keyed: maps UIDs and people.
        options: of the profile.
        done: (keyword, what was done) → how often; no values.
        issuers: who gave the patients' numbers, of all objects that belong together.
    """

    keyed: Keyed
    options: Set[Option] = frozenset()
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    issuers: Issuers = field(default_factory=dict)

    def deidentified(self, dataset: Dataset, transfer_syntax: str, is_defaced: bool = False) -> Dataset:
        """A new data set that holds what may stay.

        Args:
            dataset: an object as read from a file; not changed but for values that are converted on access.
            is_defaced: whether the face was taken out of its pixels before.

        Raises:
            Refused: it cannot be made safe.
        """
        with config.disable_value_validation():
            if reason := why_refused(dataset, transfer_syntax):
                raise Refused(reason)
            whose = person_of(dataset, self.issuers), str(dataset.SOPClassUID), own_words(dataset)
            result = Walk(self.keyed, self.options, *whose, self.done).cleaned(dataset)
            for keyword in PIXELS:
                if keyword in result:
                    result[keyword].value = _clean_pixels(dataset, keyword, transfer_syntax)
            self._mark(result, is_defaced)
            return result

    def _mark(self, result: Dataset, is_defaced: bool) -> None:
        """Say what was done, in the attributes that the profile asks for."""
        codes = [BASIC_CODE, *((option.code, option.meaning) for option in Option if option in self.options)]
        if is_defaced:
            codes.append(DEFACED_CODE)
            result.RecognizableVisualFeatures = "NO"
        result.SpecificCharacterSet = "ISO_IR 192"
        result.PatientIdentityRemoved = "YES"
        result.DeidentificationMethod = METHOD
        result.DeidentificationMethodCodeSequence = Sequence(_code(*code) for code in codes)
        result.LongitudinalTemporalInformationModified = "MODIFIED" if Option.DATES in self.options else "REMOVED"


def marks(options: Set[Option]) -> str:
    """The texts that this program itself writes into an object."""
    codes = [BASIC_CODE, DEFACED_CODE, *((option.code, option.meaning) for option in options)]
    return " ".join((METHOD, "MODIFIED REMOVED ISO_IR 192 DCM", *(f"{code} {meaning}" for code, meaning in codes)))


def _clean_pixels(dataset: Dataset, keyword: str, transfer_syntax: str) -> bytes:
    try:
        return clean_pixel_bytes(dataset, keyword, transfer_syntax)
    except DamagedFrame as error:
        raise Refused(str(error)) from error


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
