"""The work list without its server, with leases that end, with a case fetched ahead, and with unsaved edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kit.dialogs import Dialogs
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from scene_kit import GRIDS
from test_panel_worklist import boris, cases, start, work_server
from worklist_kit import ANNA, BORIS, Worker, boxes, connect_as, make_case, make_study, save_as

from MahtAILib.client.cases import list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import list_drafts
from MahtAILib.client.reviews import list_reviews
from MahtAILib.client.worklist import claim, read_case
from MahtAILib.scene.edits import is_edited
from server_process import ServerProcess

__all__ = ["boris", "cases", "start", "work_server"]

GEOMETRY = GRIDS["left-handed oblique"]


def test_the_next_case_is_fetched_while_the_reader_works(
    start: Callable[..., Worker], cases: list[dict[str, Any]], counted: list[str]
) -> None:
    worker = start()
    worker.next()
    assert worker.cases.ahead.ready.case.id == cases[1]["id"]
    assert len([path for path in counted if "/v1/volumes/" in path]) == 8
    counted.clear()
    worker.cases.ahead.look = lambda *_arguments: None  # what comes after is fetched again
    worker.next()
    assert worker.cases.case.ref.id == cases[1]["id"]
    assert [path for path in counted if "/v1/volumes/" in path or "/content" in path] == []
    np.testing.assert_array_equal(
        worker.reader.panel.study.volumes()["t1"].array,
        np.random.default_rng(1).integers(0, 1000, (4, *GEOMETRY.shape), dtype=np.int16)[1],
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that this process asks any server for."""
    asked: list[str] = []
    opened = Connection._opened

    def noting(connection: Connection, method: str, path: str, **more: Any) -> Any:
        asked.append(f"{method} {path}")
        return opened(connection, method, path, **more)

    monkeypatch.setattr(Connection, "_opened", noting)
    return asked


def test_the_volumes_of_a_case_are_neither_hashed_nor_sent_again(
    start: Callable[..., Worker], cases: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from MahtAILib.client import study

    packed: list[Any] = []
    pack = study.pack
    monkeypatch.setattr(study, "pack", lambda *arguments: (packed.append(arguments), pack(*arguments))[1])
    worker = start()
    worker.next()
    volumes = worker.reader.panel.study.volumes()
    assert {slot: volume.identify() for slot, volume in volumes.items()} == cases[0]["volumes"]
    worker.place(boxes(GEOMETRY))
    worker.save()
    assert packed == []
    # until a voxel is changed
    node = worker.reader.panel.study.volume("t1c")
    node.GetImageData().Modified()
    assert worker.reader.panel.study.volumes()["t1c"].identity.sha256 == ""


def test_unsaved_edits_are_asked_for_before_another_case_is_opened(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection, dialogs: Dialogs
) -> None:
    import qt

    first, second = cases[0]["id"], cases[1]["id"]
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    worker.paint(0.45)
    drawn = worker.labels()
    dialogs.answer(qt.QMessageBox.Cancel, "not saved")
    worker.next()
    assert worker.cases.case.ref.id == first
    np.testing.assert_array_equal(worker.labels(), drawn)

    dialogs.answer(qt.QMessageBox.No, "not saved")
    worker.next()
    assert worker.cases.case.ref.id == second and worker.node is None
    assert [draft.author for draft in list_drafts(boris, first)] == [ANNA.name]
    worker.list("all")
    worker.open(first)
    worker.ui.takeDraftButton.click()
    worker.wait()
    np.testing.assert_array_equal(worker.labels(), drawn)

    dialogs.answer(qt.QMessageBox.Yes, "not saved")
    worker.next()  # what was left before comes last
    assert worker.cases.case.ref.id == cases[2]["id"]
    assert len(list_labels(boris, first)) == 1 and list_drafts(boris, first) == []


def test_a_lease_is_renewed_and_its_loss_is_said_and_nothing_is_lost(
    qt_app: SlicerContext, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panel_kit import Reader

    server = ServerProcess(tmp_path / "server", (tmp_path / "none",), {"lease_s": "2"}).start()
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(server.root / "config"))
    try:
        with server.client() as client, connect_as(server, BORIS) as boris:
            case = make_case(client, make_study(GEOMETRY, 0), "Case 0")["id"]
            worker = Worker(Reader(qt_app), server.url)
            worker.next()
            until = worker.cases.lease.lease.held_until
            spin(lambda: worker.cases.lease.lease.held_until > until, 10, "the lease to be renewed")
            worker.place(boxes(GEOMETRY))

            worker.cases.lease._timer.stop()  # as if the computer slept
            spin(lambda: read_case(boris, case).holder == "", 10, "the lease to end")
            claim(boris, case)
            theirs = save_as(boris, case, boxes(GEOMETRY, 0.34, 0.74))
            worker.cases.lease.renew()
            worker.wait()
            assert "Boris" in worker.said("leaseLabel") and "Nothing is lost" in worker.said("leaseLabel")
            claim(boris, case)
            worker.save()
            mine = list_labels(boris, case)[-1]
            assert mine.author == ANNA.name and mine.sibling_of == theirs.id
            worker.reader.leave()
    finally:
        server.kill()


def test_a_case_that_is_removed_while_it_is_open_can_still_be_saved(
    start: Callable[..., Worker], cases: list[dict[str, Any]], work_server: ServerProcess, boris: Connection
) -> None:
    case = cases[0]["id"]
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    with work_server.client() as client:
        assert client.delete(f"/v1/cases/{case}", params={"anyway": True}).status_code == 204
    worker.cases.lease.renew()
    worker.wait()
    assert "taken off the work list" in worker.said("leaseLabel")
    worker.save()
    assert [one.author for one in list_labels(boris, case)] == [ANNA.name]


def test_without_the_server_work_goes_on_and_is_sent_when_it_is_back(
    start: Callable[..., Worker],
    cases: list[dict[str, Any]],
    work_server: ServerProcess,
    boris: Connection,
) -> None:
    first, second = cases[0]["id"], cases[1]["id"]
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    worker.paint(0.45)
    work_server.stop()
    worker.cases.drafts.tick()
    worker.wait()
    assert "Draft kept" in worker.said("draftLabel")
    worker.press("submit")
    assert "kept on this computer" in worker.said("decisionLabel")

    worker.next()
    assert worker.cases.case.ref.id == second and "cannot be reached" in worker.said()
    worker.wait()
    worker.place(boxes(GEOMETRY, 0.34, 0.74))
    worker.save("offline")
    worker.next()
    assert "⚠" in worker.said() and worker.cases.case.ref.id == second
    assert worker.reader.panel.versions.waiting == 2

    work_server.start()
    theirs = save_as(boris, second, boxes(GEOMETRY))
    worker.reader.connect(work_server.url)
    worker.wait()
    assert read_case(boris, first).state == "submitted" and len(list_labels(boris, first)) == 1
    assert [one.sibling_of for one in list_labels(boris, second)] == [None, theirs.id]
    assert "Somebody else saved" in worker.reader.said("save", "saveStateLabel")
    assert worker.reader.panel.versions.waiting == 0
    assert read_case(boris, second).holder == ANNA.name and worker.said("leaseLabel") == ""


def test_a_review_that_is_made_without_the_server_is_sent_in_the_reviewer_s_name(
    start: Callable[..., Worker],
    cases: list[dict[str, Any]],
    work_server: ServerProcess,
    boris: Connection,
) -> None:
    for one in cases[:2]:
        save_as(boris, one["id"], boxes(GEOMETRY), submit=True)
    worker = start()
    worker.list("submitted")
    worker.open(cases[1]["id"])
    worker.reader.ui("save").disagreeButton.click()
    worker.list("submitted")
    worker.open(cases[0]["id"])
    work_server.stop()
    worker.reader.ui("save").agreeButton.click()
    worker.press("reject", "Too large.")
    # somebody else sits down before the server is back
    save = worker.reader.ui("save")
    save.authorLineEdit.text = "Clara"
    save.authorLineEdit.editingFinished.emit()
    work_server.start()
    worker.reader.connect(work_server.url)
    worker.wait()
    (review,) = list_reviews(boris, cases[0]["id"])
    assert (review.verdict, review.reviewer, review.comment) == ("reject", ANNA.name, "Too large.")
    assert not is_edited(worker.node)


def test_a_case_on_this_computer_is_opened_after_a_restart_without_the_server(
    start: Callable[..., Worker], cases: list[dict[str, Any]], work_server: ServerProcess
) -> None:
    worker = start()
    worker.next()
    worker.reader.leave()
    work_server.stop()
    worker.reader.context.close_scene()
    worker = start("")
    worker.reader.ui("server").addressComboBox.setCurrentText(work_server.url)
    worker.section_refresh()
    assert sorted(case.name for case in worker.cases.listed.cases) == ["Case 0", "Case 1"]
    assert "on this computer" in worker.said("listLabel")
    worker.open(cases[1]["id"])
    assert worker.cases.case.ref.id == cases[1]["id"]
    assert worker.reader.panel.study.volume("flair").GetName() == "FLAIR Case 1"


def test_nobody_in_particular_gets_no_case(start: Callable[..., Worker], cases: list[dict[str, Any]]) -> None:
    worker = start()
    worker.reader.ui("save").authorLineEdit.text = ""
    worker.next()
    assert "name is missing" in worker.said() and worker.cases.case.ref is None


def test_a_list_is_searched_while_the_reader_types(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    worker = start()
    assert worker.list("unfinished") == ["Case 2", "Case 1", "Case 0"]
    worker.ui.searchLineEdit.text = "case 1"
    spin(lambda: [case.name for case in worker.cases.listed.cases] == ["Case 1"], 10, "the search")
    worker.ui.searchLineEdit.text = ""
    claim(boris, cases[2]["id"])
    worker.ui.mineCheckBox.checked = True
    worker.wait()
    assert worker.cases.listed.cases == []
    worker.next()
    worker.wait()
    assert [case.name for case in worker.cases.listed.cases] == ["Case 0"]
    assert worker.ui.caseTable.item(0, 4).text() == "you"
