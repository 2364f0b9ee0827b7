"""Two versions of a case: how they differ part by part, and one version made of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from MahtAILib.client.cases import LabelVersion, case_path, label_of
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError

Side = Literal["first", "second"]


@dataclass(frozen=True)
class Part:
    """A segment or landmark of either version.

    Attributes:
        first_ml, second_ml: volume of a segment; None where that version has no such segment, and for landmarks.
        agreement: Dice of a segment, or distance of a landmark in ``Comparison.unit``; None where one lacks it.
    """

    id: str
    name: str
    first_ml: float | None
    second_ml: float | None
    agreement: float | None


@dataclass(frozen=True)
class Comparison:
    """How ``second`` differs from ``first``.

    Attributes:
        changed: number of voxels that differ, or of landmarks that were moved, added or removed.
        unit: ``mm`` or ``unit`` of distances between landmarks; empty for segmentations.
    """

    first: LabelVersion
    second: LabelVersion
    parts: tuple[Part, ...]
    changed: int
    unit: str = ""


def compare(connection: Connection, case_id: str, first: str, second: str) -> Comparison:
    """Compare two versions of a case, by their ids.

    Raises:
        RequestRefusedError: one is not there, or they are of different kinds.
    """
    query = f"{case_path(case_id)}/labels/{quote(first, safe='')}/comparison?with={quote(second, safe='')}"
    answer = connection.json("GET", query)
    try:
        here, there, change = label_of(answer["first"]), label_of(answer["second"]), answer["change"]
        if here.kind == "landmarks":
            moved = sum(int(change[f"points_{what}"]) for what in ("moved", "added", "removed"))
            return Comparison(here, there, _parts(here, there, "points", change["distance"]), moved, change["unit"])
        return Comparison(here, there, _parts(here, there, "segments", change["dice"]), int(change["voxels_changed"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's comparison of two versions cannot be understood.") from error


def merge(
    connection: Connection,
    case_id: str,
    first: str,
    second: str,
    take: Mapping[str, Side],
    client_key: str,
    comment: str = "",
) -> LabelVersion:
    """Save a version of two others: each part from the one that ``take`` names, else from ``first``, its parent.

    Said twice with one ``client_key`` it is saved once.

    Raises:
        RequestRefusedError: a version or part is not there.
    """
    body = {"first": first, "second": second, "take": dict(take), "comment": comment, "client_key": client_key}
    return label_of(connection.json("POST", f"{case_path(case_id)}/labels/merges", body, retry=True))


def _parts(first: LabelVersion, second: LabelVersion, what: str, agreement: Mapping[str, Any]) -> tuple[Part, ...]:
    here: Mapping[str, Any] = first.document[what]
    there: Mapping[str, Any] = second.document[what]
    return tuple(
        Part(
            one,
            str((here.get(one) or there[one])["name"]),
            _ml(here.get(one)),
            _ml(there.get(one)),
            float(agreement[one]) if one in agreement else None,
        )
        for one in dict.fromkeys([*here, *there])
    )


def _ml(part: Mapping[str, Any] | None) -> float | None:
    return None if part is None or "volume_ml" not in part else float(part["volume_ml"])
