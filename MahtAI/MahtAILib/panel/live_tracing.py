"""What follows the landmarks under the mouse: all measurements, the tracing, an earlier tracing laid over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MahtAILib.cephalometry import (
    Analysis,
    Evaluation,
    Superimposition,
    Tracing,
    evaluate,
    load_analyses,
    shipped_analyses,
    superimpose,
    tracing,
)
from MahtAILib.client.markups import LandmarkFile
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.flat_images import Plane
from MahtAILib.scene.landmarks import PointInfo
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.tracing import StyledLine, TracingNodes, circle_lines, earlier_lines, tracing_lines

PlanePoints = Mapping[str, NDArray[np.float64]]
"""Landmark id → (x, y) in plane units."""


@dataclass(frozen=True)
class Earlier:
    """An earlier tracing to be laid on the present one."""

    file: LandmarkFile
    plane_points: PlanePoints
    title: str


class LiveTracing:
    """Measures and draws; quick enough for each move of the mouse.

    Attributes:
        evaluation: all measurements of the present points; None without landmarks.
        drawing: their tracing, or None.
        earlier: what is laid over it, or None.
        superimposition: how that lies on it, or None.
        analyses: that are evaluated: those that are shipped, and the reader's own.
        error: why the reader's own analyses cannot be read, or None.

    Args:
        own_analyses: folder with the reader's own analyses as JSON files; need not be there.
    """

    def __init__(self, scene: Any, parameters: Callable[[], Parameters], own_analyses: Path) -> None:
        self.evaluation: Evaluation | None = None
        self.drawing: Tracing | None = None
        self.earlier: Earlier | None = None
        self.superimposition: Superimposition | None = None
        self.analyses: tuple[Analysis, ...] = shipped_analyses()
        self.error: ExplainedError | None = None
        self._parameters = parameters
        self._nodes = TracingNodes(scene)
        try:
            if own_analyses.is_dir():
                self.analyses += load_analyses(own_analyses)
        except ExplainedError as error:
            self.error = error

    def follow(
        self, plane: Plane, points: PlanePoints, info: Mapping[str, PointInfo], mm_per_unit: float | None
    ) -> None:
        """Measure and draw these points."""
        parameters = self._parameters()
        radii = {key: info[key].radius or 0.0 for key in points if key in info and info[key].radius is not None}
        age = parameters.get("age")
        self.evaluation = evaluate(
            points,
            radii,
            mm_per_unit,
            self.analyses,
            sex=parameters.get("sex") or None,  # type: ignore[arg-type]
            age_years=float(age) if age else None,
        )
        self.drawing = tracing(points)
        shown = {name: parameters.get(f"show_{name}") == "1" for name in ("planes", "angles", "circles")}
        lines, texts = tracing_lines(self.drawing, shown["planes"], shown["angles"])
        lines = [*self._earlier_lines(plane, points, mm_per_unit), *lines]
        if shown["circles"]:
            lines += circle_lines(points, info)
        self._nodes.draw(plane, lines, texts)

    def rest(self, plane: Plane | None) -> None:
        """There is nothing to measure; the nodes stay ready for an image, and go without one."""
        self.evaluation, self.drawing, self.superimposition = None, None, None
        if plane is None:
            self._nodes.clear()
        else:
            self._nodes.draw(plane, [], [])

    def _earlier_lines(self, plane: Plane, points: PlanePoints, mm_per_unit: float | None) -> list[StyledLine]:
        self.superimposition = None
        if self.earlier is None:
            return []
        self.superimposition = superimpose(
            self.earlier.plane_points, points, self.earlier.file.mm_per_unit, mm_per_unit
        )
        laid = self.superimposition.points
        return earlier_lines(plane, tracing(laid), list(laid.values())) if laid else []
