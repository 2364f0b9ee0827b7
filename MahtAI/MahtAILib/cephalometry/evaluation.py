"""All measurements of one set of points, each with its interval, its class and the reason where there is no value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from MahtAILib.cephalometry.analyses import shipped_analyses
from MahtAILib.cephalometry.classes import class_of, classes_for, classes_met
from MahtAILib.cephalometry.formula import Formula
from MahtAILib.cephalometry.intervals import values_and_half_widths
from MahtAILib.cephalometry.landmarks import landmark
from MahtAILib.cephalometry.measurements import Analysis, Measurement, MeasurementClass, Norm, Sex
from MahtAILib.cephalometry.orientation import Facing, orientation_of
from MahtAILib.cephalometry.positions import (
    LARGEST,
    clean_points,
    clean_positive,
    same_spot,
    shortest_direction,
    size_of,
)
from MahtAILib.cephalometry.program import Program
from MahtAILib.cephalometry.remarks import Circumstances, notes, remarks, why_not
from MahtAILib.cephalometry.results import Evaluation, Result

OLDEST_YEARS = 120.0
"""An age above this is a typing error."""


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
        sex: chooses among norms; without it the classes by either sex's norm are possible.
        age_years: moves norms that depend on the age; one that no patient has counts as not known.
    """
    positions = clean_points(points)
    calibration = clean_positive(mm_per_unit)
    judged = tuple(shipped_analyses() if analyses is None else analyses)
    prepared = _prepared(judged)
    size = size_of(positions)
    shortest = shortest_direction(size) if size else math.inf
    orientation = orientation_of(positions, facing)
    known = {one: radius for one, radius in _clean_radii(radii).items() if one in positions}
    values, halves = values_and_half_widths(
        prepared.program, positions, known, orientation, shortest, prepared.magnitudes
    )
    state = Circumstances(
        positions,
        known,
        calibration,
        orientation,
        prepared.coincident(positions, same_spot(size)),
        shortest,
        sex if sex in ("female", "male") else None,
        _clean_age(age_years),
    )
    estimates = list(zip(values.tolist(), halves.tolist(), strict=True))
    results = tuple(
        _result(measurement, [estimates[row] for row in rows], state)
        for measurement, rows in zip(prepared.measurements, prepared.rows, strict=True)
    )
    told = notes(state, size, calibration_given=mm_per_unit is not None, age_given=age_years is not None)
    return Evaluation(results, orientation.facing, calibration, tuple(told), judged)


class _Prepared:
    """The measurements of some analyses, ready to be computed together.

    Attributes:
        measurements: in their order.
        program: computes their formulas, and behind them the parts of those that are written as a sign and a size.
        rows: of each measurement, where the program's values have its own, then those of its sign and its size.
        magnitudes: rows of the sizes.
    """

    def __init__(self, analyses: Iterable[Analysis]) -> None:
        self.measurements = tuple(one for analysis in analyses for one in analysis.measurements)
        formulas: list[Formula] = [measurement.formula for measurement in self.measurements]
        self.rows: list[tuple[int, ...]] = []
        for row, measurement in enumerate(self.measurements):
            parts = measurement.formula.sign_and_magnitude or ()
            self.rows.append((row, *range(len(formulas), len(formulas) + len(parts))))
            formulas += parts
        self.magnitudes = tuple(rows[2] for rows in self.rows if len(rows) > 1)
        self.program = Program(formulas)
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
    return kinds == ["tooth", "tooth"] and first[0] != second[0]


def _result(measurement: Measurement, estimates: Sequence[tuple[float, float]], state: Circumstances) -> Result:
    """One result, from values in units with half the width of their intervals; NaN for none.

    Args:
        estimates: of the measurement itself, then of its sign and its size, where it is written as these.
    """
    judged_by = _judged_by(measurement, state.sex, state.age_years)
    norm, classes = judged_by[0]
    value = estimates[0][0]
    missing = tuple(point for point in measurement.points if point not in state.positions)
    uncalibrated = measurement.unit == "mm" and state.mm_per_unit is None
    reason = why_not(measurement, value, missing, uncalibrated, state)
    if reason:
        return Result(measurement, None, None, None, missing, uncalibrated, norm, None, None, False, (), reason)
    scale = state.mm_per_unit if measurement.unit == "mm" and state.mm_per_unit else 1.0
    value *= scale
    pieces = [(low * scale, high * scale) for low, high in _intervals(measurement, estimates, state)]
    own = class_of(value, classes)
    reached = {one.name for low, high in pieces for one in classes_met(low, high, classes)}
    by_other_norms = {
        one.name
        for _, others in judged_by[1:]
        for low, high in (pieces or [(value, value)])
        for one in classes_met(low, high, others)
    }
    possible = {*reached, *by_other_norms, *([own.name] if own else [])}
    deviation = None
    if norm is not None and norm.compared and norm.mean is not None and norm.sd is not None:
        deviation = (value - norm.mean) / norm.sd
    named = [one.name for one in classes if one.name in possible]
    return Result(
        measurement,
        value,
        min(low for low, _ in pieces) if pieces else None,
        max(high for _, high in pieces) if pieces else None,
        (),
        False,
        norm,
        deviation,
        own.name if own else None,
        len(named) > 1,
        tuple(named),
        remarks(
            measurement,
            norm,
            [one for one in named if own and one != own.name and one in reached],
            [one for one in named if own and one != own.name and one not in reached],
            state,
        ),
    )


@lru_cache(maxsize=4096)
def _judged_by(
    measurement: Measurement, sex: Sex | None, age_years: float | None
) -> tuple[tuple[Norm | None, tuple[MeasurementClass, ...]], ...]:
    """The norm and its classes; behind it that of the other sex, where the sex is not known and they differ."""
    norms = measurement.norms_for(sex, age_years) or (None,)
    return tuple((norm, classes_for(measurement, norm)) for norm in norms)


def _intervals(
    measurement: Measurement, estimates: Sequence[tuple[float, float]], state: Circumstances
) -> list[tuple[float, float]]:
    """The 90 % interval in units; two where the sign is uncertain and the size is not.

    None where a point's radius is not known.
    """
    if not all(point in state.radii for point in measurement.points):
        return []
    if not all(math.isfinite(half) for _, half in estimates):
        return []
    value, half = estimates[0]
    if len(estimates) == 1:
        low = value - half
        return [(max(low, 0.0) if measurement.formula.cannot_be_negative else low, value + half)]
    (side, side_half), (size, size_half) = estimates[1:]
    low, high = max(size - size_half, 0.0), size + size_half
    if side_half and abs(side) <= side_half:
        return [(-high, -low), (low, high)]
    if not value:
        return [(0.0, 0.0)]
    return [(low, high)] if value > 0 else [(-high, -low)]


def _clean_age(years: float | None) -> float | None:
    """An age that a patient can have, or None."""
    age = clean_positive(years)
    return age if age is not None and age <= OLDEST_YEARS else None


def _clean_radii(radii: Mapping[str, float] | None) -> dict[str, float]:
    cleaned = {}
    for one, radius in (radii or {}).items():
        try:
            number = float(radius)
        except (TypeError, ValueError, OverflowError):
            continue
        if 0 <= number < LARGEST:
            cleaned[one] = number
    return cleaned
