"""Angles, drawn as arcs from one line to the other with a label."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from MahtAILib.cephalometry.curves import as_points
from MahtAILib.cephalometry.drawing import Arc
from MahtAILib.cephalometry.head import Head

_STEPS = 24
_FARTHEST_MM = 60.0
_PARALLEL_MM = 4.0


@dataclass(frozen=True)
class _Angle:
    """An angle to be drawn, between two directions.

    Attributes:
        id: of the arc.
        name: for display.
        first: two landmark ids, the direction from one to the other.
        second: likewise; the vertex is where the two lines meet.
        radius_mm: of the arc.
        label_share: where along the arc the label stands, 0 at the first direction, 1 at the second.
        label_mm: distance of the label from the arc.
        usual: belongs to a plain tracing.
        label_ahead_deg: for an angle too narrow for its label: that stands so far ahead of it.
        positive: 1 or -1 where the value has a sign: it is positive where the second direction is turned from the
            first that way, 1 from forward to downward.
        at: the lines meet far off or hardly at all: this landmark of the second one is the vertex, and a parallel to
            the first one is drawn through it.
    """

    id: str
    name: str
    first: tuple[str, str]
    second: tuple[str, str]
    radius_mm: float
    label_share: float = 0.5
    label_mm: float = 6.0
    usual: bool = False
    positive: int = 0
    label_ahead_deg: float = 0.0
    at: str = ""


_ANGLES = (
    _Angle("sna", "SNA", ("N", "S"), ("N", "A"), 24, 0.5, -6.5, usual=True),
    _Angle("snb", "SNB", ("N", "S"), ("N", "B"), 33, 0.36, -4.5, usual=True),
    _Angle("anb", "ANB", ("N", "B"), ("N", "A"), 42, usual=True, positive=-1, label_ahead_deg=16),
    _Angle("saddle", "N-S-Ar", ("S", "N"), ("S", "Ar"), 12, 0.5, 8.0),
    _Angle("articular", "S-Ar-Go", ("Ar", "S"), ("Ar", "Go"), 9, 0.5, 9.0),
    _Angle("gonial", "Ar-Go-Me", ("Go", "Ar"), ("Go", "Me"), 11, 0.45, 9.0, usual=True),
    _Angle("facial", "FH-NPog", ("Or", "Po"), ("N", "Pog"), 10, 0.5, 9.0),
    _Angle("fma", "FMA", ("Po", "Or"), ("Go", "Me"), 24, 0.5, 8.0, usual=True, positive=1, at="Go"),
    _Angle("sn_gogn", "SN-GoGn", ("S", "N"), ("Go", "Gn"), 46, 0.14, 9.0, at="Go"),
    _Angle("y_axis", "Y axis", ("Po", "Or"), ("S", "Gn"), 13, 0.5, 8.0, positive=1),
    _Angle("convexity", "Convexity", ("N", "A"), ("A", "Pog"), 30, positive=1, label_ahead_deg=20, at="A"),
    _Angle("interincisal", "1/1", ("U1", "U1A"), ("L1", "L1A"), 9, 0.5, 8.0, usual=True),
    _Angle("impa", "IMPA", ("L1A", "L1"), ("Me", "Go"), 11, 0.6, 8.0, usual=True),
)


def arcs(head: Head) -> Iterator[Arc]:
    """All angles whose points are there, do not coincide, and whose vertex is near the head."""
    for angle in _ANGLES:
        if not head.apart(*angle.first) or not head.apart(*angle.second):
            continue
        first = head[angle.first[1]] - head[angle.first[0]]
        second = head[angle.second[1]] - head[angle.second[0]]
        vertex = _vertex(head, angle, first, second)
        if vertex is not None:
            yield _arc(head, angle, vertex, first / abs(first), second / abs(second))


def _vertex(head: Head, angle: _Angle, first: complex, second: complex) -> complex | None:
    if angle.at:
        return head[angle.at]
    start = head[angle.first[0]]
    if angle.first[0] == angle.second[0]:
        return start
    crossing = (first.conjugate() * second).imag
    if abs(crossing) < 0.02 * abs(first) * abs(second):
        return None
    share = ((head[angle.second[0]] - start).conjugate() * second).imag / crossing
    vertex = start + share * first
    near = min(abs(vertex - head[one]) for one in (*angle.first, *angle.second))
    return vertex if near < _FARTHEST_MM * head.mm else None


def _arc(head: Head, angle: _Angle, vertex: complex, first: complex, second: complex) -> Arc:
    turned = cmath.phase(first.conjugate() * second)
    handedness = 1 if (head.forward.conjugate() * head.down).imag > 0 else -1
    radius = angle.radius_mm * head.mm
    points = vertex + radius * first * np.exp(1j * turned * np.linspace(0.0, 1.0, _STEPS + 1))
    if angle.at:
        points = np.concatenate([[vertex, vertex + (radius + _PARALLEL_MM * head.mm) * first], points])
    toward = first * cmath.rect(1.0, turned * angle.label_share)
    if angle.label_ahead_deg:
        front = first if turned * handedness > 0 else second
        toward = front * cmath.rect(1.0, -handedness * math.radians(angle.label_ahead_deg))
    label_at = vertex + (radius + angle.label_mm * head.mm) * toward
    value = math.degrees(abs(turned))
    if turned * handedness * angle.positive < 0:
        value = -value
    return Arc(
        angle.id,
        angle.name,
        (vertex.real, vertex.imag),
        as_points(points),
        _label(angle.name, value),
        (label_at.real, label_at.imag),
        value,
        angle.usual,
    )


def _label(name: str, value: float) -> str:
    number = f"{value:.1f}".replace("-", "\u2212")
    return f"{name} {number}°"
