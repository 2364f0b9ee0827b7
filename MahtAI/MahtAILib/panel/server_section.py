"""Section Server: address, token, state in plain words, a server on this computer."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from MahtAILib.client.login import TokenLogin
from MahtAILib.panel.local_state import LocalState
from MahtAILib.panel.monai_label_state import MonaiLabelState
from MahtAILib.panel.section import Section, quiet, say
from MahtAILib.panel.server_state import DEFAULT_URL, ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.sign_in_section import SignInSection
from MahtAILib.panel.sign_in_state import SignInState


class ServerSection(Section):
    """Shows and changes ``ServerState`` and ``LocalState``.

    Attributes:
        sign_in: the part with which one signs in, below the buttons.
    """

    def __init__(
        self,
        server: ServerState,
        local: LocalState,
        settings: Settings,
        monai_label: MonaiLabelState,
        sign_in: SignInState,
    ) -> None:
        super().__init__("Server")
        self._server = server
        self._local = local
        self._settings = settings
        self._monai_label = monai_label
        ui = self.ui
        self._list_addresses(DEFAULT_URL)
        self.sign_in = SignInSection(sign_in, server, settings, lambda: self.address)
        column = ui.serverCollapsibleButton.layout()
        column.insertWidget(column.indexOf(ui.serverStateLabel) + 1, self.sign_in.widget)
        self._token_was_typed = False
        ui.connectButton.clicked.connect(self._connect)
        ui.tokenLineEdit.returnPressed.connect(self._connect)
        ui.startButton.clicked.connect(self._start)
        ui.stopButton.clicked.connect(self._stop)
        ui.monaiLabelLineEdit.text = monai_label.address
        ui.monaiLabelButton.clicked.connect(self._use_monai_label)
        ui.monaiLabelLineEdit.returnPressed.connect(self._use_monai_label)
        monai_label.changed.subscribe(self.refresh)
        server.changed.subscribe(self.refresh)
        local.changed.subscribe(self.refresh)
        self.refresh()

    @property
    def address(self) -> str:
        """What stands in the address field."""
        return str(self.ui.addressComboBox.currentText)

    def connect_quietly(self) -> None:
        """When the panel opens: ask the server that answered last, if any."""
        if self._settings.addresses() and self._server.connection is None and not self._server.is_asking:
            self._server.connect(self.address)
        self._monai_label.connect_quietly()

    def refresh(self) -> None:
        """Show how things stand."""
        ui, server, local = self.ui, self._server, self._local
        ui.connectButton.enabled = not server.is_asking
        ui.startButton.enabled = not local.is_busy and not local.is_running
        ui.stopButton.enabled = local.is_busy or local.is_running
        ui.installProgressBar.setVisible(local.is_busy)
        ui.installProgressBar.setValue(round(100 * local.fraction))
        place = _("the system's keyring") if self._settings.has_keyring else _("a file that only you can read")
        ui.tokenLineEdit.setToolTip(
            _(
                "The access token of the server. For a server on this computer leave it empty; for another one ask "
                "whoever looks after it. It is kept in {place}, never in the scene."
            ).format(place=place)
        )
        error = local.error or server.error
        say(ui.serverStateLabel, self._words(), error)
        if ui.logTextEdit.plainText != local.log:
            ui.logTextEdit.setPlainText(local.log)
            ui.logTextEdit.verticalScrollBar().setValue(ui.logTextEdit.verticalScrollBar().maximum)
        ui.monaiLabelButton.enabled = not self._monai_label.is_asking
        say(ui.monaiLabelLabel, self._monai_label_words(), self._monai_label.error)
        if server.connection is not None and self.address != server.connection.url:
            self._list_addresses(server.connection.url)

    def _words(self) -> str:
        server, local = self._server, self._local
        if local.is_busy:
            return local.message
        if server.is_asking:
            return _("Asking {url} …").format(url=self.address)
        if server.wanted is not None:
            return _("MahtAI server {version} at {url}: sign in, or paste an access token.").format(
                version=server.wanted.version, url=server.wanted.url
            )
        if server.connection is None:
            return local.message or _("Not connected. Start a server on this computer, or type the address of one.")
        where = _("on this computer") if server.connection.is_local else _("at {url}").format(url=server.connection.url)
        words = _("Connected: MahtAI server {version} {where}.").format(version=server.version, where=where)
        if self._token_was_typed and isinstance(server.connection.login, TokenLogin):
            place = _("the system's keyring") if self._settings.has_keyring else _("a file that only you can read")
            words += " " + _("Its token is kept in {place}.").format(place=place)
        return words

    def _monai_label_words(self) -> str:
        other = self._monai_label
        if other.is_asking:
            return _("Asking the MONAI Label server …")
        if other.server is None:
            return ""
        return _("{count} models of the MONAI Label server at {where} are in the list of models.").format(
            count=other.count, where=other.server.where
        )

    def _use_monai_label(self, *_arguments: object) -> None:
        self._monai_label.connect(str(self.ui.monaiLabelLineEdit.text))

    def _list_addresses(self, chosen: str) -> None:
        box = self.ui.addressComboBox
        addresses = self._settings.addresses()
        with quiet(box):
            box.clear()
            for url in dict.fromkeys([*addresses, DEFAULT_URL]):
                box.addItem(url)
            box.setCurrentText(chosen if chosen != DEFAULT_URL or not addresses else addresses[0])

    def _connect(self, *_arguments: object) -> None:
        token, self.ui.tokenLineEdit.text = str(self.ui.tokenLineEdit.text), ""
        self._local.forget_error()
        self._token_was_typed = bool(token.strip())
        self.sign_in.reader_connects = True
        self._server.connect(self.address, token)

    def _start(self, *_arguments: object) -> None:
        question = self._local.consent_question()
        if question and not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Install the MahtAI server")):
            return
        self._local.start()

    def _stop(self, *_arguments: object) -> None:
        self._local.stop()
