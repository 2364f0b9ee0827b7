"""What the reader sees in the four views, drawn by Slicer's real displayable managers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kit.rendering import DrawnView, need_offscreen, rendered_views
from kit.scene_context import SlicerContext
from scene_kit import ET, GRIDS, add_segmentation, add_volume

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.scene import views
from MahtAILib.scene.layout import register_layout

need_offscreen()

CENTRE = (4, -6, 3)
RADIUS_MM = 8.0
GREY = 100


def ball(geometry: Geometry) -> np.ndarray:
    indices = np.stack(np.meshgrid(*(np.arange(count) for count in geometry.shape), indexing="ij"), -1)
    ras = indices @ geometry.ijk_to_ras[:3, :3].T + geometry.ijk_to_ras[:3, 3]
    return np.linalg.norm(ras - np.array(CENTRE), axis=-1) <= RADIUS_MM


@pytest.fixture(params=["LPS", "left-handed", "thick oblique", "left-handed oblique"])
def drawn(slicer_context: SlicerContext, request: pytest.FixtureRequest) -> Iterator[dict[str, DrawnView]]:
    """Four grey sequences with a ball of enhancing tumour round a known point, on grids that trip up software."""
    geometry = GRIDS[request.param]
    manager = slicer_context.app.layoutManager()
    manager.setLayout(register_layout(manager.layoutLogic().GetLayoutNode()))
    grey = np.full(geometry.shape, GREY, np.int16)
    grey[0, 0, 0], grey[-1, -1, -1] = 0, 200
    volumes = {slot: add_volume(slicer_context.scene, geometry, slot, grey) for slot in ("t1c", "t1", "t2", "flair")}
    labels = ball(geometry).astype(np.uint8) * ET.label_value
    node = add_segmentation(slicer_context.scene, Segmentation((ET,), labels[None], geometry))
    views.show_study(slicer_context.scene, volumes)
    views.face(slicer_context.scene, volumes["t1c"])
    views.show_segmentation(node, 1.0, fill=True)
    with rendered_views(slicer_context, (300, 300)) as drawn:
        views.jump(slicer_context.scene, CENTRE)
        yield drawn


def coloured(picture: np.ndarray) -> np.ndarray:
    """Pixels that are not grey."""
    return np.ptp(picture.astype(int), axis=2) > 20


def test_the_tumour_is_drawn_where_it_is_in_every_view(drawn: dict[str, DrawnView]) -> None:
    for view in drawn.values():
        inside = coloured(view.picture())
        rows, columns = np.nonzero(inside)
        row, column = view.pixel_of(CENTRE)
        mm_per_pixel = view.node.GetFieldOfView()[0] / view.size[0]
        # half a thick slice aside the circle is smaller, but stays round the same point
        assert abs(rows.mean() - row) * mm_per_pixel < 1.0
        assert abs(columns.mean() - column) * mm_per_pixel < 1.0
        radius_mm = np.sqrt(inside.sum() / np.pi) * mm_per_pixel
        assert RADIUS_MM - 2.5 < radius_mm < RADIUS_MM + 1.5


def test_the_tumour_has_the_colour_of_its_segment(drawn: dict[str, DrawnView]) -> None:
    view = drawn["MahtAIT1c"]
    picture = view.picture().astype(float)
    red, green, blue = picture[view.pixel_of(CENTRE)]
    assert red > blue + 20 and green > blue + 20  # yellow
    outline = picture[coloured(picture)].max(axis=0)
    assert outline[0] > 200 and outline[1] > 180


def test_all_views_show_the_same_plane_and_follow_the_wheel(drawn: dict[str, DrawnView]) -> None:
    before = {round(view.logic.GetSliceOffset(), 3) for view in drawn.values()}
    assert len(before) == 1
    drawn["MahtAIT2"].turn_wheel()
    after = {round(view.logic.GetSliceOffset(), 3) for view in drawn.values()}
    assert len(after) == 1 and after != before


def test_outline_fill_and_opacity_are_seen(slicer_context: SlicerContext, drawn: dict[str, DrawnView]) -> None:
    node = slicer_context.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    view = drawn["MahtAIT1"]
    filled = coloured(view.picture()).sum()
    views.show_segmentation(node, 1.0, fill=False)
    outlined = coloured(view.picture()).sum()
    assert 0 < outlined < filled / 2
    views.show_segmentation(node, 0.0, fill=True)
    assert coloured(view.picture()).sum() == 0


def test_a_place_outside_the_view_is_brought_into_it(
    slicer_context: SlicerContext, drawn: dict[str, DrawnView]
) -> None:
    view = drawn["MahtAIFLAIR"]
    view.node.SetFieldOfView(10, 10, view.node.GetFieldOfView()[2])
    views.jump(slicer_context.scene, CENTRE)
    row, column = view.pixel_of(CENTRE)
    assert 0 <= row < 300 and 0 <= column < 300
    assert coloured(view.picture()).mean() > 0.5
