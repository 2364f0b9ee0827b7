"""The panel and a real server on which people sign in: who is it, and what may they do."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from accounts_kit import ANNA, PASSWORD, VERA, AtTheDoor, hospital_server, users
from accounts_reader import GEOMETRY, at_work, case, door, hospital
from kit.dialogs import Dialogs
from kit.event_loop import spin
from panel_kit import Reader
from stand_in_server import TOKEN, Handler, StandIn
from worklist_kit import boxes

from server_process import ServerProcess

__all__ = ["case", "door", "hospital"]


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
    worker = at_work(door, VERA)
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
