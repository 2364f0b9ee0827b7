"""Many formulas computed at once: for all of them, and for many slightly moved sets of points, in a few array steps.

Points are complex numbers x + iy in the image's axes (y down), so that an angle is the argument of a quotient.
A point that is not there is NaN; what is computed with it becomes NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from MahtAILib.cephalometry.formula import Call, Formula, Mid, Node, Number, Operation, Point
from MahtAILib.cephalometry.orientation import Orientation

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_ARITHMETIC: dict[str, Callable[..., Real]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "sign": np.sign,
    "abs": np.abs,
}


class Program:
    """Formulas that have been prepared for being computed together.

    Args:
        formulas: what to compute.

    Attributes:
        landmarks: ids of the landmarks that the formulas need; the rows of ``run``'s positions.
    """

    def __init__(self, formulas: Sequence[Formula]) -> None:
        self.landmarks = tuple(dict.fromkeys(point for formula in formulas for point in formula.points))
        self._rows: dict[Point, int] = {landmark: row for row, landmark in enumerate(self.landmarks)}
        self._mids: list[tuple[int, int]] = []
        calls = list(dict.fromkeys(call for formula in formulas for call in formula.calls))
        for call in calls:
            for point in call.points:
                self._row_of(point)
        self._turns = [call for call in calls if call.name in ("angle", "lines", "turn")]
        self._distances = [call for call in calls if call.name == "distance"]
        self._projections = [call for call in calls if call.name in ("offset", "along")]
        self._aheads = [call for call in calls if call.name == "ahead"]
        in_order = [*self._turns, *self._distances, *self._projections, *self._aheads]
        self._value_rows = {call: row for row, call in enumerate(in_order)}
        self._turn_rows = self._gather([_four_points(call) for call in self._turns], 4)
        self._signed = np.array([call.name == "turn" for call in self._turns], bool)
        self._distance_rows = self._gather([call.points for call in self._distances], 2)
        self._projection_rows = self._gather([_projected_points(call) for call in self._projections], 4)
        self._across = np.array([call.name == "offset" for call in self._projections], bool)
        self._ahead_rows = self._gather([call.points for call in self._aheads], 2)
        self._plain = [(row, formula.tree) for row, formula in enumerate(formulas) if isinstance(formula.tree, Call)]
        self._plain_to = np.array([row for row, _ in self._plain], int)
        self._plain_from = np.array([self._value_rows[tree] for _, tree in self._plain if isinstance(tree, Call)], int)
        self._composed = [
            (row, formula.tree) for row, formula in enumerate(formulas) if not isinstance(formula.tree, Call)
        ]
        self._count = len(formulas)

    def run(self, positions: Complex, orientation: Orientation, shortest: float) -> Real:
        """Compute all formulas.

        Args:
            positions: [landmarks, variants]; the first variant is the set itself, the others are it moved slightly.
            orientation: of the set itself.
            shortest: what is shorter than this, in units, has no direction.

        Returns:
            [formulas, variants]; NaN where there is no value. An unsigned angle of a moved set is continued beyond 0
            and 180 rather than folded back, so that differences to the first variant mean something.
        """
        points = self._with_mids(positions)
        with np.errstate(all="ignore"):
            values = np.concatenate(
                [
                    self._compute_turns(points, orientation.handedness, shortest),
                    np.abs(_between(points, self._distance_rows)),
                    self._compute_projections(points, orientation.handedness, shortest),
                    _between(points, self._ahead_rows).real * (orientation.forward or np.nan),
                ]
            )
            results = np.empty((self._count, positions.shape[1]))
            results[self._plain_to] = values[self._plain_from]
            for row, tree in self._composed:
                results[row] = self._value(tree, values)
        results[~np.isfinite(results)] = np.nan
        return results

    def _row_of(self, point: Point) -> int:
        if point not in self._rows:
            assert isinstance(point, Mid)
            pair = (self._row_of(point.first), self._row_of(point.second))
            self._mids.append(pair)
            self._rows[point] = len(self._rows)
        return self._rows[point]

    def _gather(self, points: Sequence[Sequence[Point]], width: int) -> NDArray[np.int64]:
        """[width, calls]: rows of the points."""
        rows = [[self._rows[point] for point in one] for one in points]
        return np.array(rows, np.int64).reshape(-1, width).T

    def _with_mids(self, positions: Complex) -> Complex:
        points = np.empty((len(self._rows), positions.shape[1]), complex)
        points[: len(positions)] = positions
        for row, (first, second) in enumerate(self._mids, len(positions)):
            points[row] = (points[first] + points[second]) / 2
        return points

    def _compute_turns(self, points: Complex, handedness: int, shortest: float) -> Real:
        first = _direction(_between(points, self._turn_rows[:2]), shortest)
        second = _direction(_between(points, self._turn_rows[2:]), shortest)
        turned = np.degrees(np.angle(first.conj() * second))
        itself = turned[:, :1]
        continued = itself + (turned - itself + 180.0) % 360.0 - 180.0
        unsigned = np.where(itself < 0, -1.0, 1.0)
        return continued * np.where(self._signed[:, None], handedness or np.nan, unsigned)

    def _compute_projections(self, points: Complex, handedness: int, shortest: float) -> Real:
        moved = _between(points, self._projection_rows[:2])
        component = _direction(_between(points, self._projection_rows[2:]), shortest).conj() * moved
        return np.where(self._across[:, None], -component.imag * (handedness or np.nan), component.real)

    def _value(self, node: Node, values: Real) -> Real:
        if isinstance(node, Number):
            return np.full(values.shape[1], node.value)
        if isinstance(node, Call):
            return values[self._value_rows[node]]
        assert isinstance(node, Operation)
        return _ARITHMETIC[node.name](*(self._value(value, values) for value in node.values))


def _four_points(call: Call) -> tuple[Point, ...]:
    """The two directions of an angle, as four points."""
    if call.name != "angle":
        return call.points
    first, vertex, second = call.points
    return vertex, first, vertex, second


def _projected_points(call: Call) -> tuple[Point, ...]:
    """From, to, and the two points of the line that it is projected on or stands off from."""
    if call.name == "along":
        return call.points
    point, start, end = call.points
    return start, point, start, end


def _between(points: Complex, rows: NDArray[np.int64]) -> Complex:
    return points[rows[1]] - points[rows[0]]


def _direction(vectors: Complex, shortest: float) -> Complex:
    """Of length 1; NaN where the vector is too short to have a direction."""
    lengths = np.abs(vectors)
    lengths[~(lengths > shortest)] = np.nan
    return vectors / lengths
