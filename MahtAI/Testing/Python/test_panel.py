"""The panel in front of a real server: what a reader does, and what the panel says when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader, pick

from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.segments_out import take_segments
from server_process import ServerProcess
from studies import FAST, synthetic_study
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("panel-models")
    write_tiny_bundle(models / "tiny", missing_channels_ok=True)
    process = ServerProcess(tmp_path_factory.mktemp("panel-server"), (models,)).start()
    yield process
    process.kill()


@pytest.fixture
def reader(qt_app: SlicerContext, tiny_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """The panel is open and connected to the tiny server."""
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tiny_server.root / "config"))
    reader = Reader(qt_app)
    reader.connect(tiny_server.url)
    for name in ("register", "brain_mask", "check_sequences"):
        reader.panel.parameters().set(name, FAST[name])
    yield reader
    reader.leave()


def test_the_reader_runs_a_model_and_sees_what_it_found(reader: Reader) -> None:
    assert "Connected" in reader.said("server", "serverStateLabel")
    reader.load_study(synthetic_study())
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done"), reader.said("ai", "runStateLabel")
    assert reader.ui("ai").regionTable.rowCount == 3
    node = reader.panel.review.node
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    assert reader.panel.parameters().confidence is not None


def test_each_correction_becomes_a_version_that_can_be_opened_again(reader: Reader) -> None:
    from MahtAILib.scene.editing import Editor

    volumes = reader.load_study(synthetic_study(1))
    reader.run()
    reader.save(comment="the proposal")
    assert reader.ui("save").commentLineEdit.text == ""
    first = reader.panel.review.node
    proposal = take_segments(first, reader.panel.study.reference_geometry()).segmentation
    editor = Editor(reader.scene, first, volumes["t1c"])
    editor.paint("ed", editor.ball((-40, -40, 40), 10))
    assert is_edited(first)
    assert "not saved" in reader.said("save", "saveStateLabel")
    corrected = take_segments(first, proposal.geometry).segmentation
    reader.save(comment="corrected")
    assert not is_edited(first)
    assert [version.number for version in reader.panel.versions.versions] == [2, 1]
    assert reader.panel.versions.versions[0].parent == reader.panel.versions.versions[1].id
    for row, wanted in ((1, proposal), (0, corrected)):
        table = reader.ui("save").versionsTable
        table.setCurrentCell(row, 0)
        reader.ui("save").openButton.click()
        reader.wait_for_versions()
        opened = take_segments(reader.panel.review.node, wanted.geometry).segmentation
        np.testing.assert_array_equal(opened.layers, wanted.layers)
        assert [s.label_value for s in opened.segments] == [s.label_value for s in wanted.segments]


def test_without_the_server_a_version_waits_and_is_sent_later(reader: Reader, tiny_server: ServerProcess) -> None:
    reader.load_study(synthetic_study(2))
    reader.run()
    reader.panel.server.disconnect()
    reader.ui("server").addressComboBox.setCurrentText(tiny_server.url)
    reader.save()
    assert "sent when the server is back" in reader.said("save", "saveStateLabel")
    assert reader.panel.versions.waiting == 1
    assert not is_edited(reader.panel.review.node)
    reader.connect(tiny_server.url)
    spin(lambda: reader.panel.versions.waiting == 0, 30)
    reader.wait_for_versions()
    assert len(reader.panel.versions.versions) == 1


def test_nothing_runs_without_a_connection_and_the_panel_says_what_to_do(reader: Reader) -> None:
    reader.panel.server.disconnect()
    reader.ui("ai").runButton.click()
    assert "no connection" in reader.said("ai", "runStateLabel")
    assert "Start on this computer" in reader.said("ai", "runStateLabel")


def test_an_empty_scene_says_what_to_load(reader: Reader) -> None:
    reader.ui("ai").runButton.click()
    said = reader.said("ai", "runStateLabel")
    assert "⚠" in said and "Nothing was sent" in said


def test_a_volume_that_is_chosen_twice_changes_places(reader: Reader) -> None:
    volumes = reader.load_study(synthetic_study())
    pick(reader.ui("study").t1Selector, volumes["flair"])
    assert reader.panel.study.volume("t1") is volumes["flair"]
    assert reader.panel.study.volume("flair") is volumes["t1"]
    assert "changed places" in reader.said("study", "studyStateLabel")


def test_the_scene_can_be_closed_while_a_job_runs(reader: Reader) -> None:
    reader.load_study(synthetic_study(3))
    reader.ui("ai").runButton.click()
    assert reader.panel.run.is_running
    reader.context.close_scene()
    assert not reader.panel.run.is_running
    assert "scene was closed" in reader.said("ai", "runStateLabel")
    reader.load_study(synthetic_study(3))
    reader.run()
    assert reader.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_run_can_be_cancelled_and_nothing_changes(reader: Reader) -> None:
    reader.load_study(synthetic_study(4))
    reader.ui("ai").runButton.click()
    reader.ui("ai").cancelButton.click()
    reader.wait_for_run()
    assert "Cancelled" in reader.said("ai", "runStateLabel")
    assert reader.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_volumes_that_change_during_a_run_are_named_with_the_result(reader: Reader) -> None:
    volumes: dict[str, Any] = reader.load_study(synthetic_study(5))
    reader.ui("ai").runButton.click()
    volumes["t1"].GetImageData().Modified()
    reader.scene.RemoveNode(volumes["t2"])
    reader.wait_for_run()
    said = reader.said("ai", "runStateLabel")
    assert "T1 was changed meanwhile" in said and "T2 was deleted meanwhile" in said
    assert reader.panel.review.node is not None


def test_edits_during_a_run_are_kept_and_the_result_comes_beside_them(reader: Reader) -> None:
    from MahtAILib.scene.editing import Editor

    volumes = reader.load_study(synthetic_study(6))
    reader.run()
    before = reader.panel.review.node
    reader.panel.parameters().set("check_sequences", "on")
    reader.panel.parameters().set("brain_mask", "on")
    reader.panel.parameters().set("brain_mask", "off")
    reader.panel.parameters().set("check_sequences", "off")
    reader.ui("ai").runButton.click()
    editor = Editor(reader.scene, before, volumes["t1c"])
    editor.paint("ed", editor.ball((-40, -40, 40), 8))
    edited = take_segments(before, reader.panel.study.reference_geometry()).segmentation.layers
    reader.wait_for_run()
    after = reader.panel.review.node
    assert after is not before and "segmentation of its own" in reader.said("ai", "runStateLabel")
    kept = take_segments(before, reader.panel.study.reference_geometry()).segmentation.layers
    np.testing.assert_array_equal(kept, edited)


def test_the_module_can_be_loaded_anew_while_a_job_runs(reader: Reader, tmp_path: Path) -> None:
    reader.load_study(synthetic_study(7))
    reader.ui("ai").runButton.click()
    import slicer

    slicer.modules.MahtAIWidget.onReload()
    assert not reader.panel.run.is_running
    assert not reader.panel.study.is_empty()


def test_a_second_result_can_be_undone_with_the_editor_s_button(reader: Reader) -> None:
    reader.load_study(synthetic_study(8))
    reader.run()
    node = reader.panel.review.node
    reader.panel.parameters().set("register", "on")
    reader.run()
    assert reader.panel.review.node is node
    editor = reader.ui("review").segmentEditorWidget
    editor.undo()
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    editor.undo()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    editor.redo()
    assert node.GetSegmentation().GetNumberOfSegments() == 3


def test_edits_that_were_not_saved_are_kept_as_a_draft_when_the_scene_is_closed(reader: Reader) -> None:
    from MahtAILib.client import segmentation as files
    from MahtAILib.scene.editing import Editor

    volumes = reader.load_study(synthetic_study(9))
    reader.run()
    node = reader.panel.review.node
    editor = Editor(reader.scene, node, volumes["t1c"])
    editor.paint("ed", editor.ball((-40, -40, 40), 10))
    edited = take_segments(node, reader.panel.study.reference_geometry()).segmentation
    reader.context.close_scene()
    said = reader.said("save", "saveStateLabel")
    (draft,) = (reader.panel.settings.folder / "drafts").iterdir()
    assert "not saved" in said and str(draft) in said
    np.testing.assert_array_equal(files.decode(draft.read_bytes()).layers, edited.layers)


def test_a_verdict_and_the_doubtful_places_belong_to_one_result(reader: Reader) -> None:
    reader.load_study(synthetic_study(10))
    reader.run()
    places = len(reader.panel.review.slices)
    reader.panel.parameters().set("doubt", "slices")
    assert places and len(reader.panel.review.stations()) == places
    reader.ui("save").disagreeButton.click()
    assert reader.panel.parameters().get("verdict") == "disagree"
    reader.ui("save").disagreeButton.click()
    assert reader.panel.parameters().get("verdict") == ""
    reader.ui("save").agreeButton.click()
    reader.ui("save").disagreeButton.click()
    assert not reader.ui("save").agreeButton.checked
    reader.save(comment="wrong")
    reader.panel.parameters().set("register", "on")
    reader.run()
    assert reader.panel.parameters().get("verdict") == "" and reader.panel.parameters().get("comment") == ""
    by_hand = reader.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    pick(reader.ui("review").segmentationSelector, by_hand)
    assert reader.panel.review.stations() == []


def test_a_study_that_was_loaded_with_its_scene_is_not_chosen_anew_when_the_panel_opens(
    qt_app: SlicerContext,
) -> None:
    from scene_kit import GRIDS, add_volume

    from MahtAILib.scene.parameters import Parameters

    swapped = {"t1c": "FLAIR", "t1": "T2", "t2": "T1", "flair": "T1 post gad"}
    for slot, name in swapped.items():
        Parameters(qt_app.scene).set_volume(slot, add_volume(qt_app.scene, GRIDS["LPS"], name))
    reader = Reader(qt_app)
    assert {slot: reader.panel.study.volume(slot).GetName() for slot in swapped} == swapped
    reader.leave()
