"""The tracing: outlines, planes and angles that the present points allow, as data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from MahtAILib.cephalometry.angles import arcs
from MahtAILib.cephalometry.drawing import Tracing
from MahtAILib.cephalometry.head import head_of
from MahtAILib.cephalometry.orientation import Facing
from MahtAILib.cephalometry.outlines import bones, profile
from MahtAILib.cephalometry.planes import planes
from MahtAILib.cephalometry.positions import clean_points
from MahtAILib.cephalometry.teeth import teeth


def tracing(points: Mapping[str, ArrayLike], facing: Facing | None = None) -> Tracing:
    """Draw what the points allow; what lacks a point is left out; never raises because of a point.

    Args:
        points: landmark id → (x, y) in units, y down, as shown.
        facing: where the face looks; found from the points if None.
    """
    head = head_of(clean_points(points), facing)
    if head is None:
        return Tracing((), (), (), None)
    with np.errstate(all="ignore"):
        curves = (*bones(head), *teeth(head), *profile(head)) if head.facing else ()
        return Tracing(tuple(curves), tuple(planes(head)), tuple(arcs(head)), head.facing)
