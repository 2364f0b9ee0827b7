"""All measurements of one set of points, each with its interval, its class and the reason where there is no value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from MahtAILib.cephalometry.analyses import shipped_analyses
from MahtAILib.cephalometry.classes import class_of, classes_for, classes_met
from MahtAILib.cephalometry.intervals import values_and_half_widths
from MahtAILib.cephalometry.landmarks import landmark
from MahtAILib.cephalometry.measurements import Analysis, Measurement, MeasurementClass, Norm, Sex
from MahtAILib.cephalometry.orientation import Facing, Orientation, orientation_of
from MahtAILib.cephalometry.positions import (
    LARGEST,
    clean_points,
    clean_positive,
    same_spot,
    shortest_direction,
    size_of,
)
from MahtAILib.cephalometry.program import Program
from MahtAILib.cephalometry.results import Evaluation, Result


def evaluate(
    points: Mapping[str, ArrayLike],
    radii: Mapping[str, float] | None = None,
    mm_per_unit: float | None = None,
    analyses: Sequence[Analysis] | None = None,
    *,
    facing: Facing | None = None,
    sex: Sex | None = None,
    age_years: float | None = None,
) -> Evaluation:
    """Measure everything that the points allow; never raises because of a point.

    Args:
        points: landmark id → (x, y) in units, y down, as shown. A point that is None, not two numbers or not finite
            counts as missing.
        radii: landmark id → radius of its 90 % circle in units. A value has an interval when each of its points has
            one; 0 says that the point is exact.
        mm_per_unit: true millimetres in a unit; None where the image is not calibrated.
        analyses: None for all shipped ones.
        facing: where the face looks; found from the points if None.
        sex: chooses among norms.
        age_years: moves norms that depend on the age.
    """
    positions = clean_points(points)
    calibration = clean_positive(mm_per_unit)
    prepared = _prepared(tuple(shipped_analyses() if analyses is None else analyses))
    size = size_of(positions)
    orientation = orientation_of(positions, facing)
    known = {one: radius for one, radius in _clean_radii(radii).items() if one in positions}
    values, halves = values_and_half_widths(
        prepared.program, positions, known, orientation, shortest_direction(size) if size else math.inf
    )
    state = _State(
        positions, known, calibration, orientation, prepared.coincident(positions, same_spot(size)), sex, age_years
    )
    results = tuple(
        _result(measurement, value, half, state)
        for measurement, value, half in zip(prepared.measurements, values.tolist(), halves.tolist(), strict=True)
    )
    return Evaluation(results, orientation.facing, calibration, tuple(_notes(state, size, mm_per_unit)))


class _Prepared:
    """The measurements of some analyses, ready to be computed together."""

    def __init__(self, analyses: Iterable[Analysis]) -> None:
        self.measurements = tuple(one for analysis in analyses for one in analysis.measurements)
        self.program = Program([measurement.formula for measurement in self.measurements])
        needed = {pair for one in self.measurements for pair in combinations(sorted(one.points), 2)}
        self._apart = [pair for pair in sorted(needed) if not _may_touch(*pair)]

    def coincident(self, points: Mapping[str, complex], tolerance: float) -> list[tuple[str, str]]:
        """Pairs of landmarks that lie on one spot, though no two of them do in a head."""
        pairs = [pair for pair in self._apart if pair[0] in points and pair[1] in points]
        gaps = np.abs(
            np.array([points[first] for first, _ in pairs]) - np.array([points[second] for _, second in pairs])
        )
        return [pairs[place] for place in np.flatnonzero(gaps <= tolerance)]


@lru_cache(maxsize=16)
def _prepared(analyses: tuple[Analysis, ...]) -> _Prepared:
    return _Prepared(analyses)


def _may_touch(first: str, second: str) -> bool:
    """Teeth of the two jaws meet."""
    kinds = [one.kind for one in (landmark(first), landmark(second)) if one]
    return kinds == ["tooth", "tooth"]


@dataclass(frozen=True, eq=False)
class _State:
    """What the results of one evaluation have in common."""

    positions: Mapping[str, complex]
    radii: Mapping[str, float]
    mm_per_unit: float | None
    orientation: Orientation
    coincident: Sequence[tuple[str, str]]
    sex: Sex | None
    age_years: float | None


def _result(measurement: Measurement, value: float, half: float, state: _State) -> Result:
    """One result, from the value in units and half the width of its interval; NaN for none."""
    norm, classes = _judged_by(measurement, state.sex, state.age_years)
    missing = tuple(point for point in measurement.points if point not in state.positions)
    uncalibrated = measurement.unit == "mm" and state.mm_per_unit is None
    why_not = _why_not(measurement, value, missing, uncalibrated, state)
    if why_not:
        return Result(measurement, None, None, None, missing, uncalibrated, norm, None, None, False, (), why_not)
    scale = state.mm_per_unit if measurement.unit == "mm" and state.mm_per_unit else 1.0
    value *= scale
    low, high = _interval(measurement, value, half * scale, state)
    own = class_of(value, classes)
    met = classes_met(low, high, classes) if low is not None and high is not None else ((own,) if own else ())
    others = [one.name for one in met if one is not own]
    deviation = None
    if norm is not None and norm.mean is not None and norm.sd is not None:
        deviation = (value - norm.mean) / norm.sd
    return Result(
        measurement,
        value,
        low,
        high,
        (),
        False,
        norm,
        deviation,
        own.name if own else None,
        bool(others),
        tuple(one.name for one in met),
        _remarks(others, norm, state),
    )


@lru_cache(maxsize=4096)
def _judged_by(
    measurement: Measurement, sex: Sex | None, age_years: float | None
) -> tuple[Norm | None, tuple[MeasurementClass, ...]]:
    norm = measurement.norm_for(sex, age_years)
    return norm, classes_for(measurement, norm)


def _why_not(
    measurement: Measurement, value: float, missing: tuple[str, ...], uncalibrated: bool, state: _State
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
    if measurement.formula.needs_handedness and not state.orientation.handedness:
        return "The points do not tell which way the face looks."
    if measurement.formula.needs_forward and not state.orientation.forward:
        return "The head is turned too far in the image for what is measured along the image's own axis."
    return f"{_listed(points)} lie so close together that they give no direction."


def _interval(measurement: Measurement, value: float, half: float, state: _State) -> tuple[float | None, float | None]:
    """The 90 % interval; none where a point's radius is not known."""
    if math.isnan(half) or not all(point in state.radii for point in measurement.points):
        return None, None
    low = value - half
    return (low if measurement.sign else max(low, 0.0)), value + half


def _remarks(others: Sequence[str], norm: Norm | None, state: _State) -> str:
    """What to know about a value; mostly nothing."""
    remarks = []
    if others:
        remarks.append(f"Borderline: the interval reaches into {_listed(f'“{name}”' for name in others)}.")
    if norm is not None and norm.sex != "any" and state.sex is None:
        remarks.append(f"Compared with the norm of {'women' if norm.sex == 'female' else 'men'}; give the sex.")
    if norm is not None and norm.per_year and state.age_years is None:
        remarks.append(f"Compared with the norm at {norm.age_years:g} years; give the age.")
    return " ".join(remarks)


def _notes(state: _State, size: float, mm_per_unit: float | None) -> Iterable[str]:
    if state.mm_per_unit is None:
        if mm_per_unit is not None:
            yield "The calibration is no positive number and is not used."
        yield "The image is not calibrated: angles and ratios only."
    if not state.positions:
        yield "There is no point."
    elif not size:
        yield "All points lie on one spot."
    elif not state.orientation.handedness:
        yield "The points do not tell which way the face looks."


def _clean_radii(radii: Mapping[str, float] | None) -> dict[str, float]:
    cleaned = {}
    for one, radius in (radii or {}).items():
        try:
            number = float(radius)
        except (TypeError, ValueError):
            continue
        if 0 <= number < LARGEST:
            cleaned[one] = number
    return cleaned


def _name(landmark_id: str) -> str:
    found = landmark(landmark_id)
    if not found:
        return landmark_id
    name = found.name if found.name[1:2] in (" ", "") else found.name[0].lower() + found.name[1:]
    return f"{landmark_id} ({name})"


def _listed(words: Iterable[str]) -> str:
    """Such as ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
