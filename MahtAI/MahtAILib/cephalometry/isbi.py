"""The eight classes of the ISBI 2015 challenge, as its readers and models are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from MahtAILib.cephalometry.analyses import shipped_analyses
from MahtAILib.cephalometry.classes import class_of
from MahtAILib.cephalometry.evaluation import evaluate


@dataclass(frozen=True)
class IsbiClass:
    """One of the eight measurements and the class that its value falls into.

    Attributes:
        id: of the measurement, such as ``isbi.anb``.
        published_as: the challenge's name for it: ANB, SNB, SNA, ODI, APDI, FHI, FMA, MW.
        name: what it really is.
        value: None where a point or the calibration is lacking.
        number: the challenge's number of the class, 1 is normal, 0 is what the challenge leaves unspecified; None
            without a value.
        label: the name of the class; None without a value.
    """

    id: str
    published_as: str
    name: str
    value: float | None
    number: int | None
    label: str | None


def isbi_classes(points: Mapping[str, ArrayLike], mm_per_unit: float | None = None) -> tuple[IsbiClass, ...]:
    """The eight classes in the challenge's order: ANB, SNB, SNA, ODI, APDI, FHI, FMA, MW.

    Args:
        points: as ``evaluate`` takes them.
        mm_per_unit: true millimetres in a unit; without it MW has no value.
    """
    challenge = next(analysis for analysis in shipped_analyses() if analysis.id == "isbi")
    rows = []
    for result in evaluate(points, mm_per_unit=mm_per_unit, analyses=(challenge,)).results:
        measured = result.measurement
        own = None if result.value is None else class_of(result.value, measured.classes)
        number, label = (own.number, own.name) if own else (None, None)
        rows.append(IsbiClass(measured.id, measured.published_as, measured.name, result.value, number, label))
    return tuple(rows)
