"""Part of section Server: signing in and out, codes, and the certificate that was confirmed. Hidden on one computer."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from MahtAILib.client.address import clean_url
from MahtAILib.client.errors import BadAddressError
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.section import Section, say, single_shot
from MahtAILib.panel.server_asking import question_about
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.sign_in_state import SignInState

_RECOVERY_LINES = 5


class SignInSection(Section):
    """Shows and changes ``SignInState``.

    Attributes:
        reader_connects: the reader pressed Connect, and may be asked about a certificate; nobody else is.

    Args:
        address: what stands in the address field.
    """

    def __init__(
        self, sign_in: SignInState, server: ServerState, settings: Settings, address: Callable[[], str]
    ) -> None:
        super().__init__("SignIn")
        self._sign_in, self._server, self._settings, self._address = sign_in, server, settings, address
        self._problem: ExplainedError | None = None
        self._shown_picture = ""
        self.reader_connects = False
        ui = self.ui
        ui.removeImagesCheckBox.checked = settings.text("RemoveImages", "1") == "1"
        ui.userLineEdit.text = settings.text("Account")
        for field in (ui.userLineEdit, ui.passwordLineEdit, ui.codeLineEdit):
            field.returnPressed.connect(self._enter)
        ui.signInButton.clicked.connect(self._enter)
        ui.hospitalButton.clicked.connect(lambda *_arguments: sign_in.sign_in_at_hospital())
        ui.cancelSignInButton.clicked.connect(lambda *_arguments: sign_in.cancel())
        ui.firstCodeLineEdit.returnPressed.connect(self._finish_codes)
        ui.finishCodesButton.clicked.connect(self._finish_codes)
        ui.recoveryButton.clicked.connect(lambda *_arguments: sign_in.recovery_written_down())
        ui.beginCodesButton.clicked.connect(self._begin_codes)
        ui.giveUpCodesButton.clicked.connect(lambda *_arguments: sign_in.give_up_codes())
        ui.signOutButton.clicked.connect(lambda *_arguments: sign_in.sign_out())
        ui.removeImagesCheckBox.connect("toggled(bool)", self._remove_images_toggled)
        ui.forgetCertificateButton.clicked.connect(self._forget_certificate)
        self._ask_soon = single_shot(0, self._ask_about_certificate)
        sign_in.changed.subscribe(self.refresh)
        server.changed.subscribe(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        ui, sign_in, server = self.ui, self._sign_in, self._server
        wanted, is_enrolling = server.wanted, sign_in.codes is not None
        ways = () if wanted is None else wanted.ways
        is_in = server.connection is not None and server.account is not None
        ui.signInGroupBox.setVisible(wanted is not None and not is_enrolling)
        has_password = "password" in ways
        for widget in (ui.userLabel, ui.userLineEdit, ui.passwordLabel, ui.passwordLineEdit, ui.signInButton):
            widget.setVisible(has_password)
        for widget in (ui.codeLabel, ui.codeLineEdit):
            widget.setVisible(has_password and sign_in.wants_code)
        ui.hospitalButton.setVisible("hospital" in ways)
        ui.cancelSignInButton.setVisible(sign_in.is_in_browser)
        for widget in (ui.signInButton, ui.hospitalButton, ui.finishCodesButton, ui.beginCodesButton, ui.signOutButton):
            widget.enabled = not sign_in.is_busy
        ui.beginCodesButton.setVisible(is_in and sign_in.may_set_up_codes and not is_enrolling)
        if is_in or is_enrolling:
            self._forget_typed()
        self._show_codes()
        ui.recoveryGroupBox.setVisible(bool(sign_in.recovery))
        ui.recoveryTextEdit.setPlainText("\n".join(sign_in.recovery))
        ui.recoveryTextEdit.setFixedHeight((_RECOVERY_LINES + 1) * ui.recoveryTextEdit.fontMetrics().lineSpacing())
        ui.accountGroupBox.setVisible(is_in)
        if server.account is not None:
            ui.accountLabel.setText(
                _("Signed in: {name} ({role})").format(name=server.account.name, role=server.account.role)
            )
        error = self._problem or sign_in.error or (None if wanted is None or sign_in.message else wanted.error)
        say(ui.signInStateLabel, sign_in.message, error)
        is_pinned = self._is_pinned()
        ui.forgetCertificateButton.setVisible(is_pinned)
        if server.unknown is not None and self.reader_connects:
            self._ask_soon.start()
        elif not server.is_asking:
            self.reader_connects = False
        has_signing_in = wanted is not None or is_in or is_enrolling or bool(sign_in.recovery)
        self.widget.setVisible(has_signing_in or is_pinned or error is not None)

    def close(self) -> None:
        """The panel goes away."""
        self._ask_soon.stop()
        self._forget_typed()

    def _enter(self, *_arguments: object) -> None:
        ui = self.ui
        self._problem = None
        self._sign_in.sign_in(str(ui.userLineEdit.text), str(ui.passwordLineEdit.text), str(ui.codeLineEdit.text))
        ui.codeLineEdit.text = ""  # it can be used only once

    def _begin_codes(self, *_arguments: object) -> None:
        password = qt.QInputDialog.getText(
            slicer.util.mainWindow(),
            _("Set up codes"),
            _("Your password, to show that it is still you:"),
            qt.QLineEdit.Password,
        )
        if password:
            self._sign_in.begin_codes(str(password))

    def _finish_codes(self, *_arguments: object) -> None:
        self._sign_in.finish_codes(str(self.ui.firstCodeLineEdit.text))
        self.ui.firstCodeLineEdit.text = ""

    def _forget_typed(self) -> None:
        """Password and code are of no use any more."""
        for field in (self.ui.passwordLineEdit, self.ui.codeLineEdit):
            if field.text:
                field.text = ""

    def _show_codes(self) -> None:
        """The secret for the authenticator app, as text and, where Qt can draw it, as a picture."""
        ui, codes = self.ui, self._sign_in.codes
        ui.codesGroupBox.setVisible(codes is not None)
        picture = "" if codes is None else codes.qr_svg
        ui.codesSecretLineEdit.text = "" if codes is None else codes.secret
        ui.codesUriLineEdit.text = "" if codes is None else codes.uri
        if picture == self._shown_picture:
            return
        self._shown_picture = picture
        drawn = qt.QPixmap()
        is_drawn = bool(picture) and drawn.loadFromData(qt.QByteArray(picture.encode()))
        ui.codesPictureLabel.setPixmap(drawn)
        ui.codesPictureLabel.setVisible(is_drawn)

    def _ask_about_certificate(self) -> None:
        """Once, when the reader connects to a server whose authority nobody knows."""
        unknown, server = self._server.unknown, self._server
        if unknown is None:
            return
        server.unknown, self.reader_connects = None, False
        if slicer.util.confirmYesNoDisplay(question_about(unknown), windowTitle=_("Is it the right server?")):
            try:
                server.trust(unknown)
            except ExplainedError as error:
                self._problem = error
        else:
            self._problem = ExplainedError(
                _("Nothing was sent to {url}.").format(url=unknown.url),
                _("Ask the person who runs the server for its fingerprint, then press Connect again."),
            )
        self.refresh()
        self._problem = None

    def _is_pinned(self) -> bool:
        """Whether an authority was confirmed for the server in the address field."""
        try:
            return self._server.asking.pins.ca_file(clean_url(self._address())) is not None
        except BadAddressError:
            return False

    def _forget_certificate(self, *_arguments: object) -> None:
        question = _(
            "Trust the certificate authority with this fingerprint no more for {url}?\n\n{fingerprint}\n\nThe next "
            "time that you connect, you are shown the fingerprint of the one that the server has then."
        ).format(url=self._address(), fingerprint=self._server.asking.pins.fingerprint(clean_url(self._address())))
        if slicer.util.confirmYesNoDisplay(question, windowTitle=_("Forget its certificate")):
            self._server.asking.pins.forget(clean_url(self._address()))
            self._server.disconnect()

    def _remove_images_toggled(self, wanted: bool) -> None:
        self._settings.set_text("RemoveImages", "1" if wanted else "0")
