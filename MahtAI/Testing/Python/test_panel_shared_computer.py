"""Several people at one panel, and sessions that end: nothing is lost, and whose work is whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accounts_kit import ANNA, BORIS, AtTheDoor, signed_in, users
from accounts_reader import GEOMETRY, at_work, case, door, hospital
from kit.event_loop import spin
from panel_kit import Reader
from worklist_kit import boxes

from MahtAILib.client import segmentation as segmentation_files
from MahtAILib.client.cases import NewLabel, list_labels
from MahtAILib.client.spool_item import SpooledLabel
from MahtAILib.scene.edits import is_edited
from server_process import ServerProcess

__all__ = ["case", "door", "hospital"]


# sessions that end


def test_a_session_that_ends_takes_nothing_away(door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess) -> None:
    worker = at_work(door, ANNA)
    worker.open(case["id"])
    worker.place(boxes(GEOMETRY))
    worker.paint(0.5)
    assert is_edited(worker.node)
    users(hospital, "sign-out", ANNA)
    worker.section_refresh()
    panel = worker.reader.panel
    assert panel.server.connection is None
    assert "signed out" in door.said()
    assert "Nothing was lost" in door.said()
    assert door.shown("signInGroupBox")
    assert is_edited(worker.node)
    assert worker.cases.case.ref.id == case["id"]
    panel.cases.drafts.tick()
    worker.wait()
    kept = panel.cases.drafts._local.of_case(hospital.url, case["id"])
    assert [one.draft.author for one in kept] == [ANNA]
    worker.reader.save(ANNA)
    worker.wait()
    assert panel.versions.waiting == 1
    assert worker.reader.ui("save").authorLineEdit.readOnly
    door.type(ANNA)
    worker.wait()
    assert panel.versions.waiting == 0
    connection, _ = signed_in(hospital, BORIS)
    assert [version.author for version in list_labels(connection, case["id"])] == [ANNA]


def test_an_idle_session_is_noticed_without_anybody_doing_anything(
    reader: Reader, tmp_path: Path, hospital: ServerProcess
) -> None:
    hospital.stop()
    hospital.environment = {**hospital.environment, "session_idle_s": "2"}
    hospital.start()
    reader.connect(hospital.url)
    door = AtTheDoor(reader)
    door.type(ANNA)

    def ended() -> bool:
        door.state.look()
        door.wait()
        return reader.panel.server.connection is None

    spin(ended, 30, "the session to end by itself")
    assert "signed out" in door.said()


def test_a_server_that_was_away_finds_the_session_again(door: AtTheDoor, hospital: ServerProcess) -> None:
    door.type(ANNA)
    panel = door.reader.panel
    hospital.kill()
    panel.server.check()
    door.wait()
    assert panel.server.connection is None
    assert panel.server.account.name == ANNA
    hospital.start()
    door.reader.connect(hospital.url)
    door.wait()
    assert panel.server.connection is not None, door.said()
    assert panel.server.account.name == ANNA


# whose work is whose


def test_what_one_saved_is_never_sent_as_anothers(
    door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess
) -> None:
    worker = at_work(door, ANNA)
    worker.open(case["id"])
    worker.place(boxes(GEOMETRY))
    hospital.kill()
    worker.reader.save(ANNA)
    worker.wait()
    panel = worker.reader.panel
    assert panel.versions.waiting == 1
    hospital.start()
    door.reader.connect(hospital.url)  # whoever is signed in still, sends
    door.wait()
    assert panel.versions.waiting == 0

    hospital.kill()
    worker.paint(0.4)
    worker.reader.save(ANNA)
    worker.wait()
    users_of_another_day(door)
    hospital.start()
    door.reader.connect(hospital.url)
    door.type(BORIS)
    door.wait()
    assert panel.versions.waiting == 1
    assert panel.versions.others == (ANNA,)
    assert f"What {ANNA} saved is sent when they sign in" in worker.reader.said("save", "waitingLabel")
    items = panel.versions._spool.pending()
    assert [item.author for item in items if isinstance(item, SpooledLabel)] == [ANNA]
    door.sign_out()
    door.type(ANNA)
    door.wait()
    assert panel.versions.waiting == 0
    connection, _ = signed_in(hospital, BORIS)
    assert {version.author for version in list_labels(connection, case["id"])} == {ANNA}


def users_of_another_day(door: AtTheDoor) -> None:
    """As if Slicer had been started again: nobody is signed in."""
    door.reader.panel.server.forget_account()


def test_a_draft_is_offered_to_its_author_only(door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess) -> None:
    worker = at_work(door, ANNA)
    worker.open(case["id"])
    worker.place(boxes(GEOMETRY))
    worker.paint(0.5)
    session = worker.cases.drafts.session
    door.sign_out()
    local = worker.cases.drafts._local
    assert [one.draft.session for one in local.of_case(hospital.url, case["id"])] == [session]
    door.type(BORIS)
    worker.wait()
    assert worker.cases.drafts.offer is None
    assert worker.cases.drafts.session != session
    assert ANNA in worker.said("draftLabel")
    worker.cases.drafts.tick()
    worker.wait()
    assert [one.draft.author for one in local.of_case(hospital.url, case["id"])] == [ANNA]
    door.sign_out()
    door.type(ANNA)
    worker.wait()
    assert worker.cases.drafts.offer is not None
    assert worker.cases.drafts.offer.session == session


def test_fetched_images_go_when_one_signs_out_and_unsent_work_stays(
    door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess
) -> None:
    worker = at_work(door, ANNA)
    worker.open(case["id"])
    panel = worker.reader.panel
    files = panel.settings.folder / "cases"
    label = segmentation_files.encode(boxes(GEOMETRY))
    key = panel.versions._spool.add(hospital.url, case["id"], label, NewLabel(BORIS, "radiologist"))
    worker.place(boxes(GEOMETRY))
    worker.paint(0.5)
    assert len(list(files.iterdir())) >= 5
    door.ui.removeImagesCheckBox.checked = False
    door.sign_out()
    assert len(list(files.iterdir())) >= 5
    door.type(ANNA)
    worker.wait()
    door.ui.removeImagesCheckBox.checked = True
    door.sign_out()
    assert list(files.iterdir()) == []
    assert [item.client_key for item in panel.versions._spool.pending()] == [key]
    assert len(worker.cases.drafts._local.of_case(hospital.url, case["id"])) == 1
    assert worker.node is not None


def test_cases_that_one_account_fetched_are_not_listed_for_another(
    door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess
) -> None:
    worker = at_work(door, ANNA)
    worker.open(case["id"])
    source = worker.cases.case._source
    assert [one.id for one in source.cases_here(hospital.url, ANNA)] == [case["id"]]
    assert source.cases_here(hospital.url, BORIS) == []
    assert source.here(hospital.url, case["id"], BORIS) is None
