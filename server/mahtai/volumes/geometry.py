"""Voxel grids as the client knows them; what makes one unusable is here an error of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from numpy.typing import ArrayLike

from mahtai.errors import MahtaiError
from MahtAILib.client import geometry as grids


class GeometryError(MahtaiError):
    """A grid that no scanner makes: singular, sheared, not finite, or of absurd spacing."""

    kind = "geometry"
    title = "The volume's geometry is not usable"
    status = 422


class Geometry(grids.Geometry):
    """A voxel grid in patient space."""

    def __init__(self, shape: ArrayLike, ijk_to_ras: ArrayLike) -> None:
        with _as_problem():
            super().__init__(shape, ijk_to_ras)


def check_geometry(geometry: Geometry) -> None:
    """Refuse a grid that cannot be of a scan.

    Raises:
        GeometryError: not finite, singular, sheared, or a spacing outside 0.01-50 mm.
    """
    with _as_problem():
        grids.check_geometry(geometry)


@contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except grids.GeometryError as error:
        raise GeometryError(error.reason, error.hint) from error
