"""The reader paints where the model is wrong, presses the button, and the panel says what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from correction_kit import JOB, serve, spread
from kit.brush import paint
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader, pick
from scene_kit import GRIDS, tumour
from stand_in_server import TOKEN, Handler, StandIn

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments_out import take_segments

GEOMETRY = Geometry((96, 90, 80), GRIDS["left-handed"].ijk_to_ras)
NAMES = ("T1 post gad", "T1", "T2", "FLAIR")
ET = 4


class Corrections:
    """A reader in front of a result of the job ``JOB``, and what they see of it."""

    def __init__(self, reader: Reader, server: StandIn) -> None:
        self.reader, self.server = reader, server
        self.corrector = serve(server, tumour(GEOMETRY))
        reader.load({name: (np.zeros(GEOMETRY.shape, np.int16), GEOMETRY) for name in NAMES})
        self.show(Provenance(job=JOB, server=server.url))

    def show(self, provenance: Provenance) -> None:
        """The result comes in."""
        self.reader.panel.review.place(tumour(GEOMETRY), provenance)
        self.reader.panel.review.refresh()

    @property
    def node(self) -> Any:
        return self.reader.panel.review.node

    @property
    def editor(self) -> Any:
        return self.reader.ui("review").segmentEditorWidget

    @property
    def ui(self) -> Any:
        return self.reader.panel.review_section.correction.ui

    @property
    def said(self) -> str:
        label = self.ui.correctionStateLabel
        return "" if label.isHidden() else str(label.text)

    def labels(self) -> np.ndarray:
        return take_segments(self.node, GEOMETRY).segmentation.layers[0]

    def paint(self, fraction: tuple[float, float, float], segment: str = "et", erase: bool = False) -> None:
        """A click with Slicer's brush."""
        index = [f * (n - 1) for f, n in zip(fraction, GEOMETRY.shape, strict=True)]
        centre = (GEOMETRY.ijk_to_ras @ [*index, 1])[:3]
        paint(self.editor.logic, segment, tuple(centre), 4.0, erase)

    def press(self) -> None:
        self.ui.correctButton.click()

    def wait(self) -> None:
        spin(lambda: not self.reader.panel.correction.is_running, 30, "the correction to end")

    def correct(self) -> str:
        """Press and wait; what is said then."""
        self.press()
        self.wait()
        return self.said


@pytest.fixture
def corrections(
    qt_app: SlicerContext, server: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Corrections]:
    reader = Reader(qt_app)
    reader.connect(server.url, TOKEN)
    yield Corrections(reader, server)
    reader.leave()


def test_a_click_of_the_brush_is_spread_by_the_model_and_undone_in_one_step(corrections: Corrections) -> None:
    proposed = corrections.labels()
    corrections.paint((0.28, 0.5, 0.5))
    corrections.paint((0.6, 0.35, 0.5), "ed", erase=True)
    painted = corrections.labels()
    strokes = painted != proposed
    said = corrections.correct()
    corrected = corrections.labels()
    assert said.startswith("Corrected") and "Undo" in said
    np.testing.assert_array_equal(corrected[strokes], painted[strokes])
    np.testing.assert_array_equal(corrected, spread(painted, np.where(strokes, painted + 1, 0).astype(np.uint8)))
    assert is_edited(corrections.node) and corrections.reader.panel.review.provenance.corrections == 1
    corrections.editor.undo()
    np.testing.assert_array_equal(corrections.labels(), painted)
    corrections.editor.redo()
    np.testing.assert_array_equal(corrections.labels(), corrected)


def test_only_the_region_travels_and_the_proposal_is_fetched_once(corrections: Corrections) -> None:
    corrections.paint((0.2, 0.2, 0.2))
    corrections.correct()
    corrections.paint((0.2, 0.25, 0.3), "ncr")
    corrections.correct()
    (labels, first, _), (_, second, _) = corrections.corrector.asked
    assert labels.size < 0.4 * np.prod(GEOMETRY.shape)
    assert set(np.unique(first)) == {0, 1 + ET} and set(np.unique(second)) == {0, 1 + 1, 1 + ET}
    state = corrections.server.state
    assert state.count("GET", "/result/segmentation") == 1 and state.count("POST", "/corrections") == 2


def test_after_an_undo_the_same_strokes_are_sent_again(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    corrections.correct()
    corrections.editor.undo()
    corrections.correct()
    (_, first, _), (_, again, _) = corrections.corrector.asked
    np.testing.assert_array_equal(first, again)


def test_the_key_presses_the_button(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    from PySide6 import QtGui

    shortcuts = slicer.util.mainWindow().findChildren(QtGui.QShortcut)
    next(one for one in shortcuts if one.key == QtGui.QKeySequence("Ctrl+Return")).activated.emit()
    assert corrections.reader.panel.correction.is_running
    corrections.wait()
    assert corrections.said.startswith("Corrected")


def test_nothing_is_sent_without_a_stroke(corrections: Corrections) -> None:
    assert "Paint or erase where the model is wrong first" in corrections.correct()
    assert not corrections.corrector.asked


def test_while_it_looks_the_reader_is_told_and_can_cancel(corrections: Corrections) -> None:
    corrections.corrector.may_answer.clear()
    corrections.paint((0.28, 0.5, 0.5))
    painted = corrections.labels()
    corrections.press()
    spin(lambda: "looks again" in corrections.said, 10, "the reader to be told")
    assert not corrections.ui.correctButton.enabled and not corrections.ui.cancelCorrectionButton.isHidden()
    corrections.ui.cancelCorrectionButton.click()
    corrections.wait()
    assert "Cancelled. Nothing was changed." in corrections.said
    corrections.corrector.may_answer.set()
    np.testing.assert_array_equal(corrections.labels(), painted)
    assert corrections.ui.cancelCorrectionButton.isHidden()
    assert corrections.correct().startswith("Corrected")


def asked(corrections: Corrections) -> None:
    """Press, and wait until the server has the question; it does not answer yet."""
    corrections.corrector.may_answer.clear()
    corrections.press()
    spin(lambda: bool(corrections.corrector.asked), 10, "the question to arrive")


def test_what_is_edited_elsewhere_meanwhile_is_kept(corrections: Corrections) -> None:
    corrections.paint((0.15, 0.2, 0.2))
    asked(corrections)
    corrections.paint((0.9, 0.9, 0.9), "ed")
    edited = corrections.labels()
    corrections.corrector.may_answer.set()
    corrections.wait()
    assert corrections.said.startswith("Corrected")
    corrected = corrections.labels()
    assert (corrected[edited == 2] == 2).all() and (corrected != edited).any()
    corrections.editor.undo()
    np.testing.assert_array_equal(corrections.labels(), edited)


def test_what_is_edited_in_the_region_meanwhile_keeps_the_answer_out(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    asked(corrections)
    corrections.paint((0.28, 0.6, 0.5))
    edited = corrections.labels()
    corrections.corrector.may_answer.set()
    corrections.wait()
    assert "while the model looked" in corrections.said and "Press it again" in corrections.said
    np.testing.assert_array_equal(corrections.labels(), edited)
    assert corrections.correct().startswith("Corrected")


def test_an_answer_for_a_segmentation_that_is_no_longer_chosen_is_not_put_in(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    node, painted = corrections.node, corrections.labels()
    asked(corrections)
    other = corrections.reader.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    pick(corrections.reader.ui("review").segmentationSelector, other)
    corrections.corrector.may_answer.set()
    corrections.wait()
    assert "Another segmentation was chosen" in corrections.said
    np.testing.assert_array_equal(take_segments(node, GEOMETRY).segmentation.layers[0], painted)


def test_the_scene_can_be_closed_while_the_model_looks(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    asked(corrections)
    corrections.reader.context.close_scene()
    assert not corrections.reader.panel.correction.is_running
    corrections.corrector.may_answer.set()
    assert corrections.node is None and not corrections.ui.correctButton.enabled


def refuse(status: int, kind: str, detail: str = "It cannot be.") -> Callable[[Corrections], None]:
    def respond(handler: Handler) -> bool:
        handler.problem(status, kind, detail, "Do this.", Retry_After="60")
        return True

    return lambda corrections: setattr(corrections.corrector, "respond", respond)


def forget(corrections: Corrections) -> None:
    corrections.server.state.jobs.clear()


def fall_silent(corrections: Corrections) -> None:
    corrections.server.stop()


def break_a_stroke(corrections: Corrections) -> None:
    corrections.corrector.answer = lambda labels, strokes, geometry: nrrd.encode(
        np.where(strokes > 0, 0, labels).astype(np.uint8), geometry.ijk_to_ras
    )


def label_unknown(corrections: Corrections) -> None:
    corrections.corrector.answer = lambda labels, strokes, geometry: nrrd.encode(
        np.where(strokes > 0, labels, 99).astype(np.uint8), geometry.ijk_to_ras
    )


def overlap(corrections: Corrections) -> None:
    corrections.node.GetSegmentation().SeparateSegmentLabelmap("ed")
    logic = corrections.editor.logic
    logic.GetSegmentEditorNode().SetOverwriteMode(logic.GetSegmentEditorNode().OverwriteNone)
    corrections.paint((0.5, 0.5, 0.5), "ed")


TROUBLE: dict[str, tuple[Callable[[Corrections], Any], str]] = {
    "the job is gone": (forget, "does not have the AI result"),
    "an old server": (refuse(404, "not-found"), "too old"),
    "no result": (refuse(409, "no-result"), "It cannot be. Do this."),
    "refused": (refuse(422, "region"), "It cannot be. Do this."),
    "busy": (refuse(503, "busy"), "It cannot be. Do this."),
    "the server is gone": (fall_silent, "No server is running"),
    "a stroke is not honoured": (break_a_stroke, "does not keep to the strokes"),
    "an unknown label": (label_unknown, "label that the model does not know"),
    "segments overlap": (overlap, "overlap"),
    "no connection": (lambda corrections: corrections.reader.panel.server.disconnect(), "no connection"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_is_told_in_words_and_nothing_is_lost(corrections: Corrections, trouble: str) -> None:
    cause, words = TROUBLE[trouble]
    corrections.paint((0.28, 0.5, 0.5))
    cause(corrections)
    painted = take_segments(corrections.node, GEOMETRY).segmentation.layers
    said = corrections.correct()
    assert said.startswith("⚠") and words in said
    np.testing.assert_array_equal(take_segments(corrections.node, GEOMETRY).segmentation.layers, painted)
    assert corrections.reader.panel.review.provenance.corrections == 0
    assert corrections.ui.correctButton.enabled


def test_a_segmentation_without_a_result_and_no_segmentation_are_told_apart(corrections: Corrections) -> None:
    corrections.show(Provenance())
    corrections.paint((0.28, 0.5, 0.5))
    assert "no AI result of this server" in corrections.correct()
    corrections.show(Provenance(job="gone", server="http://elsewhere:1"))
    corrections.paint((0.28, 0.5, 0.5))
    assert "Connect to http://elsewhere:1" in corrections.correct()
    pick(corrections.reader.ui("review").segmentationSelector, None)
    assert not corrections.ui.correctButton.enabled
    corrections.reader.panel.correction.start()
    assert "no segmentation" in corrections.said


def test_the_reader_s_own_segment_is_left_and_named(corrections: Corrections) -> None:
    corrections.node.GetSegmentation().AddEmptySegment("vessel", "Vessel")
    corrections.paint((0.28, 0.44, 0.5), "vessel")
    before = take_segments(corrections.node, GEOMETRY).segmentation.mask("vessel")
    corrections.paint((0.28, 0.54, 0.5))
    assert "“Vessel”" in corrections.correct()
    after = take_segments(corrections.node, GEOMETRY).segmentation.mask("vessel")
    np.testing.assert_array_equal(after, before)


def test_a_scene_that_was_saved_and_loaded_goes_on(corrections: Corrections, tmp_path: Path) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    corrections.correct()
    corrections.paint((0.28, 0.7, 0.5), "ed")
    labels = corrections.labels()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    corrections.reader.context.close_scene()
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    np.testing.assert_array_equal(corrections.labels(), labels)
    assert corrections.correct().startswith("Corrected")
    strokes = corrections.corrector.asked[-1][1]
    proposed = tumour(GEOMETRY).layers[0]
    # what was corrected before counts as the reader's own
    assert np.count_nonzero(strokes) == np.count_nonzero(labels != proposed)
    assert corrections.reader.panel.review.provenance.corrections == 2


def test_the_count_of_corrections_is_in_the_saved_file(corrections: Corrections) -> None:
    corrections.paint((0.28, 0.5, 0.5))
    corrections.correct()
    task = corrections.reader.panel.segmentation
    saved = files.decode(task.for_file(corrections.node, task.provenance).encode())
    assert saved.provenance["Corrections"] == "1"
