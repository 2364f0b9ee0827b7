"""Landmarks as labels: points that lie in the case's image, and how far they were moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from mahtai.cases.label_kind import Json, LabelError, WrongGrid
from mahtai.volumes.landmark_file import decode_landmarks
from MahtAILib.cephalometry.landmarks import known_landmarks
from MahtAILib.cephalometry.scale import why_unbelievable
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.markups import LandmarkFile, Position, encode_markups

MOVED = 1e-3
"""Units by which a point must move to count; what saving and loading change is far less."""

CEPHALOMETRY = "cephalometry"

_OFF_PLANE = 1.0
"""Slices by which a point may lie in front of or behind the image."""


@dataclass(frozen=True)
class PointContent:
    """A landmark of a label.

    Attributes:
        state: who vouches for it: ``ai``, ``moved``, ``confirmed``, ``manual``, or ``missing``.
        position_lps: in units; None where it is missing.
    """

    name: str
    state: str
    position_lps: list[float] | None


@dataclass(frozen=True)
class PointComparison:
    """Difference between two lists of landmarks.

    Attributes:
        points_moved: landmarks of both that lie elsewhere.
        points_added, points_removed: landmarks that only the saved one, or only the other one, has a position for.
        mean_distance, largest_distance: radial, over all landmarks of both, in ``unit``; None if they share none.
        distance: landmark id → radial distance in ``unit``.
        unit: ``mm`` where the image is calibrated, else ``unit`` of the image's own space.
    """

    points_moved: int
    points_added: int
    points_removed: int
    mean_distance: float | None
    largest_distance: float | None
    distance: dict[str, float]
    unit: Literal["mm", "unit"]


class LandmarkLabels:
    """Label versions that are ``.mrk.json`` files."""

    word = "a list of landmarks"
    file_name = "label-{}.mrk.json"
    media_type = "application/json"

    def read(self, data: bytes, reference: Geometry) -> LandmarkFile:
        """The points, in the plane of the image.

        Raises:
            LandmarkFileError: damaged, or no list of points.
            LabelError: it says that the image has pixels that no cephalogram has.
            WrongGrid: the case has no single image, or a point lies off its plane. How far it may lie beyond
                the image's edge has no limit: a proposal that is wrong must be kept like one that is right.
        """
        file = decode_landmarks(data)
        if reference.shape[2] != 1:
            raise WrongGrid(
                "Landmarks belong to a single image; the case's reference is a volume.",
                "Save them with the case of the cephalogram. Nothing was saved.",
            )
        if file.mm_per_unit is not None:
            doubt = why_unbelievable(file.mm_per_unit * reference.spacing_mm[1], reference.shape[1])
            if doubt:
                raise LabelError(
                    f"The landmarks come with a wrong scale. {doubt}", "Calibrate again. Nothing was saved."
                )
        off = [one for one, place in file.positions.items() if abs(_slice(place, reference)) > _OFF_PLANE]
        if off:
            raise WrongGrid(
                f"The landmark {off[0]} does not lie in the plane of the image.",
                "Place the points in the slice view that shows the image, then save again. Nothing was saved.",
            )
        return file

    def parts(self, content: LandmarkFile) -> Json:
        """Where each landmark lies."""
        return {
            point.id: asdict(
                PointContent(point.name, point.state, None if point.position is None else list(point.position))
            )
            for point in content.points
        }

    def compare(self, saved: LandmarkFile, other: LandmarkFile) -> Json:
        """How far the landmarks that both have were moved."""
        here, there = saved.positions, other.positions
        scale = saved.mm_per_unit or 1.0
        units = {one: _distance(here[one], there[one]) for one in here if one in there}
        distance = {one: round(scale * value, 6) for one, value in units.items()}
        return asdict(
            PointComparison(
                points_moved=sum(value > MOVED for value in units.values()),
                points_added=len(here.keys() - there.keys()),
                points_removed=len(there.keys() - here.keys()),
                mean_distance=round(float(np.mean(list(distance.values()))), 6) if distance else None,
                largest_distance=max(distance.values(), default=None),
                distance=distance,
                unit="unit" if saved.mm_per_unit is None else "mm",
            )
        )

    def known_parts(self, task: str) -> frozenset[str] | None:
        """The landmarks of all sets; a task that places none has no list."""
        return known_landmarks() if task == CEPHALOMETRY else None

    def merge(self, first: LandmarkFile, second: LandmarkFile, from_second: frozenset[str]) -> bytes:
        """The landmarks of ``first``, but those in ``from_second`` as ``second`` has them, or has them not.

        Raises:
            LabelError: the two belong to differently calibrated images.
        """
        if first.mm_per_unit != second.mm_per_unit:
            raise LabelError(
                "The two versions are calibrated differently, so their points cannot be mixed.",
                "Open the one that is calibrated rightly and move its points. Nothing was saved.",
            )
        theirs = second.by_id
        points = [
            point if point.id not in from_second else theirs.pop(point.id)
            for point in first.points
            if point.id not in from_second or point.id in theirs
        ]
        points += [point for point in second.points if point.id in from_second & theirs.keys()]
        return encode_markups(replace(first, points=tuple(points)))

    def part_of(self, stored: Mapping[str, Any]) -> PointContent:
        """A landmark."""
        return PointContent(**stored)

    def comparison_of(self, stored: Mapping[str, Any]) -> PointComparison:
        """The difference."""
        return PointComparison(**stored)


def _distance(first: Position, second: Position) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


def _slice(position: Position, reference: Geometry) -> float:
    """Index K of an LPS position."""
    left, posterior, superior = position
    return float((reference.ras_to_ijk @ [-left, -posterior, superior, 1.0])[2])
