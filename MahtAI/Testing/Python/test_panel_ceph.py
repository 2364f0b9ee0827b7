"""A cephalogram in the panel: the task switches, landmarks come and are corrected, and the numbers follow."""

from __future__ import annotations

import numpy as np
import pytest
from ceph_kit import FACE, CephServer, add_image, connect, drag, open_image, place
from ceph_reader import cell, ceph_server, choose_row, landmarks, placed, said, state_in_table, widget
from kit.event_loop import StallMeter, spin
from panel_kit import Reader, pick
from scene_kit import GRIDS, add_volume

from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.landmarks import index_of, positions_ras, read_info

__all__ = ["ceph_server", "placed"]


# the task


def test_a_single_image_switches_the_task_and_the_reader_can_go_back(reader: Reader) -> None:
    assert reader.panel.task().id == "brain-tumour"
    assert reader.panel.ceph.image_section.widget.isHidden()
    open_image(reader)
    assert reader.panel.task().id == "cephalometry"
    assert "single image was loaded" in reader.said("task", "taskLabel")
    assert reader.panel.study_section.widget.isHidden() and reader.panel.review_section.widget.isHidden()
    assert not reader.panel.ceph.image_section.widget.isHidden()
    assert reader.ui("ai").runButton.text == "Place landmarks"
    reader.ui("task").brainButton.click()
    assert reader.panel.task().id == "brain-tumour" and reader.ui("ai").runButton.text == "Run"
    assert reader.panel.ceph.image_section.widget.isHidden()
    spin(lambda: not reader.panel._refresh_soon.active, 5)
    assert reader.panel.task().id == "brain-tumour"


def test_a_brain_study_alone_keeps_the_task(reader: Reader) -> None:
    add_volume(reader.scene, GRIDS["LPS"], "T1 post gad")
    spin(lambda: not reader.panel.study.is_empty(), 10)
    assert reader.panel.task().id == "brain-tumour"


def test_of_two_images_the_reader_chooses(reader: Reader) -> None:
    first, second = add_image(reader.scene, name="before"), add_image(reader.scene, name="after")
    spin(lambda: reader.panel.task().id == "cephalometry", 10)
    assert reader.panel.ceph.image.node is None
    assert "2 images are loaded" in said(reader, "image", "imageStateLabel")
    pick(widget(reader, "image", "imageSelector"), second)
    assert reader.panel.ceph.image.node is second and first is not second
    assert widget(reader, "image", "imageSelector").nodeCount() == 2


def test_the_image_is_shown_upright_in_one_large_view(reader: Reader) -> None:
    import slicer

    node = open_image(reader)
    view = slicer.app.layoutManager().sliceWidget("MahtAICeph")
    assert view.mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    to_ras = view.mrmlSliceNode().GetSliceToRAS()
    assert to_ras.GetElement(0, 0) == -1 and to_ras.GetElement(1, 1) == 1


# a run


def test_one_button_places_the_landmarks_with_what_the_model_knows_of_each(
    reader: Reader, ceph_server: CephServer
) -> None:
    connect(reader, ceph_server)
    open_image(reader)
    with StallMeter() as meter:
        node = place(reader)
        spin(lambda: widget(reader, "measurements", "measurementsTable").rowCount > 0, 10)
    print(f"\nlongest stall from click to landmarks {1000 * meter.longest_s:.0f} ms")
    assert len(positions_ras(node)) == 19
    assert read_info(node)["Go"].confidence == 0.3
    assert state_in_table(reader, "Go") == "AI"
    assert "made up" in reader.said("ai", "warningsLabel")
    assert ceph_server.asked[0]["options"]["mm_per_unit"] == "1.0"
    assert list(ceph_server.asked[0]["inputs"]) == ["ceph"]


def test_an_image_of_unknown_scale_is_sent_as_such(reader: Reader, ceph_server: CephServer) -> None:
    connect(reader, ceph_server)
    open_image(reader)
    widget(reader, "image", "forgetButton").click()
    place(reader)
    assert ceph_server.asked[0]["options"]["mm_per_unit"] == "unknown"
    assert "angles and ratios only" in said(reader, "measurements", "uncalibratedLabel")
    assert "needs calibration" in cell(reader, "U1–APog", 3)
    assert cell(reader, "SNA", 1) != "–"


def test_an_indeterminate_result_is_shown_with_its_reason(reader: Reader, ceph_server: CephServer) -> None:
    ceph_server.reasons = ["The image does not look like a cephalogram."]
    connect(reader, ceph_server)
    open_image(reader)
    node = place(reader)
    assert "does not look like a cephalogram" in said(reader, "landmarks", "bannerLabel")
    assert len(positions_ras(node)) == 19
    assert len(landmarks(reader).doubtful()) == 19
    assert not any(node.GetNthControlPointSelected(index) for index in range(19))


def test_a_run_can_be_cancelled_and_nothing_changes(reader: Reader, ceph_server: CephServer) -> None:
    ceph_server.holds = True
    connect(reader, ceph_server)
    open_image(reader)
    reader.ui("ai").runButton.click()
    assert reader.panel.run.is_running
    reader.ui("ai").cancelButton.click()
    reader.wait_for_run()
    assert "Cancelled" in reader.said("ai", "runStateLabel") and landmarks(reader).node is None


def test_the_landmarks_of_an_image_that_was_deleted_meanwhile_are_kept(reader: Reader, ceph_server: CephServer) -> None:
    ceph_server.holds = True
    connect(reader, ceph_server)
    node = open_image(reader)
    reader.ui("ai").runButton.click()
    spin(lambda: ceph_server.asked, 10)
    reader.scene.RemoveNode(node)
    ceph_server.state.change(next(iter(ceph_server.state.jobs)), state="succeeded")
    reader.wait_for_run()
    assert "deleted meanwhile" in reader.said("ai", "runStateLabel")
    assert reader.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") >= 1


def test_landmarks_that_come_after_another_image_was_chosen_go_to_their_own(
    reader: Reader, ceph_server: CephServer
) -> None:
    ceph_server.holds = True
    connect(reader, ceph_server)
    first = open_image(reader)
    reader.ui("ai").runButton.click()
    spin(lambda: ceph_server.asked, 10)
    second = add_image(reader.scene, name="another")
    reader.panel.ceph.image.choose(second)
    ceph_server.state.change(next(iter(ceph_server.state.jobs)), state="succeeded")
    reader.wait_for_run()
    assert reader.panel.ceph.image.node is first and len(positions_ras(landmarks(reader).node)) == 19
    reader.panel.ceph.image.choose(second)
    assert landmarks(reader).node is None


# correcting


def test_the_keys_go_through_the_doubtful_landmarks_at_a_useful_zoom(placed: Reader) -> None:
    import slicer

    state, view = landmarks(placed), slicer.app.layoutManager().sliceWidget("MahtAICeph").mrmlSliceNode()
    assert state.doubtful() == ["Go", "Po"]
    widget(placed, "landmarks", "nextButton").click()
    assert state.selected == "Go" and "1 of 2: Go" in said(placed, "landmarks", "doubtLabel")
    assert min(view.GetFieldOfView()[:2]) == pytest.approx(40)
    centre = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    np.testing.assert_allclose(centre, positions_ras(state.node)["Go"], atol=1e-6)
    widget(placed, "landmarks", "previousButton").click()
    assert state.selected == "Po"


def test_confirming_goes_to_the_next_doubtful_one(placed: Reader) -> None:
    widget(placed, "landmarks", "nextButton").click()
    widget(placed, "landmarks", "confirmButton").click()
    assert state_in_table(placed, "Go") == "confirmed" and landmarks(placed).selected == "Po"
    widget(placed, "landmarks", "confirmButton").click()
    assert landmarks(placed).doubtful() == []
    assert is_edited(landmarks(placed).node)
    widget(placed, "landmarks", "undoButton").click()
    assert state_in_table(placed, "Po") == "AI"


def test_a_drag_moves_the_numbers_and_the_tracing(placed: Reader) -> None:
    state = landmarks(placed)
    before, sna = state.live.drawing, cell(placed, "SNA", 1)
    drag(state.node, "A", positions_ras(state.node)["A"] + [-4, 0, 0])
    assert cell(placed, "SNA", 1) != sna and state.live.drawing is not before
    assert state_in_table(placed, "A") == "moved"
    widget(placed, "landmarks", "undoButton").click()
    assert cell(placed, "SNA", 1) == sna and state_in_table(placed, "A") == "AI"


def test_one_step_back_takes_the_model_s_landmarks_away_and_one_forth_brings_them_back(placed: Reader) -> None:
    widget(placed, "landmarks", "undoButton").click()
    assert positions_ras(landmarks(placed).node) == {}
    assert widget(placed, "measurements", "uncalibratedLabel").isHidden()
    widget(placed, "landmarks", "redoButton").click()
    assert len(positions_ras(landmarks(placed).node)) == 19


def test_a_removed_landmark_is_missing_and_its_measurements_say_so(placed: Reader) -> None:
    choose_row(placed, "A")
    widget(placed, "landmarks", "clearButton").click()
    assert state_in_table(placed, "A") == "missing"
    assert cell(placed, "SNA", 1) == "–" and cell(placed, "SNA", 3) == "lacks A"
    landmarks(placed).node.RemoveNthControlPoint(index_of(landmarks(placed).node, "N"))
    assert state_in_table(placed, "N") == "missing" and "N" in cell(placed, "SNA", 3)


def test_landmarks_are_placed_by_hand_without_any_model(reader: Reader) -> None:
    open_image(reader)
    choose_row(reader, "S")
    widget(reader, "landmarks", "placeButton").click()
    state = landmarks(reader)
    assert state.is_placing() and "Click in the image where Sella lies" in said(
        reader, "landmarks", "landmarkStateLabel"
    )
    node = state.node
    node.SetNthControlPointPosition(index_of(node, "S"), -80, -95, 0)
    state.stop_placing()
    assert state_in_table(reader, "S") == "by hand"
    assert state_in_table(reader, "N") == "missing"


def test_points_that_cannot_be_measured_raise_nothing(placed: Reader) -> None:
    node = landmarks(placed).node
    for key in FACE:
        drag(node, key, (-50.0, -50.0, 0.0))
    for key in ("S", "N"):
        node.SetNthControlPointPosition(index_of(node, key), float("inf"), 0, 0)
    assert "no number" in said(placed, "landmarks", "landmarkStateLabel")
    node.RemoveAllControlPoints()
    assert all(row.about.state == "missing" for row in landmarks(placed).rows())
    placed.scene.RemoveNode(node)
    spin(lambda: landmarks(placed).live.evaluation is None, 5)


def test_an_earlier_tracing_is_laid_over_and_taken_away(placed: Reader) -> None:
    first = placed.panel.ceph.image.node
    later = add_image(placed.scene, name="a year later")
    spin(lambda: "Another image is loaded" in said(placed, "image", "imageStateLabel"), 5)
    pick(widget(placed, "image", "imageSelector"), later)
    place(placed)
    box = widget(placed, "measurements", "earlierComboBox")
    assert box.findText(f"{first.GetName()}: MahtAI landmarks") > 0
    box.setCurrentIndex(1)
    laid = landmarks(placed).live.superimposition
    assert laid is not None and laid.points["N"] == pytest.approx(FACE["N"])
    box.setCurrentIndex(0)
    assert landmarks(placed).live.superimposition is None
