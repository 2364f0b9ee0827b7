"""The panel before a certificate authority that it does not know: asked about once, pinned, never exchanged unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accounts_kit import ANNA, AtTheDoor, EncryptedServer, add_user
from kit.dialogs import Dialogs
from kit.event_loop import spin
from panel_kit import Reader
from stand_in_server import TOKEN
from tls_server_kit import TlsStandIn, make_authority, make_certificate

from MahtAILib.client.certificates import Authority


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
