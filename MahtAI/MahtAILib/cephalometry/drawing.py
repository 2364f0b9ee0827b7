"""What a tracing is made of: curves, planes and angles in image units, for any renderer to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from MahtAILib.cephalometry.orientation import Facing

CurveKind = Literal["soft", "bone", "tooth"]


@dataclass(frozen=True, eq=False)
class Curve:
    """An outline.

    Attributes:
        id: such as ``profile``.
        name: for display.
        kind: soft tissue, bone or tooth.
        points: [n, 2], x and y in units, y down; to be joined by straight lines.
        closed: the last point is joined to the first.
        estimated: drawn as such an outline usually runs, through less points than its shape needs: paler or dashed.
    """

    id: str
    name: str
    kind: CurveKind
    points: NDArray[np.float64]
    closed: bool = False
    estimated: bool = False


@dataclass(frozen=True, eq=False)
class Plane:
    """A reference line, drawn a little beyond the points that it goes through.

    Attributes:
        id: such as ``sn``.
        name: such as ``Frankfort horizontal``.
        label: short, such as ``FH``.
        through: ids of the landmarks that it goes through.
        start: (x, y) in units.
        end: (x, y) in units.
        label_at: where the middle of the label stands.
        usual: belongs to a plain tracing; the others are for who asks for them.
    """

    id: str
    name: str
    label: str
    through: tuple[str, ...]
    start: tuple[float, float]
    end: tuple[float, float]
    label_at: tuple[float, float]
    usual: bool


@dataclass(frozen=True, eq=False)
class Arc:
    """An angle.

    Attributes:
        id: such as ``sna``.
        name: such as ``SNA``.
        vertex: where its two lines meet, (x, y) in units; where they meet far off, a point of the second one that a
            parallel to the first is drawn through.
        points: [n, 2], the arc from one line to the other; where there is such a parallel, that comes before it.
        label: such as ``SNA 82.1°``.
        label_at: where the middle of the label stands.
        value_deg: the angle that is drawn.
        usual: belongs to a plain tracing.
    """

    id: str
    name: str
    vertex: tuple[float, float]
    points: NDArray[np.float64]
    label: str
    label_at: tuple[float, float]
    value_deg: float
    usual: bool


@dataclass(frozen=True, eq=False)
class Tracing:
    """All that can be drawn from the present points.

    Attributes:
        curves: outlines, to be drawn in this order.
        planes: reference lines.
        arcs: angles.
        facing: where the face looks; None if the points do not tell, and then there are no outlines.
    """

    curves: tuple[Curve, ...]
    planes: tuple[Plane, ...]
    arcs: tuple[Arc, ...]
    facing: Facing | None
