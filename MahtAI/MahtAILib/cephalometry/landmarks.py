"""Landmarks and the sets of them that models and readers place, read from ``landmark_sets.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

LANDMARK_FILE = Path(__file__).with_name("data") / "landmark_sets.json"

Kind = Literal["bone", "tooth", "soft"]


@dataclass(frozen=True)
class Landmark:
    """A point of the head that has a name.

    Attributes:
        id: short name, such as ``S`` or ``Pog'``; the same in all sets.
        number: in its set, from 1.
        name: such as ``Sella``.
        definition: in words, for the reader who places it.
        kind: what it lies on.
    """

    id: str
    number: int
    name: str
    definition: str
    kind: Kind


@dataclass(frozen=True)
class LandmarkSet:
    """The landmarks that belong together, in their order.

    Attributes:
        id: such as ``isbi19``.
        name: for display.
        source: who defined it.
        landmarks: in the order of their numbers.
    """

    id: str
    name: str
    source: str
    landmarks: tuple[Landmark, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The short names, in order."""
        return tuple(landmark.id for landmark in self.landmarks)

    def __getitem__(self, landmark_id: str) -> Landmark:
        """The landmark of this short name.

        Raises:
            KeyError: the set has none of that name.
        """
        for landmark in self.landmarks:
            if landmark.id == landmark_id:
                return landmark
        raise KeyError(landmark_id)


def landmark_set(set_id: str) -> LandmarkSet:
    """A set by its id: ``isbi19`` or ``cldetection38``.

    Raises:
        KeyError: there is no such set.
    """
    return landmark_sets()[set_id]


def landmark(landmark_id: str) -> Landmark | None:
    """The landmark of this short name, from whatever set has it; None for a name that no set has."""
    return _all_landmarks().get(landmark_id)


def known_landmarks() -> frozenset[str]:
    """Short names of the landmarks of all sets."""
    return frozenset(_all_landmarks())


@cache
def landmark_sets() -> Mapping[str, LandmarkSet]:
    """All sets, by their ids."""
    document = json.loads(LANDMARK_FILE.read_text("utf-8"))
    known = document["landmarks"]
    return {
        one["id"]: LandmarkSet(
            one["id"],
            one["name"],
            one["source"],
            tuple(Landmark(id=key, number=number, **known[key]) for number, key in enumerate(one["landmarks"], 1)),
        )
        for one in document["sets"]
    }


@cache
def _all_landmarks() -> Mapping[str, Landmark]:
    return {one.id: one for chosen in landmark_sets().values() for one in chosen.landmarks}
