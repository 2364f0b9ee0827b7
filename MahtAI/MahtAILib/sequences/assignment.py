"""Which of the loaded volumes is T1c, T1, T2 and FLAIR; better an empty slot than a wrong one.

>>> found = assign([Candidate("v1", "AX T1 POST"), Candidate("v2", "AX FLAIR"), Candidate("v3", "ADC")])
>>> found.keys
{'t1c': 'v1', 'flair': 'v2'}
>>> found.slots["t1c"].reason
'name contains “t1”; “post” means after contrast'
>>> found.unusable["v3"]
'its name says that it is a diffusion image'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from MahtAILib.sequences.contrast import enhancement, place
from MahtAILib.sequences.evidence import Candidate, Evidence, alike, gather
from MahtAILib.sequences.words import WITH

__all__ = ["LEAST_CONFIDENCE", "SHORT_NAMES", "SLOTS", "Assignment", "Candidate", "Choice", "assign"]

SLOTS = ("t1c", "t1", "t2", "flair")
SHORT_NAMES = {"t1c": "T1c", "t1": "T1", "t2": "T2", "flair": "FLAIR"}

LEAST_CONFIDENCE = 0.5
"""Below this a slot stays empty."""

_WORTH_A_WORD = 0.25
"""From here on a volume is named to the reader where its slot stays empty."""
_COMPARED = 6
"""Volumes a slot that are compared in all combinations."""
_SAME_GRID = 0.01
_SAME_NAME = 0.02
_LATER = 0.002
"""For each series before it: of two T1 after contrast the later one has taken up more."""


@dataclass(frozen=True)
class Choice:
    """The volume of a slot.

    Attributes:
        key: of the candidate.
        confidence: 0 to 1.
        reason: why this one, in plain words.
    """

    key: str
    confidence: float
    reason: str


@dataclass(frozen=True)
class Assignment:
    """The slots of a study.

    Attributes:
        slots: slot → its volume, for the slots that are filled.
        empty: slot → why it is not, for the others.
        unusable: key → why this volume is none of the four sequences.
        notes: what the reader should know, such as that a second study is loaded.
    """

    slots: Mapping[str, Choice]
    empty: Mapping[str, str]
    unusable: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> dict[str, str]:
        """Slot → key, of the filled slots."""
        return {slot: choice.key for slot, choice in self.slots.items()}


@dataclass(frozen=True, eq=False)
class _Score:
    """How well a volume fits a slot, and how much it is preferred among those that fit as well."""

    found: Evidence
    confidence: float
    preference: float
    reason: str

    @property
    def worth(self) -> float:
        return self.confidence + self.preference


def assign(candidates: Iterable[Candidate]) -> Assignment:
    """Find the four sequences among the loaded volumes, all of one study, none in two slots."""
    evidence = gather(list(candidates))
    studies = list(dict.fromkeys(found.group for found in evidence if found.group and not found.unusable)) or [""]
    most, chosen, scores = -1.0, dict[str, _Score](), dict[str, list[_Score]]()
    for study in studies:
        these = _scores([found for found in evidence if found.group in ("", study)])
        together = _best_together(these)
        worth = _worth(together)
        if worth >= most:  # of equally good studies the one that was loaded last
            most, chosen, scores = worth, together, these
    slots = {
        slot: Choice(score.found.candidate.key, round(score.confidence, 2), score.reason)
        for slot, score in chosen.items()
    }
    empty = {slot: _why_empty(slot, chosen, scores[slot]) for slot in SLOTS if slot not in chosen}
    unusable = {found.candidate.key: found.unusable for found in evidence if found.unusable}
    notes = []
    if len(studies) > 1:
        notes.append(f"Volumes of {len(studies)} examinations are loaded; the slots hold those of one of them.")
    return Assignment(slots, empty, unusable, tuple(notes))


def _scores(members: Sequence[Evidence]) -> dict[str, list[_Score]]:
    """Slot → volumes that may be meant, best first."""
    scores: dict[str, list[_Score]] = {slot: [] for slot in SLOTS}
    usable = [found for found in members if not found.unusable]
    for found in usable:
        marked = -0.01 if WITH in found.contrast else 0.0
        for weighting in ("t2", "flair"):
            if sign := found.weightings.get(weighting):
                scores[weighting].append(_Score(found, sign.strength, found.preference + marked, sign.words))
        if sign := found.weightings.get("t1"):
            enhanced = enhancement(found, members)
            after, before = sign.strength * enhanced.strength, sign.strength * (1 - enhanced.strength)
            later = _LATER * sum(place(found, [other]) > 0 for other in usable)
            reason = f"{sign.words}; {enhanced.words}"
            scores["t1c"].append(_Score(found, after, found.preference + later, reason))
            scores["t1"].append(_Score(found, before, found.preference, reason))
    return {slot: sorted(found, key=lambda score: score.worth, reverse=True) for slot, found in scores.items()}


def _best_together(scores: Mapping[str, Sequence[_Score]]) -> dict[str, _Score]:
    """Slot → volume, so that all slots together are filled best and no volume is in two."""
    offers = [
        [None, *[score for score in scores[slot] if score.confidence >= LEAST_CONFIDENCE][:_COMPARED]] for slot in SLOTS
    ]
    best: dict[str, _Score] = {}
    for combination in product(*offers):
        chosen = {slot: score for slot, score in zip(SLOTS, combination, strict=True) if score}
        different = len({score.found.candidate.key for score in chosen.values()}) == len(chosen)
        if different and _worth(chosen) > _worth(best):
            best = chosen
    return best


def _worth(chosen: Mapping[str, _Score]) -> float:
    """What a whole study is worth: volumes on one grid and of like names belong together."""
    pairs = combinations((score.found for score in chosen.values()), 2)
    return sum(score.worth for score in chosen.values()) + sum(_kinship(*pair) for pair in pairs)


def _kinship(one: Evidence, other: Evidence) -> float:
    grids = one.candidate.geometry, other.candidate.geometry
    same_grid = grids[0] is not None and grids[1] is not None and grids[0].same_grid(grids[1])
    return _SAME_NAME * alike(one, other) + _SAME_GRID * same_grid


def _why_empty(slot: str, chosen: Mapping[str, _Score], scores: Sequence[_Score]) -> str:
    """A sentence about the best volume that the slot did not get."""
    likely = [score for score in scores if score.confidence >= _WORTH_A_WORD]
    if not likely:
        return f"No volume looks like {SHORT_NAMES[slot]}."
    name, key = likely[0].found.candidate.name, likely[0].found.candidate.key
    where = next((other for other, score in chosen.items() if score.found.candidate.key == key), None)
    but = f"is rather {SHORT_NAMES[where]}" if where else "that is not certain enough"
    return f"“{name}” might be it, but {but}: {likely[0].reason}."
