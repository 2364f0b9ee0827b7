"""Four linked views of the four sequences, on Slicer's real slice and layout nodes."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_segmentation, add_volume, tumour

from MahtAILib.scene import views
from MahtAILib.scene.layout import LAYOUT_ID, VIEWS, layout_xml, register_layout


@pytest.fixture
def four(slicer_context: SlicerContext) -> dict[str, Any]:
    """The layout with four volumes in it: slot → volume."""
    manager = slicer_context.app.layoutManager()
    manager.setLayout(register_layout(manager.layoutLogic().GetLayoutNode()))
    volumes = {slot: add_volume(slicer_context.scene, GRIDS["LPS"], slot) for slot in ("t1c", "t1", "t2", "flair")}
    views.show_study(slicer_context.scene, volumes)
    return volumes


def nodes(context: SlicerContext, tag: str) -> tuple[Any, Any]:
    widget = context.app.layoutManager().sliceWidget(tag)
    return widget.mrmlSliceNode(), widget.mrmlSliceCompositeNode()


def test_the_layout_is_well_formed_and_registered_once(slicer_context: SlicerContext) -> None:
    root = ElementTree.fromstring(layout_xml())
    assert [view.get("singletontag") for view in root.iter("view")] == [view.tag for view in VIEWS]
    layout_node = slicer_context.app.layoutManager().layoutLogic().GetLayoutNode()
    assert register_layout(layout_node) == register_layout(layout_node)
    assert layout_node.IsLayoutDescription(LAYOUT_ID)


def test_each_view_shows_its_sequence(slicer_context: SlicerContext, four: dict[str, Any]) -> None:
    for view in VIEWS:
        _, composite = nodes(slicer_context, view.tag)
        assert composite.GetBackgroundVolumeID() == four[view.slot].GetID()
        assert composite.GetLinkedControl() and composite.GetHotLinkedControl()


def test_the_view_of_an_empty_slot_is_empty(slicer_context: SlicerContext, four: dict[str, Any]) -> None:
    views.show_study(slicer_context.scene, {**four, "t2": None})
    _, composite = nodes(slicer_context, "MahtAIT2")
    assert composite.GetBackgroundVolumeID() is None


def test_moving_one_view_moves_all(slicer_context: SlicerContext, four: dict[str, Any]) -> None:
    logics = {
        logic.GetSliceNode().GetLayoutName(): logic
        for logic in (
            slicer_context.app.applicationLogic().GetSliceLogic(slice_node)
            for slice_node in views.scene_nodes(slicer_context.scene, "vtkMRMLSliceNode")
        )
    }
    first = logics["MahtAIT1c"]
    first.StartSliceOffsetInteraction()
    first.SetSliceOffset(7.0)
    first.EndSliceOffsetInteraction()
    assert {round(logics[view.tag].GetSliceOffset(), 3) for view in VIEWS} == {7.0}


def test_a_jump_goes_to_the_slice_of_the_point_in_all_four_and_leaves_the_zoom(
    slicer_context: SlicerContext, four: dict[str, Any]
) -> None:
    views.jump(slicer_context.scene, (5.0, -3.0, 8.0))
    for view in VIEWS:
        slice_node, _ = nodes(slicer_context, view.tag)
        matrix = slice_node.GetSliceToRAS()
        assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx([0, 0, 8])
    views.jump(slicer_context.scene, (5.0, 3000.0, 8.0))
    matrix = nodes(slicer_context, "MahtAIT1c")[0].GetSliceToRAS()
    assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx([5, 3000, 8])


def test_an_oblique_scan_is_shown_as_it_was_scanned(slicer_context: SlicerContext, four: dict[str, Any]) -> None:
    oblique = add_volume(slicer_context.scene, GRIDS["thick oblique"], "oblique")
    views.face(slicer_context.scene, oblique)
    normal = GRIDS["thick oblique"].direction[:, 2]
    for view in VIEWS:
        slice_node, _ = nodes(slicer_context, view.tag)
        matrix = slice_node.GetSliceToRAS()
        shown = [matrix.GetElement(row, 2) for row in range(3)]
        assert abs(np.dot(shown, normal)) == pytest.approx(1, abs=1e-6)
    views.face(slicer_context.scene, four["t1c"])
    slice_node, _ = nodes(slicer_context, "MahtAIT1c")
    assert slice_node.GetOrientation() == "Axial"


def test_a_place_is_marked_until_the_reader_scrolls_away(slicer_context: SlicerContext, four: dict[str, Any]) -> None:
    scene = slicer_context.scene
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    mark = views.PlaceMark(scene)
    mark.go_to((5.0, -3.0, 8.0))
    assert crosshair.GetCrosshairMode() != crosshair.NoCrosshair
    assert list(crosshair.GetCrosshairRAS()) == [5, -3, 8]
    mark.go_to((4.0, -3.0, 2.0))
    assert crosshair.GetCrosshairMode() != crosshair.NoCrosshair
    nodes(slicer_context, "MahtAIT2")[0].SetSliceOffset(6.0)
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    crosshair.SetCrosshairMode(crosshair.ShowBasic)  # the reader wants one
    mark.go_to((4.0, -3.0, 2.0))
    mark.remove()
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic


def test_all_views_take_plane_and_scale_of_the_first_wherever_their_images_lie(
    slicer_context: SlicerContext, four: dict[str, Any]
) -> None:
    for number, view in enumerate(VIEWS):
        slice_node, _ = nodes(slicer_context, view.tag)
        slice_node.SetDimensions(300, 200 + 50 * number, 1)
        slice_node.SetFieldOfView(100 + 10 * number, 100, 1)
        slice_node.SetSliceOffset(5.0 * number)
    views.follow(slicer_context.scene, VIEWS[2])
    shown = {
        (round(node.GetSliceOffset(), 3), round(node.GetFieldOfView()[0] / node.GetDimensions()[0], 6))
        for node in (nodes(slicer_context, view.tag)[0] for view in VIEWS)
    }
    assert shown == {(10.0, 0.4)}
    node = nodes(slicer_context, "MahtAIT2")[0]
    assert node.GetFieldOfView()[1] / node.GetDimensions()[1] == pytest.approx(0.4)


def test_outline_fill_and_opacity_reach_the_display(slicer_context: SlicerContext) -> None:
    node = add_segmentation(slicer_context.scene, tumour(GRIDS["LPS"]))
    views.show_segmentation(node, 0.3, fill=False)
    display = node.GetDisplayNode()
    assert display.GetOpacity() == pytest.approx(0.3)
    assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill()


def test_without_the_layout_nothing_is_shown_and_nothing_breaks(slicer_context: SlicerContext) -> None:
    assert not views.is_shown(slicer_context.scene)
    volume = add_volume(slicer_context.scene, GRIDS["LPS"])
    views.show_study(slicer_context.scene, {"t1c": volume})
    views.face(slicer_context.scene, volume)
    views.jump(slicer_context.scene, (0, 0, 0))
