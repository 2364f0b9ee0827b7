"""Free text → the words of it that say nothing about a person. What is not known not to identify goes."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache
from importlib.resources import files

from mahtai.deidentification.profile import kept_text

_SPLIT = re.compile(r"[^\w.]+|_")
_SHORT_NUMBER = re.compile(r"\d{1,2}")
_DIRECTIONS = re.compile(r"[aplrfh]{1,3}")
"""Patient orientation (PS3.3 C.7.6.1.1.1)."""


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words of ``known_words.txt``, lower case."""
    return frozenset(word for line in _lines("known_words.txt") for word in line.split())


@lru_cache(maxsize=1)
def defined_terms() -> frozenset[str]:
    """The terms of ``defined_terms.txt``, capital letters."""
    terms = (term.strip() for line in _lines("defined_terms.txt") for term in line.split(","))
    return frozenset(term for term in terms if term)


def words_of(text: str) -> str:
    """The words of a text, parted by blanks."""
    return " ".join(word for word in _SPLIT.split(text) if word)


def words_kept(text: str, own: Set[str] = frozenset(), keyword: str = "") -> str:
    """The known words of a text, in their order; no single letters, which may be initials.

    Args:
        own: words that identify this very patient, lower case, which go even if they are known ones.
        keyword: of the attribute; some know names of their own, such as a convolution kernel.
    """
    words = (word for word in _SPLIT.split(text) if len(word) > 1)
    return " ".join(word for word in words if _is_known(word.lower(), own, keyword))


def code_string_kept(value: str, own: Set[str] = frozenset()) -> str:
    """A coded value (VR CS) that is a term of the standard, or made of known words alone; else empty."""
    value = value.strip()
    if value.upper() in defined_terms():
        return value
    words = [word for word in _SPLIT.split(value.lower()) if word]
    is_known = own.isdisjoint(words) and all(
        _is_known(word, own) or _SHORT_NUMBER.fullmatch(word) or _DIRECTIONS.fullmatch(word) for word in words
    )
    return value if len(value) <= 16 and words and is_known else ""


def _is_known(word: str, own: Set[str], keyword: str = "") -> bool:
    return word not in own and (word in known_words() or any(form.fullmatch(word) for form in _technical(keyword)))


@lru_cache(maxsize=64)
def _technical(keyword: str) -> tuple[re.Pattern[str], ...]:
    """Forms of technical words, as in T1w, FL3D, B40f, 3D."""
    technical = kept_text().technical
    return tuple(re.compile(form) for form in (*technical["any"], *technical.get(keyword, ())))


def _lines(name: str) -> list[str]:
    text = files("mahtai.deidentification").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]
