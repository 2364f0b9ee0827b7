"""What the name of a volume says about its sequence: words out of ``names.json`` found in it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

VOCABULARY_FILE = Path(__file__).with_name("names.json")

WITH, WITHOUT = "with", "without"

_LONGEST_COMPOUND = 40
_CJK = r"[\u3040-\u30ff\u3400-\u9fff\u1100-\u11ff\uac00-\ud7af]"


@dataclass(frozen=True)
class Sign:
    """Something that speaks for a finding.

    Attributes:
        strength: 0 to 1.
        words: what was read, as it is shown to the reader.
    """

    strength: float
    words: str


@dataclass(frozen=True)
class Reading:
    """What one name says.

    Attributes:
        words: the name, cut into normalized words.
        weightings: t1, t2 or flair → its strongest sign.
        contrast: ``WITH`` or ``WITHOUT`` contrast agent → its strongest sign.
        unusable: what the volume is, where it is none of the four sequences; else empty.
        preference: how much it is to be preferred among volumes of its sequence, about -0.1 to 0.1.
        begins: number of words before the first one that means something.
    """

    words: tuple[str, ...] = ()
    weightings: Mapping[str, Sign] = field(default_factory=dict)
    contrast: Mapping[str, Sign] = field(default_factory=dict)
    unusable: str = ""
    preference: float = 0.0
    begins: int = 0


def vocabulary() -> dict[str, Any]:
    """The content of ``names.json``; its ``schema`` says what stands where."""
    return _vocabulary()


def words_of(name: str) -> tuple[str, ...]:
    """A name cut into lower-case words without accents; ``+`` is a word of its own.

    >>> words_of("4: AxT1+C post_Gd.nii.gz")
    ('ax', 't1', '+', 'c', 'post', 'gd')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    plain = unaccented(spaced)
    for pattern, replacement in _rewrites():
        plain = pattern.sub(replacement, plain)
    plain = re.sub(rf"({_CJK}+)", r" \1 ", plain)
    pieces = re.findall(r"\+|[^\W_]+", plain)
    return tuple(word for piece in pieces for word in _unglued(piece))


def read_words(words: Sequence[str]) -> Reading:
    """What these words say, most specific phrases first.

    Args:
        words: as ``words_of`` gives them, or a part of that.
    """
    text = f" {' '.join(words)} "
    book = _phrases()
    unusable, refused_from = _unusable(text)
    weightings, weighted_from = _signs(text, book["weighting"])
    if "flair" in weightings and "t2" in weightings:
        del weightings["t2"]  # a FLAIR is a T2-weighted image, and often says so
    contrast, contrast_from = _signs(text, book["contrast"])
    liked = [entry for entry in book["preference"] if entry.pattern.search(text)]
    common = [match.start() for word in book["common"] if (match := word.pattern.search(text))]
    first = min([refused_from, weighted_from, contrast_from, *common])
    return Reading(
        tuple(words),
        weightings,
        contrast,
        unusable,
        sum(entry.strength for entry in liked),
        len(text[:first].split()) if first < len(text) else len(words),
    )


def unaccented(text: str) -> str:
    """Lower case without accents, full-width forms as plain ones; other scripts stay what they are."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("ı", "i"))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


@dataclass(frozen=True)
class _Entry:
    """Phrases that mean the same; ``unless`` lifts them, with ``alone`` they count only where nothing else is said."""

    meaning: str
    strength: float
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None = None
    alone: bool = False


def _unusable(text: str) -> tuple[str, int]:
    for entry in _phrases()["unusable"]:
        match = entry.pattern.search(text)
        if match and not (entry.unless and entry.unless.search(text)):
            return entry.meaning, match.start()
    return "", len(text)


def _signs(text: str, entries: Iterable[_Entry]) -> tuple[dict[str, Sign], int]:
    """Meaning → strongest sign, and where the first one stands. What one entry has read, later ones do not see."""
    found: dict[str, Sign] = {}
    first = len(text)
    for entry in entries:
        if entry.alone and found:
            continue
        while match := entry.pattern.search(text):
            first = min(first, match.start())
            if entry.meaning not in found:
                found[entry.meaning] = Sign(entry.strength, match.group().strip())
            blank = " ".join("." * len(word) for word in match.group().split(" "))
            text = text[: match.start()] + blank + text[match.end() :]
    return found, first


def _unglued(word: str) -> list[str]:
    """``axt1post`` → ax, t1, post; a word that is not made of glued words alone stays whole."""
    known, glued = _glued()
    if word in known or len(word) > _LONGEST_COMPOUND:
        return [word]
    return _split(word, glued) or [word]


def _split(word: str, glued: frozenset[str]) -> list[str]:
    for end in range(len(word), 1, -1):
        head, rest = word[:end], word[end:]
        if head not in glued:
            continue
        if not rest:
            return [head]
        # a running number may follow a word, but t12 is no T1
        if rest.isdigit() and not head[-1].isdigit():
            return [head, rest]
        if tail := _split(rest, glued):
            return [head, *tail]
    return []


@cache
def _vocabulary() -> dict[str, Any]:
    return dict(json.loads(VOCABULARY_FILE.read_text(encoding="utf-8")))


@cache
def _rewrites() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), replacement) for pattern, replacement, _why in _vocabulary()["rewrite"]]


@cache
def _phrases() -> dict[str, list[_Entry]]:
    book = _vocabulary()
    entries = {
        kind: [
            _Entry(
                entry["is"],
                entry.get("strength", entry.get("weight", 1.0)),
                _pattern(entry["words"]),
                _pattern(entry["unless"]) if "unless" in entry else None,
                entry.get("alone", False),
            )
            for entry in book[kind]
        ]
        for kind in ("unusable", "weighting", "contrast", "preference")
    }
    entries["common"] = [_Entry("", 0.0, _pattern([word])) for word in book["common"]]
    return entries


@cache
def _glued() -> tuple[frozenset[str], frozenset[str]]:
    """Words that are known whole, and those that occur glued to others."""
    book = _vocabulary()
    lists = [
        book["common"],
        *(entry["words"] for kind in ("unusable", "weighting", "contrast") for entry in book[kind]),
    ]
    known = {unaccented(word) for words in lists for phrase in words for word in phrase.split() if "*" not in word}
    return frozenset(known), frozenset(book["glued"])


def _pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted((unaccented(phrase) for phrase in phrases), key=len, reverse=True)
    return re.compile("(?<= )(?:" + "|".join(map(_phrase, longest_first)) + ")(?= )")


def _phrase(phrase: str) -> str:
    *before, last = phrase.split()
    end = "(?= $)" if last == "$" else ""
    words = before if end else [*before, last]
    return " ".join("[^ ]+" if word == "*" else re.escape(word).replace(r"\*", "[^ ]*") for word in words) + end
