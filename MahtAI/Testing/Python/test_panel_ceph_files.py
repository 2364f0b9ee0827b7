"""Landmarks of the panel in versions, scenes and files; the scale of an image, and images that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ceph_kit import FACE, CephServer, add_image, connect, drag, open_image, place, proposal
from ceph_reader import cell, ceph_server, landmarks, placed, said, state_in_table, widget
from kit.dialogs import Dialogs
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from PIL import Image

from MahtAILib.client.markups import decode_markups, encode_markups
from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.landmarks import positions_ras
from server_process import free_port

__all__ = ["ceph_server", "placed"]


# versions and files


def test_corrections_are_versions_that_can_be_opened_and_laid_over(placed: Reader, ceph_server: CephServer) -> None:
    state = landmarks(placed)
    placed.save(comment="the proposal")
    drag(state.node, "A", positions_ras(state.node)["A"] + [-4, 0, 0])
    assert "not saved" in placed.said("save", "saveStateLabel")
    corrected = positions_ras(state.node)["A"]
    placed.save(comment="A corrected")
    assert not is_edited(state.node)
    assert [version.number for version in placed.panel.versions.versions] == [2, 1]
    assert ceph_server.state.labels[1]["parent"] == ceph_server.state.labels[0]["id"]
    saved = decode_markups(ceph_server.state.volumes[ceph_server.state.labels[1]["landmarks"]])
    assert saved.by_id["A"].state == "moved" and saved.mm_per_unit == pytest.approx(1.0)
    assert next(iter(ceph_server.state.cases.values()))["task"] == "cephalometry"
    placed.ui("save").versionsTable.setCurrentCell(1, 0)
    placed.ui("save").openButton.click()
    placed.wait_for_versions()
    assert state_in_table(placed, "A") == "AI"
    widget(placed, "landmarks", "undoButton").click()
    np.testing.assert_allclose(positions_ras(state.node)["A"], corrected)
    box = widget(placed, "measurements", "earlierComboBox")
    box.setCurrentIndex(2)
    spin(lambda: state.live.superimposition is not None, 10)
    assert "version 1" in said(placed, "measurements", "earlierLabel")


def test_without_a_server_a_version_waits_on_this_computer(reader: Reader) -> None:
    open_image(reader)
    landmarks(reader).show_result(proposal(), _provenance())
    reader.ui("server").addressComboBox.setCurrentText(f"http://127.0.0.1:{free_port()}")
    reader.save()
    assert "sent when the server is back" in reader.said("save", "saveStateLabel")
    assert reader.panel.versions.waiting == 1


def test_unsaved_corrections_become_a_draft_when_the_scene_is_closed(placed: Reader) -> None:
    node = landmarks(placed).node
    drag(node, "A", positions_ras(node)["A"] + [-4, 0, 0])
    placed.context.close_scene()
    (draft,) = (placed.panel.settings.folder / "drafts").iterdir()
    assert decode_markups(draft.read_bytes()).by_id["A"].state == "moved"
    assert str(draft) in placed.said("save", "saveStateLabel")


def test_a_scene_that_was_saved_goes_on_after_loading(placed: Reader, tmp_path: Path) -> None:
    import slicer

    node = landmarks(placed).node
    drag(node, "A", positions_ras(node)["A"] + [-4, 0, 0])
    sna = cell(placed, "SNA", 1)
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    placed.context.close_scene()
    assert landmarks(placed).node is None
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    spin(lambda: landmarks(placed).live.evaluation is not None, 10)
    assert placed.panel.task().id == "cephalometry"
    assert cell(placed, "SNA", 1) == sna and state_in_table(placed, "A") == "moved"
    assert placed.panel.ceph.image.mm_per_unit == pytest.approx(1.0)
    models = placed.scene.GetNumberOfNodesByClass("vtkMRMLModelNode")
    drag(landmarks(placed).node, "A", positions_ras(landmarks(placed).node)["A"])
    assert placed.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == models


@pytest.mark.parametrize(
    ("button", "name"),
    [
        ("exportPointsButton", "out.mrk.json"),
        ("exportTableButton", "out.csv"),
        ("exportTracingButton", "tracing.png"),
        ("exportChartButton", "chart.png"),
    ],
)
def test_exports_can_be_read_again(placed: Reader, dialogs: Dialogs, tmp_path: Path, button: str, name: str) -> None:
    path = tmp_path / name
    dialogs.answer(str(path))
    widget(placed, "measurements", button).click()
    spin(lambda: "Written" in said(placed, "measurements", "exportStateLabel"), 20)
    if name.endswith(".mrk.json"):
        assert len(decode_markups(path.read_bytes()).positions) == 19
        assert json.loads(path.read_text("utf-8"))["markups"][0]["coordinateSystem"] == "LPS"
    elif name.endswith(".csv"):
        text = path.read_text("utf-8-sig")
        assert "Sella" in text and "SNA" in text and "Steiner" in text
    else:
        assert min(Image.open(path).size) > 300


def test_nothing_is_exported_where_there_is_nothing(reader: Reader) -> None:
    open_image(reader)
    widget(reader, "measurements", "exportTableButton").click()
    assert "nothing to export" in said(reader, "measurements", "exportStateLabel")


# calibration and bad images


def test_a_ruler_or_a_typed_size_calibrates_and_nonsense_is_refused(placed: Reader) -> None:
    image, node = placed.panel.ceph.image, placed.panel.ceph.image.node
    widget(placed, "image", "forgetButton").click()
    assert "angles and ratios only" in said(placed, "image", "calibrationLabel")
    assert not widget(placed, "image", "calibrationGroupBox").collapsed
    widget(placed, "image", "pixelSpinBox").value = 5.0
    widget(placed, "image", "usePixelButton").click()
    assert "not believed" in said(placed, "image", "calibrationLabel") and image.mm_per_unit is None
    widget(placed, "image", "rulerButton").click()
    line = placed.scene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
    for point in ((100.0, 20.0), (100.0, 70.0)):
        line.AddControlPoint(image.plane().ras_of(point))
    spin(lambda: widget(placed, "image", "useRulerButton").enabled, 5)
    widget(placed, "image", "rulerSpinBox").value = 45.0
    widget(placed, "image", "useRulerButton").click()
    assert image.mm_per_unit == pytest.approx(0.9)
    assert node.GetAttribute("MahtAI.MillimetresPerUnit") == "0.9"
    assert placed.scene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode") is None
    assert cell(placed, "U1–APog", 1) != "–"


@pytest.mark.parametrize(
    ("spacing", "words"), [(float("nan"), "not numbers"), (0.001, "The voxel spacing is"), (32, "no landmark")]
)
def test_an_image_that_cannot_be_used_says_why_and_nothing_is_sent(
    reader: Reader, ceph_server: CephServer, spacing: float, words: str
) -> None:
    connect(reader, ceph_server)
    node = add_image(reader.scene, array=np.zeros((32, 32, 1), np.uint8) if spacing == 32 else None)
    if spacing != 32:
        node.SetSpacing(spacing, spacing, 1)
    spin(lambda: reader.panel.ceph.image.node is node, 10)
    assert "⚠" in said(reader, "image", "imageStateLabel")
    reader.ui("ai").runButton.click()
    assert "⚠" in reader.said("ai", "runStateLabel") and not ceph_server.asked


def test_a_spacing_of_5_mm_is_not_believed_and_angles_are_measured(reader: Reader, ceph_server: CephServer) -> None:
    connect(reader, ceph_server)
    matrix = np.diag([-5.0, -5.0, 1, 1])
    open_image(reader, ijk_to_ras=matrix)
    assert "5 mm is not believed" in said(reader, "image", "calibrationLabel")
    ceph_server.file = proposal(ijk_to_ras=matrix, mm_per_unit=None)
    place(reader)
    assert cell(reader, "SNA", 1) != "–"


def test_landmarks_that_the_server_garbles_are_refused(reader: Reader, ceph_server: CephServer) -> None:
    connect(reader, ceph_server)
    open_image(reader)
    from MahtAILib.panel import landmark_task

    assert landmark_task.decode_markups is decode_markups
    ceph_server.file = proposal(missing=tuple(FACE))
    node = place(reader)
    assert positions_ras(node) == {} and len(landmarks(reader).doubtful()) == 19
    assert encode_markups(ceph_server.file)


def test_the_consent_names_the_pixels_and_asks_once(reader: Reader, ceph_server: CephServer, dialogs: Dialogs) -> None:
    import qt

    connect(reader, ceph_server)
    open_image(reader)
    reader.panel.server.connection.is_local = False
    dialogs.answer(qt.QMessageBox.No, text="the pixels of the cephalogram")
    reader.ui("ai").runButton.click()
    assert "Nothing was sent" in reader.said("ai", "runStateLabel") and not ceph_server.asked
    dialogs.answer(qt.QMessageBox.Yes, text="the pixels of the cephalogram")
    place(reader)
    place(reader)


def test_a_reader_s_own_analysis_is_shown_and_a_broken_file_is_explained(qt_app: SlicerContext, tmp_path: Path) -> None:
    from MahtAILib.cephalometry import shipped_analyses
    from MahtAILib.panel.live_tracing import LiveTracing
    from MahtAILib.scene.parameters import Parameters

    shipped = Path(__file__).resolve().parents[2] / "MahtAILib" / "cephalometry" / "data" / "tweed.json"
    own = json.loads(shipped.read_text("utf-8"))
    folder = tmp_path / "analyses"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps(own).replace("tweed", "mine").replace("Tweed", "Mine"), "utf-8")
    live = LiveTracing(qt_app.scene, lambda: Parameters(qt_app.scene), folder)
    assert live.error is None and [one.id for one in live.analyses][-1] == "mine"
    (folder / "mine.json").write_text("{", "utf-8")
    live = LiveTracing(qt_app.scene, lambda: Parameters(qt_app.scene), folder)
    assert "mine.json" in str(live.error) and live.analyses == shipped_analyses()


def _provenance() -> Any:
    from MahtAILib.scene.provenance import Provenance

    return Provenance(model="toy 1")
