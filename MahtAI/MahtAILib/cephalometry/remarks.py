"""What is said about a value in plain words: why there is none, and what to know about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from MahtAILib.cephalometry.formula import Call, Mid, Point
from MahtAILib.cephalometry.landmarks import landmark
from MahtAILib.cephalometry.measurements import Measurement, Norm, Sex
from MahtAILib.cephalometry.orientation import Orientation


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What the results of one evaluation have in common.

    Attributes:
        positions: landmark id → x + iy in units.
        radii: landmark id → radius of the 90 % circle in units.
        mm_per_unit: None where the image is not calibrated.
        orientation: of the head.
        coincident: pairs of landmarks that lie on one spot.
        shortest: what is shorter than this, in units, has no direction.
        sex: None where it is not known.
        age_years: likewise.
    """

    positions: Mapping[str, complex]
    radii: Mapping[str, float]
    mm_per_unit: float | None
    orientation: Orientation
    coincident: Sequence[tuple[str, str]]
    shortest: float
    sex: Sex | None
    age_years: float | None


def why_not(
    measurement: Measurement, value: float, missing: Sequence[str], uncalibrated: bool, state: Circumstances
) -> str:
    """Why there is no value, in plain words; empty where there is one."""
    if missing:
        return f"Needs {_listed(map(_name, missing))}."
    if uncalibrated:
        return "Needs a calibrated image."
    points = measurement.points
    for first, second in state.coincident:
        if first in points and second in points:
            return f"{first} and {second} lie on one spot."
    if not math.isnan(value):
        return ""
    for start, end in _directions(measurement):
        if abs(_at(end, state.positions) - _at(start, state.positions)) <= state.shortest:
            return f"{_words(start)} and {_words(end)} lie so close together that they give no direction."
    formula = measurement.formula
    if (formula.needs_handedness or formula.needs_forward) and not state.orientation.handedness:
        return "The points do not tell which way the face looks."
    if formula.needs_forward and not state.orientation.forward:
        return "The head is turned too far in the image for what is measured along the image's own axis."
    return f"{_listed(points)} lie so that it cannot be computed."


def remarks(
    measurement: Measurement,
    norm: Norm | None,
    reached: Sequence[str],
    by_other_sex: Sequence[str],
    state: Circumstances,
) -> str:
    """What to know about a value; mostly nothing.

    Args:
        measurement: whose value.
        norm: that it is compared with.
        reached: other classes that its interval reaches into.
        by_other_sex: classes that only the norm of the other sex makes possible.
        state: of the evaluation.
    """
    said = []
    if reached:
        said.append(f"Borderline: the interval reaches into {_listed(f'“{name}”' for name in reached)}.")
    if norm is not None:
        said += _norm_remarks(norm, by_other_sex, state)
    if measurement.remark:
        said.append(measurement.remark)
    return " ".join(said)


def _norm_remarks(norm: Norm, by_other_sex: Sequence[str], state: Circumstances) -> Iterator[str]:
    if norm.sex != "any" and state.sex is None:
        own, other = ("women", "men") if norm.sex == "female" else ("men", "women")
        yield f"Compared with the norm of {own}; give the sex."
        if by_other_sex:
            yield f"By the norm of {other} it may be {_listed(f'“{name}”' for name in by_other_sex)}."
    if norm.per_year and state.age_years is None:
        yield f"Compared with the norm at {norm.age_years:g} years; give the age."
    if state.age_years is not None and not norm.holds_at(state.age_years):
        yield f"The norm is not meant for this age, but for {norm.ages_text}."
    if norm.remark:
        yield norm.remark


def notes(state: Circumstances, size: float, *, calibration_given: bool, age_given: bool) -> Iterator[str]:
    """What holds for a whole evaluation.

    Args:
        state: of the evaluation.
        size: of the head, in units; 0 if all points lie on one spot.
        calibration_given: whether a calibration came in, usable or not.
        age_given: likewise an age.
    """
    if state.mm_per_unit is None:
        if calibration_given:
            yield "The calibration is no positive number and is not used."
        yield "The image is not calibrated: angles and ratios only."
    if age_given and state.age_years is None:
        yield "The age is none that a patient has and is not used."
    if not state.positions:
        yield "There is no point."
    elif len(state.positions) == 1:
        yield "There is only one point."
    elif not size:
        yield "All points lie on one spot."
    elif not state.orientation.handedness:
        yield "The points do not tell which way the face looks."


def _directions(measurement: Measurement) -> Iterator[tuple[Point, Point]]:
    """The pairs of points whose direction from one to the other is needed."""
    for call in measurement.formula.calls:
        yield from _directions_of(call)


def _directions_of(call: Call) -> Iterator[tuple[Point, Point]]:
    points = call.points
    if call.name == "angle":
        yield points[1], points[0]
        yield points[1], points[2]
    elif call.name in ("lines", "turn"):
        yield points[0], points[1]
        yield points[2], points[3]
    elif call.name in ("offset", "along"):
        yield points[-2], points[-1]


def _at(point: Point, positions: Mapping[str, complex]) -> complex:
    if isinstance(point, Mid):
        return (_at(point.first, positions) + _at(point.second, positions)) / 2
    return positions[point]


def _words(point: Point) -> str:
    return f"the middle of {_words(point.first)} and {_words(point.second)}" if isinstance(point, Mid) else point


def _name(landmark_id: str) -> str:
    """Such as ``A (subspinale)``."""
    found = landmark(landmark_id)
    if not found:
        return landmark_id
    name = found.name.partition(" (")[0]
    return f"{landmark_id} ({name if name[1:2] in (' ', '') else name[0].lower() + name[1:]})"


def _listed(words: Iterable[str]) -> str:
    """Such as ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
