"""Landmarks of a 2-D image in the plane of the image: x to the right, y down."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.markups import LandmarkPoint

Plane = dict[str, tuple[float, float]]


def pixels_of(points: Iterable[LandmarkPoint], geometry: Geometry) -> Plane:
    """Landmark id → (column, row) of the points that are there; pixel centres are at integers."""
    places = {}
    for point in points:
        if point.position is not None:
            left, posterior, superior = point.position
            column, row = (geometry.ras_to_ijk @ np.array([-left, -posterior, superior, 1.0]))[:2]
            places[point.id] = (float(column), float(row))
    return places


def units_of(points: Iterable[LandmarkPoint], geometry: Geometry) -> Plane:
    """Landmark id → (x, y) in units from the centre of the first pixel, of the points that are there."""
    across, down, _ = geometry.spacing_mm
    return {name: (column * across, row * down) for name, (column, row) in pixels_of(points, geometry).items()}
