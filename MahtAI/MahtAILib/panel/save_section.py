"""Section Save: what the reader thinks of the proposal, a new version, the versions that are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.acting import Person
from MahtAILib.client.address import clean_url
from MahtAILib.client.cases import LabelVersion
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.permitted import Permitted
from MahtAILib.panel.remark import Remark
from MahtAILib.panel.section import Section, fill_choices, fill_table, prepare_table, quiet, say
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import saved_at
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.parameters import Parameters


class SaveSection(Section):
    """Shows and changes ``VersionsState``.

    Attributes:
        selection_changed: another version is selected, or the list is another one.

    Args:
        topics: what else may change what is shown here.
        address: the server for which versions are saved while there is no connection.
    """

    def __init__(
        self,
        parameters: Callable[[], Parameters],
        server: ServerState,
        task: Callable[[], Task],
        topics: tuple[Topic, ...],
        versions: VersionsState,
        settings: Settings,
        address: Callable[[], str],
    ) -> None:
        super().__init__("Save")
        self._parameters = parameters
        self._server, self._task, self._versions = server, task, versions
        self._settings = settings
        self._address = address
        self._problem: ExplainedError | None = None
        self.selection_changed = Topic()
        ui = self.ui
        self._permitted = Permitted(server, ui.saveButton, "labels.write")
        self._shown: tuple[Person | None, ...] = ()
        prepare_table(ui.versionsTable, stretched=3)
        self._show_reader()
        ui.authorLineEdit.editingFinished.connect(self._reader_changed)
        ui.roleComboBox.connect("currentIndexChanged(int)", self._reader_changed)
        ui.commentLineEdit.editingFinished.connect(self._comment_changed)
        for button, other in ((ui.agreeButton, ui.disagreeButton), (ui.disagreeButton, ui.agreeButton)):
            # not exclusive, so that a second click takes a verdict back
            button.setAutoExclusive(False)
            button.connect("toggled(bool)", self._verdict_chooser(other))
        ui.saveButton.clicked.connect(self.save)
        ui.sendButton.clicked.connect(lambda *_arguments: versions.send())
        ui.refreshButton.clicked.connect(lambda *_arguments: versions.refresh())
        ui.openButton.clicked.connect(self._open)
        ui.versionsTable.connect("itemSelectionChanged()", self._selection_changed)
        ui.versionsTable.connect("cellDoubleClicked(int,int)", self._open)
        self._reader_changed()
        for topic in (versions.changed, server.changed, *topics):
            topic.subscribe(self.refresh)

    def refresh(self) -> None:
        """Show how things stand."""
        ui, versions, parameters = self.ui, self._versions, self._parameters()
        self._show_reader()
        verdict = parameters.get("verdict")
        for button, value in ((ui.agreeButton, "agree"), (ui.disagreeButton, "disagree")):
            with quiet(button):
                button.checked = verdict == value
        with quiet(ui.commentLineEdit):
            if ui.commentLineEdit.text != parameters.get("comment"):
                ui.commentLineEdit.text = parameters.get("comment")
        self._permitted.enable(self._task().node is not None and not versions.is_busy)
        say(ui.saveStateLabel, self._words() or versions.message, self._problem or versions.error)
        ui.sendButton.setVisible(versions.waiting > 0)
        ui.sendButton.enabled = self._server.connection is not None and not versions.is_busy
        waiting = _("{count} saved on this computer, not yet sent.").format(count=versions.waiting)
        if versions.others:
            waiting += " " + _("What {names} saved is sent when they sign in themselves.").format(
                names=", ".join(versions.others)
            )
        say(ui.waitingLabel, waiting if versions.waiting else "")
        self._list_versions()

    def save(self, *_arguments: object) -> None:
        """The reader pressed Save."""
        self.save_and(lambda: None)

    def save_and(self, then: Callable[[], None]) -> None:
        """Save; ``then`` is called once the version is safe on this computer, and not at all if it cannot be saved."""

        def done() -> None:
            self._forget_comment()
            then()

        connection = self._server.connection
        self._problem = None
        try:
            url = connection.url if connection is not None else clean_url(self._address())
            self._versions.save(self.remark(), url, done)
        except ExplainedError as error:
            self._problem = error
        self.refresh()

    def remark(self) -> Remark:
        """What stands in the fields, which may still be typed in."""
        parameters = self._parameters()
        self._comment_changed()
        self._reader_changed()
        person = self._server.person
        return Remark(person.name, person.role, parameters.get("verdict"), parameters.get("comment"))

    def selected(self) -> LabelVersion | None:
        """The version that is selected in the table."""
        row = self.ui.versionsTable.currentRow()
        return self._versions.versions[row] if 0 <= row < len(self._versions.versions) else None

    def _forget_comment(self) -> None:
        """It was said of this version, not of the next."""
        self._parameters().set("comment", "")

    def _words(self) -> str:
        if self._task().node is None:
            return ""
        return _("There are edits that are not saved.") if is_edited(self._task().node) else ""

    def _list_versions(self) -> None:
        provenance = self._task().provenance
        current = provenance.version if provenance is not None else ""
        rows = [
            (
                ("▸ " if version.id == current else "") + str(version.number),
                saved_at(version),
                version.author,
                str(version.document.get("comment") or ""),
            )
            for version in self._versions.versions
        ]
        with quiet(self.ui.versionsTable):
            fill_table(self.ui.versionsTable, rows, with_numbers=False)
        self._selection_changed()

    def _selection_changed(self) -> None:
        self.ui.openButton.enabled = self.selected() is not None and not self._versions.is_busy
        self.selection_changed.publish()

    def _open(self, *_arguments: object) -> None:
        version = self.selected()
        if version is not None:
            self._versions.open(version)

    def _show_reader(self) -> None:
        """The account's name, which nobody can change here; where nobody signs in, what was typed."""
        account, ui = self._server.account, self.ui
        person = None if account is None else account.person
        if self._shown == (person,):
            return
        roles = {"radiologist": _("radiologist"), "annotator": _("annotator")}
        if person is None:
            name, role = self._settings.text("Reader"), self._settings.text("Role", "radiologist")
            tip = _("Your name. It is saved with the version.")
        else:
            name, role = person.name, person.role
            roles.setdefault(role, role)
            tip = _("The name of your account; what you save is kept under it.")
        self._shown = (person,)
        fill_choices(ui.roleComboBox, list(roles.items()), role)
        ui.authorLineEdit.text = name
        ui.authorLineEdit.setToolTip(tip)
        ui.authorLineEdit.readOnly = person is not None
        ui.roleComboBox.enabled = person is None
        self._server.person = person or Person(name.strip(), role)

    def _reader_changed(self, *_arguments: object) -> None:
        if self._server.account is not None:
            self._server.person = self._server.account.person
            return
        self._settings.set_text("Reader", str(self.ui.authorLineEdit.text))
        self._settings.set_text("Role", str(self.ui.roleComboBox.currentData))
        self._server.person = Person(str(self.ui.authorLineEdit.text).strip(), str(self.ui.roleComboBox.currentData))

    def _comment_changed(self) -> None:
        self._parameters().set("comment", str(self.ui.commentLineEdit.text))

    def _verdict_chooser(self, other: Any) -> Callable[[bool], None]:
        def chosen(checked: bool) -> None:
            if checked:
                with quiet(other):
                    other.checked = False
            self._verdict_changed()

        return chosen

    def _verdict_changed(self) -> None:
        ui = self.ui
        chosen = "agree" if ui.agreeButton.checked else "disagree" if ui.disagreeButton.checked else ""
        self._parameters().set("verdict", chosen)
