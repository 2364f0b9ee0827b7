"""Named ranges of a measurement's values: read from a file or made from a norm; which of them an interval meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MahtAILib.cephalometry.measurements import Measurement, MeasurementClass, Norm

_EXACT_DIGITS = 9
"""A value that lies on a limit but for rounding errors lies on it."""


def read_classes(documents: Sequence[Mapping[str, Any]], where: str = "") -> tuple[MeasurementClass, ...]:
    """The classes of a measurement's file, the lowest first.

    Raises:
        ValueError: they overlap or leave values without a class.
    """
    classes = sorted((_read_class(one, where) for one in documents), key=_first_value)
    if classes and (classes[0].low is not None or classes[-1].high is not None):
        raise ValueError(f"{where}the lowest class must have no lower limit and the highest no upper one.")
    for lower, upper in zip(classes, classes[1:], strict=False):
        if lower.high is None or lower.high != upper.low or lower.high_included == upper.low_included:
            raise ValueError(f"{where}the classes “{lower.name}” and “{upper.name}” overlap or leave a gap.")
    return tuple(classes)


def classes_for(measurement: Measurement, norm: Norm | None) -> tuple[MeasurementClass, ...]:
    """The measurement's own classes, else three that the norm's range makes; none where there is no range."""
    if measurement.classes or norm is None or norm.low is None or norm.high is None:
        return measurement.classes
    below, within, above = measurement.words
    return (
        MeasurementClass(below, None, norm.low, high_included=False),
        MeasurementClass(within, norm.low, norm.high, normal=True),
        MeasurementClass(above, norm.high, None, low_included=False),
    )


def class_of(value: float, classes: Sequence[MeasurementClass]) -> MeasurementClass | None:
    """The class that a value falls into; None without classes."""
    rounded = round(value, _EXACT_DIGITS)
    return next((one for one in classes if one.holds(rounded)), None)


def classes_met(low: float, high: float, classes: Sequence[MeasurementClass]) -> tuple[MeasurementClass, ...]:
    """The classes that an interval reaches into, the lowest first."""
    low, high = round(low, _EXACT_DIGITS), round(high, _EXACT_DIGITS)
    return tuple(
        one
        for one in classes
        if (one.low is None or one.low < high or one.holds(high))
        and (one.high is None or one.high > low or one.holds(low))
    )


def _read_class(document: Mapping[str, Any], where: str) -> MeasurementClass:
    name = document["name"]
    if {"from", "above"} <= document.keys() or {"to", "below"} <= document.keys():
        raise ValueError(f"{where}the class “{name}” has two lower or two upper limits.")
    low, high = document.get("from", document.get("above")), document.get("to", document.get("below"))
    if low is not None and high is not None and (low > high or (low == high and not {"from", "to"} <= document.keys())):
        raise ValueError(f"{where}the class “{name}” holds no value.")
    return MeasurementClass(
        name,
        low,
        high,
        low_included="above" not in document,
        high_included="below" not in document,
        number=document.get("number"),
        normal=document.get("normal", False),
    )


def _first_value(one: MeasurementClass) -> tuple[float, bool]:
    return (float("-inf") if one.low is None else one.low, not one.low_included)
