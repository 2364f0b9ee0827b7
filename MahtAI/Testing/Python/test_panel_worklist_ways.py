"""What the work list does with the rest of the panel: the model, the keys, cephalograms, the reader's own images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from ceph_kit import GRIDS as PLANES
from ceph_kit import pixels, proposal
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from scene_kit import GRIDS, add_volume
from stand_in_server import TOKEN, StandIn
from test_panel_worklist import boris, cases, start, work_server
from worklist_kit import ANNA, Worker, boxes, connect_as, make_case

from MahtAILib.client import nrrd
from MahtAILib.client.cases import NewLabel, add_label, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.markups import encode_markups
from MahtAILib.client.worklist import claim, read_case
from server_process import ServerProcess
from studies import FAST, synthetic_study
from tiny_bundle import write_tiny_bundle

__all__ = ["boris", "cases", "start", "work_server"]

GEOMETRY = GRIDS["left-handed oblique"]


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """With a tiny model."""
    write_tiny_bundle(tmp_path / "models" / "tiny", missing_channels_ok=True)
    process = ServerProcess(tmp_path / "server", (tmp_path / "models",)).start()
    yield process
    process.kill()


def test_the_model_runs_on_opening_if_the_reader_wants_that_and_sends_no_voxel(
    qt_app: SlicerContext, model_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(model_server.root / "config"))
    with model_server.client() as client, connect_as(model_server, ANNA) as anna:
        ids = [make_case(client, synthetic_study(number), f"Case {number}")["id"] for number in range(2)]
        worker = Worker(Reader(qt_app), model_server.url)
        for name in ("register", "brain_mask", "check_sequences"):
            worker.reader.panel.parameters().set(name, FAST[name])
        put: list[str] = []
        opened = Connection._opened

        def noting(connection: Connection, method: str, path: str, **more: Any) -> Any:
            put.extend([path] if method == "PUT" and "/v1/volumes/" in path else [])
            return opened(connection, method, path, **more)

        monkeypatch.setattr(Connection, "_opened", noting)
        worker.next()
        assert worker.node is None
        worker.ui.runOnOpeningCheckBox.checked = True
        worker.next()
        worker.reader.wait_for_run()
        assert worker.cases.case.ref.id == ids[1]
        assert worker.reader.said("ai", "runStateLabel").startswith("Done"), worker.reader.said("ai", "runStateLabel")
        assert put == []
        worker.press("submit")
        (version,) = list_labels(anna, ids[1])
        assert version.document["inference"] == worker.reader.panel.review.provenance.job
        assert read_case(anna, ids[1]).state == "submitted"
        # one study, one case: what was saved did not make a second one
        assert len(client.get("/v1/cases").json()["cases"]) == 2
        worker.reader.leave()


def test_every_way_has_a_key_and_each_tooltip_names_its_own(
    start: Callable[..., Worker], cases: list[dict[str, Any]]
) -> None:
    worker = start()
    section, compare = worker.cases.section, worker.cases.comparison_section
    keys = {**section.keys, **compare.keys}
    assert not set(keys) & {"Ctrl+Right", "Ctrl+Left", "Ctrl+Return", "Ctrl+O", "Ctrl+S", "Ctrl+W", "Ctrl+F"}
    ui, other = section.ui, compare.ui
    widgets = {
        "Ctrl+Shift+N": ui.nextCaseButton,
        "Ctrl+Shift+O": ui.openCaseButton,
        "Ctrl+Shift+G": ui.releaseButton,
        "Ctrl+Shift+L": ui.listButton,
        "Ctrl+Shift+F": ui.searchLineEdit,
        "Ctrl+Shift+D": ui.takeDraftButton,
        "Ctrl+Shift+U": ui.submitButton,
        "Ctrl+Shift+Y": ui.approveButton,
        "Ctrl+Shift+J": ui.rejectButton,
        "Ctrl+Shift+K": other.compareButton,
        "Ctrl+Shift+B": other.restoreButton,
        "Ctrl+Shift+M": other.mergeButton,
    }
    assert set(widgets) == set(keys)
    for key, widget in widgets.items():
        assert f"({key})" in widget.toolTip
    ui.workListCollapsibleButton.collapsed = True
    keys["Ctrl+Shift+N"]()
    worker.wait()
    assert not ui.workListCollapsibleButton.collapsed
    assert worker.cases.case.ref.id == cases[0]["id"]
    worker.place(boxes(GEOMETRY))
    keys["Ctrl+Shift+U"]()
    worker.wait()
    assert "Handed in" in worker.said("decisionLabel")


def test_the_reader_s_own_images_stay_and_are_no_case(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    worker = start()
    own = add_volume(worker.reader.scene, GEOMETRY, "AX T2 FLAIR of mine")
    worker.next()
    assert worker.reader.scene.IsNodePresent(own)
    study = worker.reader.panel.study
    study.choose("flair", own)
    assert worker.cases.case.ref is None
    study.choose("flair", None)
    assert worker.cases.case.ref.id == cases[0]["id"]
    worker.place(boxes(GEOMETRY))
    before = worker.reader.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    worker.press("submit")
    worker.next()
    scene = worker.reader.scene
    assert worker.cases.case.ref.id == cases[1]["id"] and scene.IsNodePresent(own)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert [case.name for case in worker.cases.listed.cases] == ["Case 2", "Case 1"]


def test_a_case_that_somebody_else_holds_can_be_looked_at(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection
) -> None:
    claim(boris, cases[1]["id"])
    worker = start()
    assert worker.ui.caseTable.item(1, 4).text() == "Boris"
    worker.open(cases[1]["id"])
    assert worker.cases.case.ref.id == cases[1]["id"] and "Boris works on this case" in worker.said()
    assert worker.cases.lease.lease is None and not worker.ui.releaseButton.enabled


def test_a_case_is_given_back_and_no_case_is_left(
    start: Callable[..., Worker], cases: list[dict[str, Any]], boris: Connection, work_server: ServerProcess
) -> None:
    worker = start()
    worker.next()
    worker.ui.releaseButton.click()
    worker.wait()
    assert read_case(boris, cases[0]["id"]).holder == "" and "Given back" in worker.said()
    with work_server.client() as client:
        for case in cases:
            client.delete(f"/v1/cases/{case['id']}", params={"anyway": True})
    worker.next()
    assert "No case is left" in worker.said() and worker.cases.case.ref.id == cases[0]["id"]


def test_waiting_for_a_case_is_cancelled_and_the_open_one_stays(
    start: Callable[..., Worker], cases: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, boris: Connection
) -> None:
    worker = start()
    worker.next()
    worker.cases.ahead.forget()
    worker.cases.files._folder = worker.cases.files._folder / "empty"
    go, download = Event(), Connection.download

    def slow(connection: Connection, path: str, *more: Any, **options: Any) -> bytes:
        go.wait(20)
        return download(connection, path, *more, **options)

    monkeypatch.setattr(Connection, "download", slow)
    worker.ui.nextCaseButton.click()
    spin(lambda: not worker.ui.cancelFetchButton.isHidden(), 10)
    worker.ui.cancelFetchButton.click()
    worker.wait()
    go.set()
    assert "Cancelled" in worker.said() and worker.cases.case.ref.id == cases[0]["id"]
    spin(lambda: read_case(boris, cases[1]["id"]).holder == "", 10, "the claimed case to be given back")


def test_a_case_is_saved_for_its_own_server_whichever_is_connected(
    start: Callable[..., Worker], cases: list[dict[str, Any]], work_server: ServerProcess, boris: Connection
) -> None:
    worker = start()
    worker.next()
    worker.place(boxes(GEOMETRY))
    with StandIn() as other:
        worker.reader.connect(other.url, TOKEN)
        worker.wait()
        worker.press("submit")
        assert "kept on this computer" in worker.said("decisionLabel")
        assert other.state.labels == [] and other.state.volumes == {}
        assert worker.reader.panel.versions.waiting == 1
        worker.reader.connect(work_server.url)
        worker.wait()
    assert read_case(boris, cases[0]["id"]).state == "submitted"
    assert worker.reader.panel.versions.waiting == 0


def test_a_cephalogram_of_the_work_list_is_opened_for_cephalometry(
    start: Callable[..., Worker], work_server: ServerProcess, boris: Connection
) -> None:
    plane = PLANES["as Slicer loads it"]
    with work_server.client() as client:
        data = {"ceph": nrrd.encode(pixels(), plane)}
        case = make_case(client, data, "Patient 1", task="cephalometry")
        other = make_case(client, {"ceph": nrrd.encode(pixels()[::-1], plane)}, "Patient 2", task="cephalometry")
    add_label(boris, case["id"], encode_markups(proposal()), NewLabel("Boris", "radiologist"), str(uuid4()))
    worker = start()
    panel = worker.reader.panel
    panel.choose_task("cephalometry")
    worker.wait()
    worker.next()
    assert worker.cases.case.ref.id == case["id"]
    assert panel.ceph.image.node.GetName() == "Cephalogram Patient 1"
    np.testing.assert_array_equal(panel.ceph.image.take().image.array, pixels())
    assert panel.ceph.image.volumes()["ceph"].identify() == case["volumes"]["ceph"]
    assert panel.task().provenance.case == case["id"] and panel.task().node is not None
    worker.next()
    assert worker.cases.case.ref.id == other["id"] and panel.task().node is None
    assert len(panel.ceph.image.candidates()) == 1
