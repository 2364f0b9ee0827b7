"""A coarse result while the full one is under way: shown as such, gone with the run, never the reader's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from scene_kit import GRIDS, tumour
from stand_in_server import TOKEN, Handler, StandIn

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.scene.preview import preview_of
from MahtAILib.scene.segments_out import take_segments

GRID = GRIDS["LPS"]
MODEL = {"id": "toy", "name": "Toy", "version": "1", "task": "brain-tumour", "state": "ready", "intended_use": "tests"}
SHOWN = "A coarse preview is shown; the full result follows …"


def smaller() -> Segmentation:
    """Another result than the full one."""
    whole = tumour(GRID)
    whole.layers[whole.layers == 2] = 0
    return whole


class Game:
    """A reader, and a server whose job goes on when the test says so."""

    def __init__(self, reader: Reader, server: StandIn) -> None:
        self.reader, self.server = reader, server
        percent = np.full(GRID.shape, 100, np.uint8, order="F")
        server.state.parts = {
            "segmentation": files.encode(tumour(GRID)),
            "confidence": nrrd.encode(percent, GRID.ijk_to_ras, None, "gzip"),
        }
        voxels = np.random.default_rng(0).integers(1, 900, (4, *GRID.shape), np.int16)
        names = ("T1 post gad", "T1", "T2", "FLAIR")
        reader.load({name: (array, GRID) for name, array in zip(names, voxels, strict=True)})

    def press_run(self) -> str:
        """Id of the job that was started by it."""
        known = set(self.server.state.jobs)
        self.reader.ui("ai").runButton.click()
        spin(lambda: set(self.server.state.jobs) - known, 20, "the job")
        (job,) = set(self.server.state.jobs) - known
        return job

    def announce(self, job: str, number: int = 1, preview: bytes | None = None) -> None:
        self.server.state.previews[job] = files.encode(smaller()) if preview is None else preview
        self.server.state.change(job, state="running", place=None, stage="predicting", fraction=0.5, preview=number)

    def show(self, job: str) -> Any:
        self.announce(job)
        spin(lambda: self.reader.panel.run.has_preview, 20, "the preview")
        return preview_of(self.reader.scene)

    def end(self, job: str, state: str = "succeeded") -> None:
        self.server.state.change(job, state=state, stage=None, preview=None, reason="No memory.", hint="Try again.")
        self.reader.wait_for_run()


@pytest.fixture
def game(qt_app: SlicerContext, server: StandIn) -> Iterator[Game]:
    server.state.models = [MODEL]
    reader = Reader(qt_app)
    reader.connect(server.url, TOKEN)
    yield Game(reader, server)
    reader.leave()


def segmentations(reader: Reader) -> int:
    return int(reader.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))


def test_a_preview_is_shown_as_one_and_the_result_takes_its_place_in_one_step(game: Game) -> None:
    reader, job = game.reader, game.press_run()
    node = game.show(job)
    assert reader.said("ai", "previewLabel") == SHOWN
    assert reader.panel.review.node is None and reader.ui("review").segmentationSelector.nodeCount() == 0
    assert not reader.ui("save").saveButton.enabled
    np.testing.assert_array_equal(take_segments(node, GRID).segmentation.layers, smaller().layers)
    counts: list[int] = []
    reader.scene.AddObserver(reader.scene.NodeRemovedEvent, lambda *_: counts.append(len(shown(reader))))
    game.end(job)
    # when the preview went, the result was there: never none to see
    assert counts and min(counts) >= 1
    assert preview_of(reader.scene) is None and segmentations(reader) == 1
    assert reader.said("ai", "previewLabel") == ""
    layers = take_segments(reader.panel.review.node, GRID).segmentation.layers
    np.testing.assert_array_equal(layers, tumour(GRID).layers)


def shown(reader: Reader) -> list[Any]:
    """Segmentations with voxels that are drawn."""
    scene = reader.scene
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode") for index in range(count)]
    return [node for node in nodes if node.GetDisplayNode() is not None and node.GetDisplayNode().GetVisibility()]


def test_edits_of_an_earlier_result_are_not_touched_by_a_preview(game: Game) -> None:
    from MahtAILib.scene.editing import Editor
    from MahtAILib.scene.edits import is_edited

    reader = game.reader
    game.end(game.press_run())
    mine = reader.panel.review.node
    editor = Editor(reader.scene, mine, reader.panel.study.volume("t1c"))
    editor.paint("et", editor.ball((0, 0, 0), 5))
    edited = take_segments(mine, GRID).segmentation.layers
    reader.panel.parameters().set("register", "off")
    job = game.press_run()
    game.show(job)
    assert reader.panel.review.node is mine and is_edited(mine)
    np.testing.assert_array_equal(take_segments(mine, GRID).segmentation.layers, edited)
    editor.undo()
    editor.redo()
    np.testing.assert_array_equal(take_segments(mine, GRID).segmentation.layers, edited)
    game.end(job)
    np.testing.assert_array_equal(take_segments(mine, GRID).segmentation.layers, edited)
    assert reader.panel.review.node is not mine and preview_of(reader.scene) is None


@pytest.mark.parametrize("how", ["cancelled by the reader", "failed", "scene closed"])
def test_a_preview_goes_with_its_run(game: Game, how: str) -> None:
    reader, job = game.reader, game.press_run()
    game.show(job)
    if how == "failed":
        game.end(job, "failed")
        assert "No memory." in reader.said("ai", "runStateLabel")
    elif how == "scene closed":
        reader.context.close_scene()
    else:
        reader.ui("ai").cancelButton.click()
        reader.wait_for_run()
    assert preview_of(reader.scene) is None and segmentations(reader) == 0
    assert reader.said("ai", "previewLabel") == "" and not reader.panel.run.has_preview


def test_a_preview_that_makes_no_sense_is_left_out_and_the_result_comes(game: Game) -> None:
    reader, job = game.reader, game.press_run()
    game.announce(job, preview=b"no file at all")
    game.server.state.wait_for_request("GET", "/preview")
    game.end(job)
    assert reader.said("ai", "runStateLabel").startswith("Done") and segmentations(reader) == 1


def test_a_preview_that_comes_after_a_cancel_is_not_shown(game: Game) -> None:
    reader = game.reader
    asked, released = threading.Event(), threading.Event()

    def hang(handler: Handler) -> bool:
        if handler.path.endswith("/preview"):
            asked.set()
            released.wait(10)
        return False

    game.server.misbehaviour = hang
    job = game.press_run()
    game.announce(job)
    spin(asked.is_set, 20)
    reader.ui("ai").cancelButton.click()
    reader.wait_for_run()
    released.set()
    spin(lambda: not reader.panel.background.is_busy, 20)
    assert preview_of(reader.scene) is None


def test_while_the_other_task_has_the_views_a_preview_stays_hidden(game: Game) -> None:
    reader, job = game.reader, game.press_run()
    reader.panel.choose_task("cephalometry")
    node = game.show(job)
    assert not node.GetDisplayNode().GetVisibility()
    reader.panel.choose_task("brain-tumour")
    assert node.GetDisplayNode().GetVisibility()
    game.end(job)


def test_a_preview_brings_the_four_views_and_goes_to_where_there_is_most_to_see(game: Game) -> None:
    import slicer

    from MahtAILib.scene.layout import LAYOUT_ID, VIEWS

    manager = slicer.app.layoutManager()
    assert manager.layout != LAYOUT_ID
    job = game.press_run()
    game.show(job)
    spin(lambda: manager.layout == LAYOUT_ID, 10)
    place = game.reader.panel.review.preview_ras_mm
    i, j, k = np.rint((GRID.ras_to_ijk @ [*place, 1.0])[:3]).astype(int)
    assert smaller().layers[0, i, j, k] > 0
    view = manager.sliceWidget(VIEWS[0].tag).mrmlSliceNode()
    spin(lambda: abs(view.GetSliceOffset() - place[2]) < 1, 10)
    game.end(job)
