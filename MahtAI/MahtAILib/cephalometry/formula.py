"""The language of formulas: what a measurement computes, in words that a person can read and a program can run.

Points are landmark ids, or ``mid(P, Q)`` between two points. Angles are in degrees, lengths in units of the image.

================================  ==================================================================================
``angle(P, V, Q)``                at V between the directions to P and to Q; 0 to 180
``lines(A, B, C, D)``             between the directions A→B and C→D; 0 to 180
``turn(A, B, C, D)``              from the direction A→B to C→D; positive from forward to downward (so clockwise where
                                  the face looks right); -180 to 180
``distance(A, B)``                between two points
``offset(P, A, B)``               of P from the line A→B; positive in front of a line that runs downward and above a
                                  line that runs forward
``along(A, B, C, D)``             from A to B, measured along the direction C→D
``ahead(A, B)``                   from A to B along the image's own x axis; positive forward
``sign(x)``, ``abs(x)``           of a value
``+ - * / ( )``                   arithmetic of values
================================  ==================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

# what each function of points computes: number of points, power of length
POINT_FUNCTIONS = {
    "angle": (3, 0),
    "lines": (4, 0),
    "turn": (4, 0),
    "distance": (2, 1),
    "offset": (3, 1),
    "along": (4, 1),
    "ahead": (2, 1),
}
VALUE_FUNCTIONS = ("sign", "abs")

_UNSIGNED = ("angle", "lines", "distance")
_NEEDS_HANDEDNESS = ("turn", "offset")
_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z][A-Za-z0-9]*'*)|(?P<sign>[-+*/(),]))")


class FormulaError(ValueError):
    """A formula cannot be read; the message says why in plain words."""


@dataclass(frozen=True)
class Mid:
    """The point halfway between two others."""

    first: Point
    second: Point


Point = str | Mid
"""A landmark id, or a point made of others."""


@dataclass(frozen=True)
class Number:
    """A number as it stands."""

    value: float


@dataclass(frozen=True)
class Call:
    """A function of points."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Operation:
    """Arithmetic: ``+``, ``-``, ``*``, ``/`` of two values, ``sign`` or ``abs`` of one."""

    name: str
    values: tuple[Node, ...]


Node = Number | Call | Operation
"""A value."""


@dataclass(frozen=True, eq=False)
class Formula:
    """A formula that has been read.

    Attributes:
        text: as it was written.
        tree: what it computes.
    """

    text: str
    tree: Node

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Its functions of points, in the order in which they stand."""
        return tuple(_calls(self.tree))

    @cached_property
    def points(self) -> tuple[str, ...]:
        """Its landmark ids, in the order in which they first stand."""
        return tuple(dict.fromkeys(one for call in self.calls for point in call.points for one in landmarks_of(point)))

    @cached_property
    def length_power(self) -> int:
        """0 for angles and ratios, 1 for lengths.

        Raises:
            FormulaError: values that cannot be added are added.
        """
        return _length_power(self.tree)

    @cached_property
    def cannot_be_negative(self) -> bool:
        """No points whatever give a value below 0: angles without a sign, distances, and sums and ratios of them."""
        return _cannot_be_negative(self.tree)

    @cached_property
    def sign_and_magnitude(self) -> tuple[Formula, Formula] | None:
        """What its sign is that of, and its size, where it is written as ``sign(x) * y``; else None."""
        if not isinstance(self.tree, Operation) or self.tree.name != "*":
            return None
        sign, magnitude = self.tree.values
        if not isinstance(sign, Operation) or sign.name != "sign" or not _cannot_be_negative(magnitude):
            return None
        return Formula(f"sign of {self.text}", sign.values[0]), Formula(f"size of {self.text}", magnitude)

    @cached_property
    def needs_handedness(self) -> bool:
        """Its value depends on which way the face looks."""
        return any(call.name in _NEEDS_HANDEDNESS for call in self.calls)

    @cached_property
    def needs_forward(self) -> bool:
        """Its value depends on the image's own x axis."""
        return any(call.name == "ahead" for call in self.calls)


def read_formula(text: str) -> Formula:
    """Read a formula.

    >>> read_formula("angle(S, N, A) - angle(S, N, B)").points
    ('S', 'N', 'A', 'B')

    Raises:
        FormulaError: it cannot be read, or adds lengths to angles.
    """
    reader = _Reader(text)
    formula = Formula(text, reader.whole())
    if not formula.points:
        raise FormulaError("it has no landmark")
    _ = formula.length_power
    return formula


def landmarks_of(point: Point) -> Iterator[str]:
    """The landmark ids that a point is made of."""
    if isinstance(point, str):
        yield point
    else:
        yield from landmarks_of(point.first)
        yield from landmarks_of(point.second)


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
    elif isinstance(node, Operation):
        for value in node.values:
            yield from _calls(value)


def _cannot_be_negative(node: Node) -> bool:
    if isinstance(node, Number):
        return node.value >= 0
    if isinstance(node, Call):
        return node.name in _UNSIGNED
    if node.name == "abs":
        return True
    return node.name != "-" and all(_cannot_be_negative(value) for value in node.values)


def _length_power(node: Node) -> int:
    if isinstance(node, Number):
        return 0
    if isinstance(node, Call):
        return POINT_FUNCTIONS[node.name][1]
    powers = [_length_power(value) for value in node.values]
    if node.name in ("+", "-"):
        if len(set(powers)) > 1:
            raise FormulaError("a length and an angle (or a plain number) are added or subtracted")
        return powers[0]
    return {"*": sum(powers), "/": powers[0] - powers[-1], "sign": 0, "abs": powers[0]}[node.name]


class _Reader:
    """Reads one formula from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0

    def whole(self) -> Node:
        node = self._sum()
        if self._next < len(self._tokens):
            raise FormulaError(f"“{self._tokens[self._next]}” stands where the formula should end")
        return node

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self, expected: str = "") -> str:
        token = self._peek()
        if not token:
            raise FormulaError(f"it ends where {f'“{expected}”' if expected else 'more'} should come")
        if expected and token != expected:
            raise FormulaError(f"“{token}” stands where “{expected}” should be")
        self._next += 1
        return token

    def _sum(self) -> Node:
        node = self._product()
        while self._peek() in ("+", "-"):
            node = Operation(self._take(), (node, self._product()))
        return node

    def _product(self) -> Node:
        node = self._value()
        while self._peek() in ("*", "/"):
            node = Operation(self._take(), (node, self._value()))
        return node

    def _value(self) -> Node:
        token = self._take()
        if token == "-":
            return Operation("*", (Number(-1.0), self._value()))
        if token == "(":
            node = self._sum()
            self._take(")")
            return node
        if token[0].isdigit():
            return Number(float(token))
        if token in VALUE_FUNCTIONS:
            self._take("(")
            node = Operation(token, (self._sum(),))
            self._take(")")
            return node
        if token in POINT_FUNCTIONS:
            return self._call(token)
        known = ", ".join((*POINT_FUNCTIONS, *VALUE_FUNCTIONS))
        raise FormulaError(f"“{token}” is no function; there are {known}")

    def _call(self, name: str) -> Call:
        points = self._points()
        wanted = POINT_FUNCTIONS[name][0]
        if len(points) != wanted:
            raise FormulaError(f"{name} takes {wanted} points, not {len(points)}")
        return Call(name, points)

    def _points(self) -> tuple[Point, ...]:
        self._take("(")
        points = [self._point()]
        while self._peek() == ",":
            self._take()
            points.append(self._point())
        self._take(")")
        return tuple(points)

    def _point(self) -> Point:
        token = self._take()
        if token == "mid" and self._peek() == "(":
            points = self._points()
            if len(points) != 2:
                raise FormulaError(f"mid takes 2 points, not {len(points)}")
            return Mid(*points)
        if not token[0].isalpha():
            raise FormulaError(f"“{token}” stands where a landmark should be")
        return token


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FormulaError(f"“{text[at:].strip()[:1]}” means nothing in a formula")
        yield found.group().strip()
        at = found.end()
