"""The work list in the panel against a real server: two people, drafts, reviews, merging, leases, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from scene_kit import GRIDS
from worklist_kit import ANNA, BORIS, Worker, boxes, connect_as, make_case, make_study, save_as

from MahtAILib.client import segmentation as files
from MahtAILib.client.cases import label_content, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import list_drafts
from MahtAILib.client.reviews import Decision, decide
from MahtAILib.client.worklist import read_case
from MahtAILib.scene.edits import is_edited
from server_process import ServerProcess

GEOMETRY = GRIDS["left-handed oblique"]


@pytest.fixture
def work_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server without models."""
    process = ServerProcess(tmp_path / "server", (tmp_path / "no-models",)).start()
    yield process
    if process.process is not None and process.process.poll() is None:
        process.kill()


@pytest.fixture
def cases(work_server: ServerProcess) -> list[dict[str, Any]]:
    """Three cases; the first is the most urgent."""
    with work_server.client() as client:
        return [
            make_case(client, make_study(GEOMETRY, number), f"Case {number}", priority=9 - number)
            for number in range(3)
        ]


@pytest.fixture
def boris(work_server: ServerProcess) -> Iterator[Connection]:
    """A second person."""
    with connect_as(work_server, BORIS) as connection:
        yield connection


@pytest.fixture
def start(
    qt_app: SlicerContext, work_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Worker]]:
    """Opens Slicer and the panel; again after ``leave``."""
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(work_server.root / "config"))
    readers: list[Reader] = []

    def open_slicer(url: str = work_server.url) -> Worker:
        readers.append(Reader(qt_app))
        return Worker(readers[-1], url)

    yield open_slicer
    readers[-1].leave()


def test_it_is_folded_and_asks_nothing_until_the_reader_opens_it(
    qt_app: SlicerContext, work_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(work_server.root / "config"))
    reader = Reader(qt_app)
    reader.connect(work_server.url)
    spin(lambda: not reader.panel.background.is_busy)
    assert reader.panel.cases.section.ui.workListCollapsibleButton.collapsed
    assert "/v1/cases" not in work_server.log and "/v1/strategies" not in work_server.log
    reader.leave()


def test_a_case_goes_from_one_reader_to_the_other_and_back(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    worker = start()
    worker.next()
    case = cases[0]["id"]
    assert worker.cases.case.ref.id == case and "Case 0" in worker.said()
    volumes = {slot: worker.reader.panel.study.volume(slot) for slot in ("t1c", "t1", "t2", "flair")}
    assert [node.GetName() for node in volumes.values()] == [f"{name} Case 0" for name in ("T1c", "T1", "T2", "FLAIR")]
    assert read_case(boris, case).holder == ANNA.name

    worker.place(boxes(GEOMETRY))
    worker.paint(0.45)
    drawn = worker.labels()
    assert is_edited(worker.node)
    worker.cases.drafts.tick()
    worker.wait()
    assert [(draft.author, draft.parent) for draft in list_drafts(boris, case)] == [(ANNA.name, "")]
    worker.paint(0.55)
    last = worker.labels()

    # Slicer's scene goes with edits that are not saved
    worker.reader.context.close_scene()
    assert "not saved" in worker.reader.said("save", "saveStateLabel")
    worker.wait()
    assert worker.cases.case.ref is None and read_case(boris, case).holder == ""
    worker.next()
    assert worker.cases.case.ref.id == case
    assert "draft" in worker.said("draftLabel")
    worker.ui.takeDraftButton.click()
    worker.wait()
    np.testing.assert_array_equal(worker.labels(), last)
    assert (last != drawn).any() and is_edited(worker.node)

    worker.save("first try")
    (version,) = list_labels(boris, case)
    np.testing.assert_array_equal(files.decode(label_content(boris, case, version)).layers[0], last)
    assert list_drafts(boris, case) == [] and not is_edited(worker.node)
    worker.press("submit")
    assert "Handed in" in worker.said("decisionLabel")
    submitted = read_case(boris, case)
    assert (submitted.state, submitted.submitted, submitted.holder) == ("submitted", version.id, "")
    assert len(list_labels(boris, case)) == 1

    decide(
        boris,
        case,
        Decision("reject", BORIS, version.id, "The rim is missing."),
        "11111111-1111-4111-8111-111111111111",
    )
    worker.list("rejected")
    worker.open(case)
    assert "The rim is missing." in worker.said() and "Boris" in worker.said()
    np.testing.assert_array_equal(worker.labels(), last)
    worker.paint(0.5, 9.0)
    worker.press("submit")  # saves first
    assert [one.number for one in list_labels(boris, case)] == [1, 2]
    again = list_labels(boris, case)[-1]
    assert again.parent == version.id and read_case(boris, case).submitted == again.id
    decide(boris, case, Decision("approve", BORIS, again.id), str(uuid4()))
    assert read_case(boris, case).state == "approved"


def test_the_reader_reviews_what_somebody_else_handed_in(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    first, second = cases[0]["id"], cases[1]["id"]
    handed = [save_as(boris, one, boxes(GEOMETRY), submit=True) for one in (first, second)]
    worker = start()
    assert worker.list("submitted") == ["Case 1", "Case 0"]
    worker.open(first)
    np.testing.assert_array_equal(worker.labels(), boxes(GEOMETRY).layers[0])
    worker.press("reject")
    assert "comment" in worker.said() and read_case(boris, first).state == "submitted"
    worker.press("reject", "Too large.")
    assert read_case(boris, first).state == "rejected" and read_case(boris, first).review == f"{ANNA.name}: Too large."

    worker.open(second)
    worker.paint(0.45)
    worker.press("approve")  # a correction of the reviewer's own is saved and approved
    assert "Approved" in worker.said("decisionLabel"), worker.said("decisionLabel")
    done = read_case(boris, second)
    corrected = list_labels(boris, second)[-1]
    assert (done.state, done.approved) == ("approved", corrected.id)
    assert (corrected.author, corrected.parent) == (ANNA.name, handed[1].id)


def test_own_work_is_not_approved_and_that_is_said(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    worker.press("submit")
    worker.press("approve")
    assert "⚠" in worker.said("decisionLabel")
    assert read_case(boris, cases[0]["id"]).state == "submitted"


def test_the_second_of_two_savers_is_told_compares_and_merges(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    case = cases[0]["id"]
    root = save_as(boris, case, boxes(GEOMETRY))
    worker = start()
    worker.next()
    theirs = save_as(boris, case, boxes(GEOMETRY, 0.34, 0.74), root.id)
    worker.paint(0.45, 3.0)
    worker.save()
    assert "Somebody else saved" in worker.reader.said("save", "saveStateLabel")
    mine = worker.labels()
    compare = worker.cases.comparison_section.ui
    compare.compareButton.click()
    worker.wait()
    table = compare.comparisonTable
    rows = [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount)]
    assert [row[0] for row in rows] == ["Necrotic core", "Oedema", "Enhancing tumour"]
    assert rows[1][1] != rows[1][2] and 0 < float(rows[1][3]) < 1 and rows[1][4] == "yours"
    # the reader's own is only hidden
    np.testing.assert_array_equal(worker.labels(), mine)
    assert not worker.node.GetDisplayNode().GetVisibility()

    table.cellActivated.emit(1, 0)
    assert compare.comparisonTable.item(1, 4).text() == "theirs"
    compare.mergeButton.click()
    worker.wait()
    merged = list_labels(boris, case)[-1]
    assert (merged.number, merged.document["merges"]) == (4, theirs.id)
    assert worker.reader.panel.review.provenance.version == merged.id and worker.node.GetDisplayNode().GetVisibility()
    them = boxes(GEOMETRY, 0.34, 0.74).layers[0]
    merged_labels = worker.labels()
    np.testing.assert_array_equal(merged_labels == 2, them == 2)
    np.testing.assert_array_equal(merged_labels == 4, (mine == 4) & (them != 2))


def test_an_older_version_is_brought_back_as_a_new_one(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    case = cases[0]["id"]
    root = save_as(boris, case, boxes(GEOMETRY))
    save_as(boris, case, boxes(GEOMETRY, 0.34, 0.74), root.id)
    worker = start()
    worker.next()
    np.testing.assert_array_equal(worker.labels(), boxes(GEOMETRY, 0.34, 0.74).layers[0])
    worker.reader.ui("save").versionsTable.setCurrentCell(1, 0)
    worker.cases.comparison_section.ui.restoreButton.click()
    worker.wait()
    restored = list_labels(boris, case)[-1]
    assert (restored.number, restored.document["restores"], restored.author) == (3, root.id, ANNA.name)
    np.testing.assert_array_equal(worker.labels(), boxes(GEOMETRY).layers[0])
    assert worker.reader.panel.review.provenance.version == restored.id
