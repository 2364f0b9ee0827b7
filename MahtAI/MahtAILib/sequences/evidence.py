"""What is known about each volume of a study: from its name, its DICOM tags and its grid."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from MahtAILib.client.geometry import Geometry
from MahtAILib.sequences.tags import contrast_agent, not_a_plain_image, number, tag, timing
from MahtAILib.sequences.words import WITH, WITHOUT, Reading, Sign, read_words, vocabulary, words_of

_CONTRADICTED = 0.4
"""What is left of a sign that another one speaks against: below any threshold."""
_AT_MOST = 0.98
_AXIAL = 2
_FEWEST_SLICES = 12
_THICK = 1.6
_DIGITS = re.compile(r"\d")
_SERIES_NUMBER = re.compile(r"(\d{1,5})\s*[:-]")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A volume that may be one of the four sequences.

    Attributes:
        key: names it in the result; unique.
        name: of the node or the file.
        tags: DICOM keyword → value, as far as known; several values are separated by a backslash.
        geometry: its grid, if known.
        unusable: why it cannot be used, where that is known already; else empty.
    """

    key: str
    name: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    unusable: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for and against a volume.

    Attributes:
        unusable: why it is none of the four sequences; else empty.
        weightings: t1, t2, flair → its sign, whose words are a sentence for the reader.
        contrast: ``with`` and ``without`` → what its name says.
        agent: whether the DICOM tags name a contrast agent; None where they say nothing.
        when: kind of order (``time``, ``series``) → place in it; empty where unknown.
        preference: among volumes of the same sequence.
        group: patient and study, or empty where unknown; volumes of two groups never belong together.
        words: of the name.
    """

    candidate: Candidate
    unusable: str
    weightings: Mapping[str, Sign]
    contrast: Mapping[str, Sign]
    agent: bool | None
    when: Mapping[str, float]
    preference: float
    group: str
    words: tuple[str, ...]


def gather(candidates: Sequence[Candidate]) -> list[Evidence]:
    """Evidence for each volume, in their order."""
    readings = _with_numbers([read_words(words_of(candidate.name)) for candidate in candidates])
    groups = _groups(candidates, readings)
    for members in _by_group(groups).values():
        for index, reading in _without_shared_beginning({index: readings[index] for index in members}).items():
            readings[index] = reading
    evidence = []
    for candidate, reading, group in zip(candidates, readings, groups, strict=True):
        completed = _with_protocol(candidate, _with_description(candidate, reading), candidates)
        evidence.append(_evidence(candidate, completed, group))
    return evidence


def alike(one: Evidence, other: Evidence) -> float:
    """Share of words that two names have in common, 0 to 1."""
    first, second = set(one.words), set(other.words)
    return len(first & second) / max(len(first | second), 1)


def _evidence(candidate: Candidate, reading: Reading, group: str) -> Evidence:
    weightings, refused = _weigh(reading.weightings, candidate.tags)
    unusable = candidate.unusable or not_a_plain_image(candidate.tags)
    unusable = unusable or (f"its name says that it is {reading.unusable}" if reading.unusable else "")
    return Evidence(
        candidate,
        unusable or refused,
        weightings,
        reading.contrast,
        contrast_agent(candidate.tags),
        _when(candidate),
        reading.preference + _grid_preference(candidate.geometry) + _origin_preference(candidate.tags),
        group,
        reading.words,
    )


def _with_description(candidate: Candidate, named: Reading) -> Reading:
    """The name's reading, completed by the series description where the name leaves something open.

    Where they name different sequences, both are kept, so that neither is believed.
    """
    described = read_words(words_of(tag(candidate.tags, "SeriesDescription")))
    weightings = named.weightings or described.weightings
    if not set(named.weightings) & set(described.weightings):
        weightings = {**named.weightings, **described.weightings}
    return replace(
        named,
        weightings=weightings,
        contrast=named.contrast or described.contrast,
        unusable=named.unusable or described.unusable,
        preference=named.preference or described.preference,
    )


def _with_protocol(candidate: Candidate, reading: Reading, all_of_them: Sequence[Candidate]) -> Reading:
    """A reading without a weighting, completed by what the scanner calls its protocol and sequence.

    A protocol name that all series share is the study's and says nothing about one of them.
    """
    if reading.weightings or reading.unusable:
        return reading
    for keyword in ("ProtocolName", "SequenceName"):
        value = tag(candidate.tags, keyword)
        shared = len(all_of_them) > 1 and all(tag(other.tags, keyword) == value for other in all_of_them)
        named = read_words(words_of(value))
        if not shared and (named.weightings or named.unusable):
            return replace(
                reading,
                weightings=named.weightings,
                contrast=reading.contrast or named.contrast,
                unusable=named.unusable,
            )
    return reading


def _weigh(named: Mapping[str, Sign], tags: Mapping[str, Any]) -> tuple[dict[str, Sign], str]:
    """Weightings by name and by timing together, and why the volume is unusable if only that is known."""
    words = " and ".join(f"“{sign.words}”" for sign in named.values())
    doubt = _CONTRADICTED if len(named) > 1 else 1.0
    by_name = {what: Sign(sign.strength * doubt, f"name contains {words}") for what, sign in named.items()}
    rule, times = timing(tags)
    if rule is None:
        return by_name, ""
    if not named and rule["is"] == "unusable":
        return {}, f"its timing ({times}) is that of {rule['what']}"
    if not named:
        return {rule["is"]: Sign(rule["strength"], times)}, ""
    if set(named) & set(rule.get("corrects", ())):
        return {rule["is"]: Sign(rule["strength"], f"name contains {words}, but {times} says more")}, ""
    if not set(named) & set(rule["fits"]):
        against = f"name contains {words}, but {times} speaks against it"
        return {what: Sign(sign.strength * _CONTRADICTED, against) for what, sign in by_name.items()}, ""
    if rule["is"] in by_name:
        own = by_name[rule["is"]]
        strength = min(_AT_MOST, 1 - (1 - own.strength) * (1 - rule["strength"]))
        by_name[rule["is"]] = Sign(strength, f"{own.words}, {times}")
    return by_name, ""


def _when(candidate: Candidate) -> dict[str, float]:
    """Place in the study by acquisition time and by series number (a tag, or what a name begins with)."""
    places: dict[str, float] = {}
    if (time := number(candidate.tags, "AcquisitionTime")) is not None:
        places["time"] = time
    series = number(candidate.tags, "SeriesNumber")
    if series is None and (numbered := _SERIES_NUMBER.match(candidate.name)):
        series = float(numbered.group(1))
    if series is not None:
        places["series"] = series
    return places


def _grid_preference(geometry: Geometry | None) -> float:
    """Thin slices before thick ones, among thick ones axial before others; few slices last."""
    if geometry is None:
        return 0.0
    spacing = np.asarray(geometry.spacing_mm)
    if min(geometry.shape) < _FEWEST_SLICES:
        return -0.08
    if spacing.max() <= _THICK:
        return 0.04
    across = geometry.direction[:, int(spacing.argmax())]
    return 0.03 if int(np.abs(across).argmax()) == _AXIAL else -0.03


def _origin_preference(tags: Mapping[str, Any]) -> float:
    values = tag(tags, "ImageType").upper().split("\\")
    return -0.05 if {"DERIVED", "MPR", "REFORMATTED"} & set(values) else 0.0


def _groups(candidates: Sequence[Candidate], readings: Sequence[Reading]) -> list[str]:
    """Study of each volume: by DICOM, else by an identifier with which the names of several begin.

    An identifier is a beginning with a digit that the names of different sequences share; a beginning that
    looks like it (digits aside) is then the identifier of another study.
    """
    beginnings = [" ".join(reading.words[: reading.begins]) for reading in readings]
    sequences: dict[str, set[object]] = defaultdict(set)
    for beginning, reading in zip(beginnings, readings, strict=True):
        if any(map(str.isdigit, beginning)) and reading.weightings and not reading.unusable:
            sequences[beginning].add((*reading.weightings, *reading.contrast))
    identifiers = {_DIGITS.sub("#", beginning) for beginning, found in sequences.items() if len(found) > 1}
    groups = []
    for candidate, beginning in zip(candidates, beginnings, strict=True):
        by_dicom = tag(candidate.tags, "StudyInstanceUID") or tag(candidate.tags, "PatientID")
        groups.append(by_dicom or (beginning if _DIGITS.sub("#", beginning) in identifiers else ""))
    return groups


def _by_group(groups: Iterable[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return members


def _without_shared_beginning(readings: Mapping[int, Reading]) -> dict[int, Reading]:
    """Readings without the words with which all names begin: a patient, study or visit that is called like a sequence.

    Only where each name goes on to say a sequence of its own and they say different ones. A weighting at the
    beginning must be contradicted by one of the names (``T1_T1w, T1_T2w``), else it may be meant (``T1 MPRAGE,
    T1 FLAIR``). Contrast at the beginning, if no name goes on to speak of it, may be the study's or be meant.
    """
    named = {index: reading for index, reading in readings.items() if reading.weightings and not reading.unusable}
    shared = os.path.commonprefix([reading.words for reading in named.values()]) if len(named) > 1 else ()
    for length in range(len(shared), 0, -1):
        beginning = read_words(shared[:length])
        rest = {index: read_words(reading.words[length:]) for index, reading in named.items()}
        said = [weighting for reading in rest.values() for weighting in reading.weightings]
        contradicted = ("t1" in said and "t2" in said) or not beginning.weightings
        if len(set(said)) < 2 or not contradicted or not all(reading.weightings for reading in rest.values()):
            continue
        doubtful = {}
        if WITH in beginning.contrast and not any(reading.contrast for reading in rest.values()):
            doubtful = {WITH: Sign(0.5, beginning.contrast[WITH].words)}
        return {
            index: replace(reading, words=named[index].words, contrast=reading.contrast or doubtful)
            for index, reading in rest.items()
        }
    return {}


def _with_numbers(readings: Sequence[Reading]) -> list[Reading]:
    """Readings completed for sequences that are told only by a number at the end (nnU-Net's _0000 to _0003)."""
    cases: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, reading in enumerate(readings):
        if not reading.weightings and not reading.unusable and re.fullmatch(r"\d{4}", (reading.words or ("",))[-1]):
            cases[reading.words[:-1]].append(index)
    completed = list(readings)
    for case, members in cases.items():
        rule = next(rule for rule in vocabulary()["numbered"] if re.search(rule["case"], "_".join(case)))
        slots = dict(zip((f"{place:04}" for place in range(len(rule["order"]))), rule["order"], strict=True))
        places = [readings[index].words[-1] for index in members]
        if len(members) < 2 or not set(places) <= set(slots):
            continue
        for index, place in zip(members, places, strict=True):
            sign, enhanced = Sign(rule["strength"], place), slots[place] == "t1c"
            completed[index] = replace(
                readings[index],
                weightings={"t1" if enhanced else slots[place]: sign},
                contrast={WITH if enhanced else WITHOUT: Sign(1.0, place)},
                begins=len(case),
            )
    return completed
