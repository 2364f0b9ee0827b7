"""What the reader sees in the four views, drawn by Slicer's real displayable managers.

A made-up case lies on grids that trip up software: axes that point elsewhere, thick slices, oblique planes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.rendering import DrawnView, add_crosshair, need_offscreen, rendered_views
from kit.scene_context import SlicerContext
from PIL import Image
from scene_kit import ED, ET, GRIDS, NCR, add_segmentation, add_volume
from scipy import ndimage

from mahtai.demo.phantom import Phantom, make_phantom
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.scene import views
from MahtAILib.scene.alignment import line_up
from MahtAILib.scene.doubt import doubtful_places
from MahtAILib.scene.editing import Editor
from MahtAILib.scene.images import vtk_matrix
from MahtAILib.scene.layout import VIEWS, register_layout

need_offscreen()

REPOSITORY = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parent / "golden" / "four_views.png"
LESION_RAS_MM = (30.0, 20.0, 15.0)
SIZE = (300, 280)
WINDOW = 1200.0
FILL = 0.4
SEGMENTS = {1: NCR, 2: ED, 3: ET}
"""Label of the phantom → segment."""

SHAPES = {
    "LPS": ((80, 96, 72), (2, 2, 2)),
    "left-handed": ((80, 96, 72), (2, 2, 2)),
    "left-handed oblique": ((84, 98, 76), (2, 2, 2)),
    "thick oblique": ((84, 98, 26), (2, 2, 6)),
}


@cache
def phantom(grid: str) -> Phantom:
    shape, spacing = SHAPES[grid]
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = GRIDS[grid].direction * spacing
    ijk_to_ras[:3, 3] = -ijk_to_ras[:3, :3] @ ((np.array(shape) - 1) / 2)
    return make_phantom(shape, ijk_to_ras, LESION_RAS_MM)


class Case:
    """The made-up case in the four views.

    Attributes:
        truth: the phantom. geometry: its grid. volumes: slot → node. segmentation: node with the true segments.
        drawn: singleton tag → view.
    """

    def __init__(self, context: SlicerContext, grid: str) -> None:
        self.scene = context.scene
        self.truth = phantom(grid)
        self.geometry = Geometry(self.truth.labels.shape, self.truth.ijk_to_ras)
        self.volumes = {slot: self._volume(slot, array) for slot, array in self.truth.channels.items()}
        self.segmentation = add_segmentation(self.scene, self.true_segments())
        add_crosshair(self.scene)
        manager = context.app.layoutManager()
        manager.setLayout(register_layout(manager.layoutLogic().GetLayoutNode()))
        views.show_study(self.scene, self.volumes)
        views.face(self.scene, self.volumes["t1c"])
        views.show_segmentation(self.segmentation, 1.0, fill=True)
        self.drawn: dict[str, DrawnView] = {}

    def true_segments(self) -> Segmentation:
        labels = np.zeros_like(self.truth.labels)
        for label, segment in SEGMENTS.items():
            labels[self.truth.labels == label] = segment.label_value
        return Segmentation(tuple(SEGMENTS.values()), labels[None], self.geometry)

    def go(self, ras_mm: Any) -> None:
        """Show the slice through a point, without a crosshair."""
        views.jump(self.scene, tuple(ras_mm))

    def ijk_of(self, view: DrawnView) -> np.ndarray:
        """[row, column, ijk]: where in the voxels each pixel lies."""
        ras_to_ijk = self.geometry.ras_to_ijk
        return view.points_ras_mm() @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]

    def labels_in(self, view: DrawnView) -> np.ndarray:
        """[row, column]: the true label of the voxel that each pixel shows."""
        ijk = np.rint(self.ijk_of(view)).astype(int)
        inside = ((ijk >= 0) & (ijk < self.geometry.shape)).all(-1)
        i, j, k = np.moveaxis(np.where(inside[..., None], ijk, 0), -1, 0)
        return np.where(inside, self.truth.labels[i, j, k], 0)

    def plain(self, view: DrawnView) -> np.ndarray:
        """The picture without the segmentation."""
        self.segmentation.GetDisplayNode().SetVisibility(False)
        picture = view.picture()
        self.segmentation.GetDisplayNode().SetVisibility(True)
        return picture

    def _volume(self, slot: str, array: np.ndarray) -> Any:
        node = add_volume(self.scene, self.geometry, slot, array)
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(WINDOW, WINDOW / 2)
        return node


@pytest.fixture(params=list(SHAPES))
def case(slicer_context: SlicerContext, request: pytest.FixtureRequest) -> Iterator[Case]:
    """On every grid."""
    yield from drawn_case(slicer_context, request.param)


@pytest.fixture
def upright(slicer_context: SlicerContext) -> Iterator[Case]:
    """On the grid of BraTS files, where the grid is not what is tested."""
    yield from drawn_case(slicer_context, "LPS")


def drawn_case(context: SlicerContext, grid: str) -> Iterator[Case]:
    case = Case(context, grid)
    with rendered_views(context, SIZE) as case.drawn:
        case.go(LESION_RAS_MM)
        yield case


def rgb(segment: Segment) -> np.ndarray:
    return 255 * np.array(segment.color_rgb)


def is_coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 12


@pytest.mark.parametrize("slice_mm", [0.0, 10.0, -14.0])
def test_each_segment_lies_over_its_lesion_in_its_colour_in_every_view(case: Case, slice_mm: float) -> None:
    case.go(np.array(LESION_RAS_MM) + slice_mm * case.geometry.direction[:, 2])
    for view in case.drawn.values():
        expected, filled, plain = case.labels_in(view), view.picture().astype(float), case.plain(view).astype(float)
        assert (expected == 2).any()
        for label, segment in SEGMENTS.items():
            # its outline is drawn on its own border, another one beside it
            inside = ndimage.binary_erosion(expected == label, iterations=3)
            tint = (filled - (1 - FILL) * plain)[inside] / FILL
            # single pixels lie just between two voxels
            assert not len(tint) or (np.abs(tint - rgb(segment)) < 4).all(axis=1).mean() > 0.99
        outside = ~ndimage.binary_dilation(expected > 0, iterations=1)
        np.testing.assert_array_equal(filled[outside], plain[outside])


def test_the_outline_lies_on_the_border_to_the_pixel(case: Case) -> None:
    views.show_segmentation(case.segmentation, 1.0, fill=False)
    for view in case.drawn.values():
        tumour = case.labels_in(view) > 0
        border = tumour & ~ndimage.binary_erosion(tumour)
        outline = is_coloured(view.picture())
        assert (outline & tumour).any()
        far = ndimage.distance_transform_edt(~outline)[border]
        assert far.max() < 2


def test_every_view_shows_its_own_sequence_where_it_lies(case: Case) -> None:
    for view in VIEWS:
        drawn, voxels = case.drawn[view.tag], case.truth.channels[view.slot].astype(float)
        wanted = ndimage.map_coordinates(voxels, np.moveaxis(case.ijk_of(drawn), -1, 0), order=1)
        shown = case.plain(drawn)[..., 0].astype(float)
        assert np.abs(shown - np.clip(255 * wanted / WINDOW, 0, 255)).mean() < 1


def test_all_views_show_the_same_plane_and_follow_the_wheel(case: Case) -> None:
    def planes() -> list[np.ndarray]:
        return [view.points_ras_mm() for view in case.drawn.values()]

    before = planes()
    case.drawn["MahtAIT2"].turn_wheel()
    after = planes()
    for plane in after:
        np.testing.assert_allclose(plane, after[0], atol=1e-6)
    step_mm = (after[0] - before[0])[0, 0] @ case.geometry.direction[:, 2]
    assert abs(step_mm) == pytest.approx(case.geometry.spacing_mm[2])
    case.drawn["MahtAIT1"].turn_wheel(forward=False)
    np.testing.assert_allclose(planes()[3], before[3], atol=1e-6)


def test_a_doubtful_place_is_seen_under_the_crosshair_in_every_view(case: Case) -> None:
    doubtful = np.array([-28.0, -30.0, 8.0])
    confidence = np.full(case.geometry.shape, 100, np.uint8)
    ras = np.moveaxis(np.indices(case.geometry.shape), 0, -1) @ case.truth.ijk_to_ras[:3, :3].T
    confidence[np.linalg.norm(ras + case.truth.ijk_to_ras[:3, 3] - doubtful, axis=-1) < 9] = 40
    place = doubtful_places(confidence, case.geometry)[0]
    case.go(place.ras_mm)
    bare = {tag: view.picture() for tag, view in case.drawn.items()}
    mark = views.PlaceMark(case.scene)
    mark.go_to(place.ras_mm)
    for tag, view in case.drawn.items():
        row, column = view.pixel_of(place.ras_mm)
        np.testing.assert_allclose(view.points_ras_mm()[row, column], place.ras_mm, atol=2)
        assert np.linalg.norm(view.points_ras_mm()[row, column] - doubtful) < 9
        rows, columns = np.nonzero((view.picture() != bare[tag]).any(axis=2))
        assert abs(rows.mean() - row) < 1.5 and abs(columns.mean() - column) < 1.5
    case.drawn["MahtAIT1"].turn_wheel()
    case.go(place.ras_mm)
    for tag, view in case.drawn.items():
        np.testing.assert_array_equal(view.picture(), bare[tag])


def test_a_place_out_of_sight_is_brought_to_the_middle(upright: Case) -> None:
    for view in upright.drawn.values():
        view.node.SetFieldOfView(30, 28, view.node.GetFieldOfView()[2])
    upright.go(LESION_RAS_MM)
    for view in upright.drawn.values():
        assert view.pixel_of(LESION_RAS_MM) == pytest.approx((SIZE[1] / 2, SIZE[0] / 2), abs=1)
        assert is_coloured(view.picture()).mean() > 0.9


def test_fill_and_outline_and_opacity_change_what_they_say(upright: Case) -> None:
    view, node = upright.drawn["MahtAIT1"], upright.segmentation
    plain = upright.plain(view)
    inside = ndimage.binary_erosion(upright.labels_in(view) == 2, iterations=3)
    filled = is_coloured(view.picture()).sum()
    views.show_segmentation(node, 1.0, fill=False)
    outlined = view.picture()
    assert 0 < is_coloured(outlined).sum() < filled / 3
    np.testing.assert_array_equal(outlined[inside], plain[inside])
    views.show_segmentation(node, 0.5, fill=True)
    half = (view.picture().astype(float) - (1 - FILL / 2) * plain)[inside] / (FILL / 2)
    np.testing.assert_allclose(half, np.broadcast_to(rgb(ED), half.shape), atol=8)
    views.show_segmentation(node, 0.0, fill=True)
    np.testing.assert_array_equal(view.picture(), plain)


def test_an_empty_segmentation_draws_nothing(upright: Case) -> None:
    plain = upright.plain(upright.drawn["MahtAIT1c"])
    upright.segmentation.GetSegmentation().RemoveAllSegments()
    np.testing.assert_array_equal(upright.drawn["MahtAIT1c"].picture(), plain)
    empty = Segmentation((ET,), np.zeros((1, *upright.geometry.shape), np.uint8), upright.geometry)
    views.show_segmentation(add_segmentation(upright.scene, empty), 1.0, fill=True)
    np.testing.assert_array_equal(upright.drawn["MahtAIT1c"].picture(), plain)


def test_the_view_of_an_empty_slot_stays_black_and_still_shows_the_tumour(upright: Case) -> None:
    views.show_study(upright.scene, {**upright.volumes, "t2": None})
    picture = upright.drawn["MahtAIT2"].picture()
    assert is_coloured(picture).any()
    assert not picture[~is_coloured(picture)].any()


def test_a_stroke_of_the_brush_and_its_undo_are_seen_in_all_views(upright: Case) -> None:
    point = (-30.0, 0.0, 15.0)
    before = {tag: view.picture() for tag, view in upright.drawn.items()}
    editor = Editor(upright.scene, upright.segmentation, upright.volumes["t1c"])
    editor.paint(ET.id, editor.ball(point, 8))
    for tag, view in upright.drawn.items():
        rows, columns = np.nonzero((view.picture() != before[tag]).any(axis=2))
        assert (rows.mean(), columns.mean()) == pytest.approx(view.pixel_of(point), abs=1.5)
    editor.undo()
    for tag, view in upright.drawn.items():
        np.testing.assert_array_equal(view.picture(), before[tag])


def test_a_sequence_of_a_moved_head_is_seen_under_the_tumour_once_lined_up(upright: Case) -> None:
    view, volume = upright.drawn["MahtAIFLAIR"], upright.volumes["flair"]
    scanned = upright.plain(view).astype(float)
    moved = np.eye(4)
    moved[:3, 3] = (12, -8, 0)
    matrix = moved @ upright.truth.ijk_to_ras
    volume.SetIJKToRASMatrix(vtk_matrix(matrix))
    beside = upright.plain(view).astype(float)
    line_up(upright.scene, {"flair": volume}, {"flair": moved.tolist()})
    lined_up = upright.plain(view).astype(float)
    assert np.abs(beside - scanned).mean() > 5
    assert np.abs(lined_up - scanned).mean() < 0.1


def test_the_four_views_look_as_they_did(upright: Case, tmp_path: Path) -> None:
    views.show_segmentation(upright.segmentation, 0.7, fill=True)
    pictures = [upright.drawn[view.tag].picture() for view in VIEWS]
    seen = np.vstack([np.hstack(pictures[:2]), np.hstack(pictures[2:])])
    Image.fromarray(seen).save(tmp_path / GOLDEN.name, optimize=True)
    known = np.asarray(Image.open(GOLDEN).convert("RGB")) if GOLDEN.exists() else np.zeros_like(seen)
    differs = np.abs(seen.astype(int) - known).max(axis=2) > 24
    assert differs.mean() < 0.005, f"look at {tmp_path / GOLDEN.name}; if it is right, it replaces {GOLDEN.name}"


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    named = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", (REPOSITORY / "README.md").read_text("utf-8"))
    assert named
    for path in [*named, "MahtAI/Resources/Icons/SampleBrainTumour.png"]:
        assert (REPOSITORY / path).stat().st_size < 400_000, path
    assert Image.open(REPOSITORY / "MahtAI/Resources/Icons/SampleBrainTumour.png").size == (128, 128)
