"""The panel and a real server on which people sign in: who is it, what may they do, and whose work is whose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from accounts_kit import (
    ANNA,
    BORIS,
    PASSWORD,
    VERA,
    AtTheDoor,
    EncryptedServer,
    add_user,
    hospital_server,
    signed_in,
    users,
)
from kit.dialogs import Dialogs
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from scene_kit import GRIDS
from stand_in_server import TOKEN, Handler, StandIn
from tls_server_kit import TlsStandIn, make_authority, make_certificate
from worklist_kit import Worker, boxes, make_case, make_study

from MahtAILib.client import segmentation as segmentation_files
from MahtAILib.client.cases import NewLabel, list_labels
from MahtAILib.client.certificates import Authority
from MahtAILib.client.spool_item import SpooledLabel
from MahtAILib.scene.edits import is_edited
from server_process import ServerProcess

GEOMETRY = GRIDS["left-handed oblique"]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a radiologist, a second radiologist and a viewer."""
    server = hospital_server(tmp_path / "hospital", (tmp_path / "no-models",))
    for name, role in ((ANNA, "radiologist"), (BORIS, "radiologist"), (VERA, "viewer")):
        add_user(server, name, role)
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture
def case(hospital: ServerProcess) -> dict[str, Any]:
    """A case that everybody sees."""
    connection, _ = signed_in(hospital, ANNA)
    headers = {"Authorization": f"Bearer {connection.login.token()}"}
    with httpx.Client(base_url=hospital.url, headers=headers, timeout=60, trust_env=False) as client:
        return make_case(client, make_study(GEOMETRY, 1), "Case 1")


@pytest.fixture
def reader(qt_app: SlicerContext) -> Iterator[Reader]:
    """The panel is open; no server."""
    reader = Reader(qt_app)
    yield reader
    reader.leave()


@pytest.fixture
def door(reader: Reader, hospital: ServerProcess) -> AtTheDoor:
    """The server was asked and wants to know who it is."""
    reader.connect(hospital.url)
    return AtTheDoor(reader)


# on one computer


def test_on_one_computer_nothing_of_it_is_seen(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ServerProcess(tmp_path / "own", (tmp_path / "no-models",)).start()
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tmp_path / "own" / "config"))
    door = AtTheDoor(reader)
    widgets = [name for name in vars(door.ui) if name.endswith(("Button", "LineEdit", "GroupBox", "Label", "CheckBox"))]
    assert len(widgets) > 15
    assert [name for name in widgets if door.shown(name)] == []
    reader.connect(server.url)
    assert reader.panel.server.connection is not None
    assert reader.panel.server.account is None
    assert [name for name in widgets if door.shown(name)] == []
    save = reader.ui("save")
    assert not save.authorLineEdit.readOnly
    assert save.roleComboBox.enabled
    server.stop()


# who is it


def test_fields_appear_and_signing_in_gives_the_name_that_work_is_saved_under(door: AtTheDoor) -> None:
    reader = door.reader
    assert "sign in" in reader.said("server", "serverStateLabel")
    assert [name for name in ("userLineEdit", "passwordLineEdit", "signInButton") if not door.shown(name)] == []
    assert [
        name for name in ("codeLineEdit", "hospitalButton", "codesGroupBox", "signOutButton") if door.shown(name)
    ] == []
    reader.ui("save").authorLineEdit.text = "typed before"
    reader.ui("save").authorLineEdit.editingFinished.emit()
    door.type(ANNA)
    assert reader.panel.server.connection is not None, door.said()
    assert str(door.ui.accountLabel.text) == f"Signed in: {ANNA} (radiologist)"
    assert not door.shown("signInGroupBox")
    assert str(door.ui.passwordLineEdit.text) == ""
    save = reader.ui("save")
    assert (str(save.authorLineEdit.text), save.authorLineEdit.readOnly, save.roleComboBox.enabled) == (
        ANNA,
        True,
        False,
    )
    door.sign_out()
    assert reader.panel.server.connection is None
    assert door.shown("signInGroupBox")
    assert "signed out" in door.said()
    assert (str(save.authorLineEdit.text), save.authorLineEdit.readOnly) == ("typed before", False)
    assert reader.panel.server.person.name == "typed before"


def test_a_wrong_password_is_told_and_the_next_try_counts(door: AtTheDoor) -> None:
    door.type(ANNA, "not the right one")
    assert "name or the password is wrong" in door.said()
    assert door.reader.panel.server.connection is None
    door.type(ANNA)
    assert door.reader.panel.server.account.name == ANNA
    assert door.said() == ""


def test_nothing_secret_is_left_on_this_computer_or_in_the_scene(
    door: AtTheDoor, tmp_path: Path, hospital: ServerProcess
) -> None:
    import qt

    door.type(ANNA)
    panel = door.reader.panel
    login = panel.server.connection.login
    secrets = [PASSWORD, login.token(), login._tokens.refresh_token]
    panel.settings._settings.sync()
    door.reader.scene.SetURL(str(tmp_path / "scene.mrml"))
    assert door.reader.scene.Commit()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and hospital.root not in path.parents]
    assert any(path.suffix == ".ini" for path in files)
    assert any(path.suffix == ".mrml" for path in files)
    for path in files:
        text = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in text], path
    assert qt.QLineEdit.Password == door.ui.passwordLineEdit.echoMode


def test_codes_are_set_up_shown_once_and_wanted_from_then_on(door: AtTheDoor, dialogs: Dialogs) -> None:
    import pyotp

    door.type(ANNA)
    dialogs.answer(PASSWORD, text="Your password")
    door.ui.beginCodesButton.click()
    door.wait()
    assert door.shown("codesGroupBox"), door.said()
    assert str(door.ui.codesUriLineEdit.text).startswith("otpauth://totp/")
    assert door.shown("codesPictureLabel")
    app = pyotp.TOTP(str(door.ui.codesSecretLineEdit.text))
    door.ui.firstCodeLineEdit.text = "000000"
    door.ui.finishCodesButton.click()
    door.wait()
    assert "code is wrong" in door.said()
    door.ui.firstCodeLineEdit.text = app.now()
    door.ui.finishCodesButton.click()
    door.wait()
    assert not door.shown("codesGroupBox")
    assert str(door.ui.codesSecretLineEdit.text) == ""
    recovery = str(door.ui.recoveryTextEdit.plainText).split("\n")
    assert len(recovery) == 10
    door.ui.recoveryButton.click()
    assert not door.shown("recoveryGroupBox")
    assert str(door.ui.recoveryTextEdit.plainText) == ""
    assert not door.shown("beginCodesButton")
    door.sign_out()
    door.type(ANNA)
    assert door.shown("codeLineEdit")
    assert "authenticator app" in door.said()
    door.type(ANNA, code="123")
    assert "code is wrong" in door.said()
    assert door.shown("codeLineEdit")
    door.type(ANNA, code=recovery[3])
    assert door.reader.panel.server.account.has_codes


def test_where_codes_are_compulsory_they_are_set_up_before_anything_else(reader: Reader, server: StandIn) -> None:
    account = {"id": "1", "name": ANNA, "role": "radiologist", "permissions": ["labels.write"], "has_codes": False}
    signed = {
        "access_token": TOKEN,
        "refresh_token": "r",
        "expires_in_s": 300,
        "idle_s": 900,
        "account": account,
        "must_enrol": True,
    }
    secret = {"secret": "A" * 32, "uri": "otpauth://totp/x", "qr_svg": "no picture"}
    enrolled: list[dict[str, str]] = []

    def accounts(handler: Handler) -> bool:
        match handler.command, handler.path:
            case "POST", "/v1/sign-in":
                handler.body()
                handler.send(200, signed)
            case "POST", "/v1/account/codes":
                assert json.loads(handler.body())["password"] == PASSWORD
                handler.send(200, secret)
            case "PUT", "/v1/account/codes":
                enrolled.append(json.loads(handler.body()))
                handler.send(200, {"recovery_codes": ["one", "two"]})
            case "GET", "/v1/account":
                handler.send(200, account)
            case "GET", "/v1/models" if not enrolled:
                handler.problem(403, "not-allowed", "Set up codes first.")
            case _:
                return False
        return True

    server.info = {**server.info, "sign_in": ["password", "token"]}
    server.misbehaviour = accounts
    reader.connect(server.url)
    door = AtTheDoor(reader)
    door.type(ANNA)
    assert door.shown("codesGroupBox")
    assert not door.shown("codesPictureLabel")
    assert reader.panel.server.connection is None
    door.ui.firstCodeLineEdit.text = "12 34 56"
    door.ui.finishCodesButton.click()
    door.wait()
    assert enrolled == [{"secret": "A" * 32, "code": "123456"}]
    assert reader.panel.server.connection is not None
    assert str(door.ui.recoveryTextEdit.plainText) == "one\ntwo"


def test_a_token_of_an_account_works_too_and_is_forgotten_on_signing_out(
    door: AtTheDoor, hospital: ServerProcess
) -> None:
    said = users(hospital, "token", ANNA, "--for", "the panel", "--days", "3")
    token = next(word for word in said.split() if word.startswith("mahtai_"))
    door.reader.connect(hospital.url, token)
    panel = door.reader.panel
    assert panel.server.account.name == ANNA
    assert "a file that only you can read" in door.reader.said("server", "serverStateLabel")
    assert panel.settings.token(hospital.url) == token
    door.sign_out()
    assert panel.settings.token(hospital.url) == ""
    assert door.shown("signInGroupBox")


# what may they do


def test_what_the_role_must_not_do_is_off_with_the_reason(
    door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess
) -> None:
    worker = _at_work(door, VERA)
    off = {
        "saveButton": worker.reader.ui("save"),
        "runButton": worker.reader.ui("ai"),
        "correctButton": worker.reader.panel.review_section.correction.ui,
        "nextCaseButton": worker.ui,
        "submitButton": worker.ui,
        "approveButton": worker.ui,
        "rejectButton": worker.ui,
        "restoreButton": worker.cases.comparison_section.ui,
    }
    worker.open(case["id"])
    assert worker.cases.case.ref.id == case["id"], worker.said()
    assert "may not save" in worker.said()
    for name, ui in off.items():
        button = getattr(ui, name)
        assert not button.enabled, name
        assert "may not do this" in str(button.toolTip), name
    door.sign_out()
    door.type(ANNA)
    worker.place(boxes(GEOMETRY))
    for name in ("saveButton", "runButton", "nextCaseButton", "submitButton"):
        button = getattr(off[name], name)
        assert button.enabled, name
        assert "may not do this" not in str(button.toolTip), name
    assert worker.reader.panel.task().words.run_tip in str(worker.reader.ui("ai").runButton.toolTip)


# how long


def test_a_session_that_ends_takes_nothing_away(door: AtTheDoor, case: dict[str, Any], hospital: ServerProcess) -> None:
    worker = _at_work(door, ANNA)
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
    worker = _at_work(door, ANNA)
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
    worker = _at_work(door, ANNA)
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
    worker = _at_work(door, ANNA)
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
    worker = _at_work(door, ANNA)
    worker.open(case["id"])
    source = worker.cases.case._source
    assert [one.id for one in source.cases_here(hospital.url, ANNA)] == [case["id"]]
    assert source.cases_here(hospital.url, BORIS) == []
    assert source.here(hospital.url, case["id"], BORIS) is None


# the hospital's own sign-in


def test_the_browser_signs_in_and_waiting_for_it_can_be_given_up(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PySide6.QtGui import QDesktopServices

    from issuer import FakeIssuer
    from oidc_kit import CALLBACK, environment

    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: bool(opened.append(url.toString()) or True))
    issuer = FakeIssuer().start()
    server = hospital_server(tmp_path / "server", (tmp_path / "no-models",))
    server.environment = {**server.environment, **environment(issuer, tmp_path, f"{server.url}{CALLBACK}")}
    server.start()
    try:
        reader.connect(server.url)
        door = AtTheDoor(reader)
        assert door.shown("hospitalButton")
        assert door.shown("passwordLineEdit")
        door.ui.hospitalButton.click()
        spin(lambda: opened, 30, "the browser to be opened")
        assert door.shown("cancelSignInButton")
        assert "browser" in door.said()
        door.ui.cancelSignInButton.click()
        door.wait()
        assert "Cancelled" in door.said()
        assert not door.shown("cancelSignInButton")
        door.ui.hospitalButton.click()
        spin(lambda: len(opened) == 2, 30, "the browser to be opened again")
        pages: list[httpx.Response] = []
        browser = threading.Thread(
            target=lambda: pages.append(httpx.get(opened[1], follow_redirects=True, trust_env=False, timeout=30))
        )
        browser.start()
        door.wait()
        browser.join()
        assert "Go back to 3D Slicer" in pages[0].text
        assert reader.panel.server.account.name == "Anna Weber"
        assert str(reader.ui("save").authorLineEdit.text) == "Anna Weber"
        assert not door.shown("beginCodesButton")
    finally:
        server.stop()
        issuer.stop()


# certificates


def test_a_private_authority_is_asked_about_once_and_pinned(reader: Reader, tmp_path: Path, dialogs: Dialogs) -> None:
    import qt

    authority = make_authority()
    with TlsStandIn(tmp_path, make_certificate(authority), authority) as server:
        dialogs.answer(qt.QMessageBox.No, text="mahtai tls show")
        _press_connect(reader, server.url)
        spin(lambda: dialogs.shown, 30, "the question")
        _rest(reader)
        question = dialogs.shown[0].text
        assert authority.fingerprint in question.replace("\n", ":")
        assert "Nothing was sent" in question
        assert reader.panel.server.connection is None
        assert "Nothing was sent" in AtTheDoor(reader).said()
        assert server.state.requests == []
        dialogs.answer(qt.QMessageBox.Yes, text="Is it the right server?")
        _press_connect(reader, server.url)
        spin(lambda: reader.panel.server.connection is not None, 30, "the connection")
        assert len(dialogs.shown) == 2
        reader.panel.server.disconnect()
        reader.connect(server.url)
        assert reader.panel.server.connection is not None
        assert len(dialogs.shown) == 2
        assert (reader.panel.settings.folder / "trusted" / f"127.0.0.1-{server.port}.pem").is_file()


def test_the_fingerprint_is_the_one_that_the_server_prints_and_signing_in_goes_on_from_there(
    reader: Reader, tmp_path: Path, dialogs: Dialogs
) -> None:
    import qt

    server = EncryptedServer(tmp_path / "encrypted", (tmp_path / "no-models",), {"accounts": "on"})
    printed = server.set_up()
    add_user(server, ANNA)
    server.start()
    try:
        dialogs.answer(qt.QMessageBox.Yes, text="Is it the right server?")
        _press_connect(reader, server.url, "")
        spin(lambda: reader.panel.server.wanted is not None, 30, "the fields")
        assert printed in dialogs.shown[0].text.replace("\n", ":")
        door = AtTheDoor(reader)
        door.type(ANNA)
        assert reader.panel.server.account.name == ANNA, door.said()
        assert reader.panel.server.connection.url.startswith("https://")
    finally:
        server.kill()


def test_another_authority_later_is_refused_until_the_reader_forgets_the_first(
    reader: Reader, tmp_path: Path, dialogs: Dialogs
) -> None:
    import qt

    before, now = make_authority(), make_authority()
    with TlsStandIn(tmp_path, make_certificate(now), now) as server:
        reader.panel.server.asking.pins.pin(server.url, Authority(before.pem.decode(), before.fingerprint))
        reader.connect(server.url, TOKEN)
        _rest(reader)
        assert "another certificate authority" in reader.said("server", "serverStateLabel")
        assert dialogs.shown == []
        assert server.state.requests == []
        door = AtTheDoor(reader)
        assert door.shown("forgetCertificateButton")
        dialogs.answer(qt.QMessageBox.Yes, text=before.fingerprint)
        door.ui.forgetCertificateButton.click()
        assert not door.shown("forgetCertificateButton")
        dialogs.answer(qt.QMessageBox.Yes, text="Is it the right server?")
        _press_connect(reader, server.url)
        spin(lambda: reader.panel.server.connection is not None, 30, "the connection")


def test_nobody_is_asked_who_did_not_press_connect(reader: Reader, tmp_path: Path, dialogs: Dialogs) -> None:
    authority = make_authority()
    with TlsStandIn(tmp_path, make_certificate(authority), authority) as server:
        reader.panel.server.connect(server.url)
        spin(lambda: not reader.panel.server.is_asking, 30, "an answer")
        _rest(reader)
        assert "press Connect and compare" in reader.said("server", "serverStateLabel")
        assert dialogs.shown == []


def _at_work(door: AtTheDoor, name: str) -> Worker:
    """Signed in, with the work list open."""
    door.type(name)
    assert door.reader.panel.server.account is not None, door.said()
    return Worker(door.reader, "", None)


def _press_connect(reader: Reader, url: str, token: str = TOKEN) -> None:
    """Type address and token and press Connect; a question may come at any moment after that."""
    ui = reader.ui("server")
    ui.addressComboBox.setCurrentText(url)
    ui.tokenLineEdit.text = token
    ui.connectButton.click()


def _rest(reader: Reader) -> None:
    """Until all that was put off has been done."""
    turns: list[Callable[[], None]] = []

    def turn() -> bool:
        turns.append(lambda: None)
        return len(turns) > 20 and not reader.panel.background.is_busy

    spin(turn, 10, "some turns")
