"""What the reader sees of a cephalogram, drawn by Slicer's real displayable managers, and what the mouse does there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from ceph_kit import FACE, GRIDS, SPACING, open_image, proposal
from kit.rendering import DrawnView, need_offscreen
from kit.scene_context import SlicerContext
from panel_kit import Reader

from MahtAILib.scene.layout import IMAGE_VIEW

need_offscreen()

SIZE = (500, 600)


class Shown:
    """The panel with a cephalogram and its landmarks, and its view."""

    def __init__(self, context: SlicerContext, grid: str) -> None:
        from MahtAILib.scene.provenance import Provenance

        self.reader = Reader(context)
        self.image = open_image(self.reader, ijk_to_ras=GRIDS[grid])
        self.state = self.reader.panel.ceph.landmarks
        self.view = DrawnView(context, IMAGE_VIEW.tag, SIZE)
        self.reader.panel.ceph.landmarks_section.show_image()
        self.empty = self.view.picture().astype(int)
        self.state.show_result(proposal(missing=("PNS",), ijk_to_ras=GRIDS[grid]), Provenance(model="toy 1"))

    @property
    def plane(self) -> Any:
        return self.reader.panel.ceph.image.plane()

    def pixel_of(self, units: Any) -> tuple[int, int]:
        """Row and column of a place in plane units."""
        return self.view.pixel_of(self.plane.ras_of(units))

    def drawn(self) -> np.ndarray:
        """[row, column]: where something lies over the image."""
        return (np.abs(self.view.picture().astype(int) - self.empty) > 24).any(axis=2)

    def only(self, **shown: bool) -> None:
        """Draw circles, planes, angles or none of them."""
        for name in ("circles", "planes", "angles"):
            self.reader.panel.parameters().set(f"show_{name}", "1" if shown.get(name) else "0")
        self.state.measure()

    def click(self, row: int, column: int, to: tuple[int, int] | None = None) -> None:
        """Press, drag to a place if there is one, release."""
        for event, (at_row, at_column) in (
            ("EnterEvent", (row, column)),
            ("MouseMoveEvent", (row, column)),
            ("MouseMoveEvent", (row, column)),
            ("LeftButtonPressEvent", (row, column)),
            *((("MouseMoveEvent", to),) if to else ()),
            ("LeftButtonReleaseEvent", to or (row, column)),
        ):
            interactor = self.view._interactor
            interactor.Enable()
            interactor.SetEventInformation(at_column, SIZE[1] - 1 - at_row, 0, 0, "\0", 0, None)
            interactor.InvokeEvent(event)


@pytest.fixture(params=list(GRIDS))
def shown(qt_app: SlicerContext, request: pytest.FixtureRequest) -> Iterator[Shown]:
    yield from opened(qt_app, request.param)


@pytest.fixture
def upright(qt_app: SlicerContext) -> Iterator[Shown]:
    yield from opened(qt_app, "as Slicer loads it")


def opened(context: SlicerContext, grid: str) -> Iterator[Shown]:
    shown = Shown(context, grid)
    yield shown
    shown.view.close()
    shown.reader.leave()


def test_the_image_stands_as_in_its_file_on_every_grid(shown: Shown) -> None:
    for across, down in FACE.values():
        row, column = shown.pixel_of((across, down))
        patch = shown.empty[row - 2 : row + 3, column - 2 : column + 3]
        assert patch.max() > 180, "the bright square of the landmark"
    rows = [shown.pixel_of((100, down))[0] for down in (20, 100, 200)]
    columns = [shown.pixel_of((across, 100))[1] for across in (20, 100, 180)]
    assert rows == sorted(rows) and columns == sorted(columns)
    top, bottom = shown.pixel_of((0, 0)), shown.pixel_of(shown.plane.size)
    assert 0 <= top[0] < 20 or 0 <= top[1] < 20
    assert bottom[0] <= SIZE[1] and bottom[1] <= SIZE[0]


def test_the_circle_of_each_point_is_seen_where_it_belongs_and_doubt_has_its_colour(shown: Shown) -> None:
    shown.only(circles=True)
    picture, drawn = shown.view.picture().astype(int), shown.drawn()
    scale = np.hypot(*(np.array(shown.pixel_of((1, 0))) - shown.pixel_of((0, 0))))
    for key, place in FACE.items():
        row, column = shown.pixel_of(place)
        ring = [
            (round(row + 1.5 * scale * np.sin(angle)), round(column + 1.5 * scale * np.cos(angle)))
            for angle in np.linspace(0, 2 * np.pi, 24)
        ]
        hit = np.mean([drawn[y - 1 : y + 2, x - 1 : x + 2].any() for y, x in ring])
        assert (hit < 0.7) if key == "PNS" else (hit > 0.9), key
    row, column = shown.pixel_of(FACE["Go"])
    colors = picture[row - 8 : row + 9, column - 8 : column + 9].reshape(-1, 3)
    assert (np.abs(colors - (255, 140, 30)).max(axis=1) < 40).any()


def test_planes_and_angles_come_and_go(upright: Shown) -> None:
    upright.only()
    bare = upright.drawn().sum()
    upright.only(planes=True)
    with_planes = upright.drawn()
    upright.only(angles=True)
    assert with_planes.sum() > bare and upright.drawn().sum() > bare
    middle = (np.array(FACE["Po"]) + FACE["Or"]) / 2
    row, column = upright.pixel_of(middle)
    assert with_planes[row - 1 : row + 2, column - 1 : column + 2].any(), "the Frankfort horizontal"


def test_the_profile_runs_through_the_lips(upright: Shown) -> None:
    upright.only()
    upright.state.node.GetDisplayNode().SetVisibility(False)
    drawn = upright.drawn()
    for key in ("UL", "LL", "Sn"):
        row, column = upright.pixel_of(FACE[key])
        assert drawn[row - 2 : row + 3, column - 2 : column + 3].any(), key


def test_the_mouse_drags_a_landmark_and_everything_follows(upright: Shown) -> None:
    before = upright.state.plane_points()["A"]
    sna = upright.state.live.evaluation["steiner.sna"].value
    row, column = upright.pixel_of(FACE["A"])
    upright.click(row, column, to=(row + 10, column - 20))
    moved = upright.state.plane_points()["A"] - before
    units = (FACE["N"][1] - FACE["Me"][1]) / (upright.pixel_of(FACE["N"])[0] - upright.pixel_of(FACE["Me"])[0])
    np.testing.assert_allclose(moved, (-20 * units, 10 * units), atol=1.5 * units)
    assert upright.state.live.evaluation["steiner.sna"].value < sna - 1
    assert [row.about.state for row in upright.state.rows() if row.id == "A"] == ["moved"]
    upright.state.step(back=True)
    np.testing.assert_allclose(upright.state.plane_points()["A"], before, atol=1e-9)


def test_a_click_places_the_missing_landmark_and_no_other(upright: Shown) -> None:
    upright.state.clear("U1")
    upright.state.place("PNS")
    row, column = upright.pixel_of(FACE["PNS"])
    upright.click(row, column)
    there = upright.state.plane_points()
    np.testing.assert_allclose(there["PNS"], FACE["PNS"], atol=2 * SPACING)
    assert "U1" not in there and not upright.state.is_placing()
    assert [row.about.state for row in upright.state.rows() if row.id == "PNS"] == ["manual"]


def test_a_doubtful_landmark_is_brought_to_the_middle_at_forty_millimetres(shown: Shown) -> None:
    shown.state.go(1)
    key = shown.state.selected
    assert shown.pixel_of(FACE[key]) == pytest.approx((SIZE[1] / 2, SIZE[0] / 2), abs=1.5)
    left = np.array(shown.view.points_ras_mm()[300, 0]) - shown.view.points_ras_mm()[300, -1]
    assert np.linalg.norm(left) == pytest.approx(40, abs=0.5)


def test_hidden_helpers_are_not_saved_and_come_back_with_the_scene(upright: Shown, tmp_path: Path) -> None:
    from kit.event_loop import spin

    drawn = upright.drawn().sum()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    upright.reader.context.close_scene()
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    spin(lambda: upright.state.live.evaluation is not None, 10)
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    assert len([node for node in models if node.GetName().startswith("MahtAI tracing")]) == 2
    upright.reader.panel.ceph.landmarks_section.show_image()
    assert upright.drawn().sum() == pytest.approx(drawn, rel=0.05)
