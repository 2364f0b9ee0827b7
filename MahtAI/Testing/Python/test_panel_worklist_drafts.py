"""Drafts of the work list: kept while somebody edits, never in the way of a version, offered, taken, discarded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import slicer
from kit.event_loop import spin
from scene_kit import GRIDS
from test_panel_worklist import boris, cases, start, work_server
from worklist_kit import ANNA, Worker, boxes

from MahtAILib.client import segmentation as files
from MahtAILib.client.cases import label_content, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import list_drafts
from MahtAILib.client.worklist import read_case
from MahtAILib.scene.edits import is_edited, seconds_of_work
from server_process import ServerProcess

__all__ = ["boris", "cases", "start", "work_server"]

GEOMETRY = GRIDS["left-handed oblique"]


@pytest.fixture
def worker(start: Callable[..., Worker], cases: list[dict[str, Any]]) -> Worker:
    """In front of the first case, with an edit that is not saved."""
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    worker.paint(0.45)
    return worker


def test_a_draft_is_kept_every_minute_only_where_something_was_edited_since(
    worker: Worker, cases: list[dict[str, Any]], boris: Connection
) -> None:
    drafts = worker.cases.drafts
    assert drafts._timer.interval == 60_000 and drafts._timer.active
    for _ in range(2):
        drafts.tick()
        worker.wait()
    path = f"/v1/cases/{cases[0]['id']}/drafts"
    assert [one["number"] for one in boris.json("GET", path)["drafts"]] == [1]
    worker.paint(0.6)
    drafts.tick()
    worker.wait()
    assert [one["number"] for one in boris.json("GET", path)["drafts"]] == [2]
    assert read_case(boris, cases[0]["id"]).state == "draft"


def test_a_draft_that_is_on_its_way_while_the_version_is_saved_is_not_left_behind(
    worker: Worker, cases: list[dict[str, Any]], boris: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MahtAILib.panel import drafts_state

    go, began, send = Event(), Event(), drafts_state.send_draft

    def slow(*arguments: Any) -> Any:
        began.set()
        go.wait(20)
        return send(*arguments)

    monkeypatch.setattr(drafts_state, "send_draft", slow)
    worker.cases.drafts.tick()
    spin(began.is_set, 10)
    worker.reader.save(ANNA.name)
    assert len(list_labels(boris, cases[0]["id"])) == 1
    go.set()
    worker.wait()
    assert list_drafts(boris, cases[0]["id"]) == []
    assert list((worker.reader.panel.settings.folder / "drafts").glob("*")) == []


def test_what_is_not_saved_when_slicer_quits_is_offered_next_time(
    worker: Worker, start: Callable[..., Worker], cases: list[dict[str, Any]]
) -> None:
    drawn = worker.labels()
    worker.reader.leave()
    worker.reader.context.close_scene()
    again = start()
    again.list("all")
    again.open(cases[0]["id"])
    assert "draft" in again.said("draftLabel")
    again.ui.takeDraftButton.click()
    again.wait()
    np.testing.assert_array_equal(again.labels(), drawn)


def test_a_draft_is_discarded_on_both_sides(worker: Worker, cases: list[dict[str, Any]], boris: Connection) -> None:
    worker.cases.drafts.tick()
    worker.wait()
    worker.reader.context.close_scene()
    worker.wait()
    worker.next()
    assert "draft" in worker.said("draftLabel")
    worker.ui.discardDraftButton.click()
    worker.wait()
    assert list_drafts(boris, cases[0]["id"]) == [] and worker.said("draftLabel") == ""
    assert list((worker.reader.panel.settings.folder / "drafts").glob("*")) == []


def test_a_draft_from_another_computer_is_offered_and_counts_the_work_that_went_into_it(
    worker: Worker, cases: list[dict[str, Any]]
) -> None:
    node = worker.node
    node.SetAttribute("MahtAI.SecondsOfWork", "95.0")
    drawn = worker.labels()
    worker.cases.drafts.tick()
    worker.wait()
    folder = worker.reader.panel.settings.folder / "drafts"
    for path in folder.glob("*"):
        path.unlink()
    node.SetAttribute("MahtAI.Edited", None)  # so that nothing is kept on closing
    worker.reader.context.close_scene()
    worker.next()
    worker.ui.takeDraftButton.click()
    worker.wait()
    np.testing.assert_array_equal(worker.labels(), drawn)
    assert is_edited(worker.node) and seconds_of_work(worker.node) == 95.0


def test_a_draft_of_somebody_else_is_not_offered(
    worker: Worker, cases: list[dict[str, Any]], boris: Connection
) -> None:
    worker.cases.drafts.tick()
    worker.wait()
    worker.node.SetAttribute("MahtAI.Edited", None)
    worker.reader.context.close_scene()
    save = worker.reader.ui("save")
    save.authorLineEdit.text = "Clara"
    save.authorLineEdit.editingFinished.emit()
    worker.next()
    assert worker.cases.case.ref.id == cases[0]["id"] and worker.cases.drafts.offer is None


def test_a_draft_that_cannot_be_written_is_said_and_nothing_is_lost(worker: Worker) -> None:
    folder = worker.reader.panel.settings.folder / "drafts"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    drawn = worker.labels()
    worker.cases.drafts.tick()
    worker.wait()
    assert "could not be written" in worker.said() and "still open" in worker.said()
    np.testing.assert_array_equal(worker.labels(), drawn)


def test_a_case_that_was_saved_with_a_scene_is_open_again_after_loading(
    worker: Worker, cases: list[dict[str, Any]], boris: Connection, tmp_path: Path, work_server: ServerProcess
) -> None:
    drawn = worker.labels()
    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    worker.reader.context.close_scene()
    worker.wait()
    assert read_case(boris, cases[0]["id"]).holder == ""
    slicer.util.loadScene(str(tmp_path / "work.mrb"))
    spin(lambda: read_case(boris, cases[0]["id"]).holder == ANNA.name, 10, "the case to be held again")
    worker.wait()
    assert worker.cases.case.ref.id == cases[0]["id"]
    worker.save()
    (version,) = list_labels(boris, cases[0]["id"])
    assert version.author == ANNA.name
    # Slicer reads left-handed volumes with their slices in the opposite order; the version is on the case's grid
    np.testing.assert_array_equal(files.decode(label_content(boris, cases[0]["id"], version)).layers[0], drawn)
    assert len(boris.json("GET", "/v1/cases")["cases"]) == len(cases)
