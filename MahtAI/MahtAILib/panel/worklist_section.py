"""Section Work list: the cases of the server, the way to the next one, handing in and reviewing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MahtAILib.client.reviews import What
from MahtAILib.client.worklist import local_time
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.case_state import CaseState
from MahtAILib.panel.decisions import Decisions
from MahtAILib.panel.drafts_state import DraftsState
from MahtAILib.panel.lease_state import LeaseState
from MahtAILib.panel.permitted import Permitted
from MahtAILib.panel.save_section import SaveSection
from MahtAILib.panel.section import Section, fill_choices, fill_table, prepare_table, quiet, say, single_shot
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.task import Task
from MahtAILib.panel.worklist_state import WorkListState, state_words, who
from MahtAILib.scene.edits import is_edited
from MahtAILib.sequences.assignment import SHORT_NAMES, SLOTS

_TYPING_MS = 250


class WorkListSection(Section):
    """Shows ``WorkListState`` and ``CaseState``; folded until the reader opens it."""

    def __init__(
        self,
        server: ServerState,
        listed: WorkListState,
        case: CaseState,
        lease: LeaseState,
        drafts: DraftsState,
        decisions: Decisions,
        save: SaveSection,
        task: Callable[[], Task],
        settings: Settings,
    ) -> None:
        super().__init__("WorkList")
        self._server, self._listed, self._case, self._lease = server, listed, case, lease
        self._drafts, self._decisions, self._save, self._task = drafts, decisions, save, task
        self._settings = settings
        self._problem: ExplainedError | None = None
        self._shown: list[Any] = []
        ui = self.ui
        permissions = {"submit": "labels.write", "approve": "labels.approve", "reject": "labels.approve"}
        self._deciding = [Permitted(server, button, permissions[what]) for button, what in self._verdicts]
        self._next = Permitted(server, ui.nextCaseButton, "labels.write")
        self._open = Permitted(server, ui.openCaseButton, "images.read")
        prepare_table(ui.caseTable, stretched=1)
        fill_choices(ui.stateComboBox, _state_choices(), "unfinished")
        ui.runOnOpeningCheckBox.checked = settings.text("RunOnOpening") == "1"
        self._search_soon = single_shot(_TYPING_MS, self.list_again)
        ui.stateComboBox.connect("currentIndexChanged(int)", self.list_again)
        ui.mineCheckBox.connect("toggled(bool)", self.list_again)
        ui.searchLineEdit.connect("textChanged(QString)", lambda *_text: self._search_soon.start())
        ui.listButton.clicked.connect(self.list_again)
        ui.workListCollapsibleButton.connect("contentsCollapsed(bool)", self._folded)
        ui.strategyComboBox.connect("currentIndexChanged(int)", self._strategy_chosen)
        ui.runOnOpeningCheckBox.connect("toggled(bool)", self._run_on_opening_toggled)
        ui.caseTable.connect("itemSelectionChanged()", self._selection_changed)
        ui.caseTable.connect("cellActivated(int,int)", self.open_selected)
        ui.nextCaseButton.clicked.connect(self.open_next)
        ui.openCaseButton.clicked.connect(self.open_selected)
        ui.releaseButton.clicked.connect(lambda *_arguments: case.release())
        ui.cancelFetchButton.clicked.connect(lambda *_arguments: case.cancel())
        ui.takeDraftButton.clicked.connect(lambda *_arguments: drafts.take())
        ui.discardDraftButton.clicked.connect(lambda *_arguments: drafts.discard())
        for button, what in self._verdicts:
            button.clicked.connect(self._decider(what))
        for state in (server, listed, case, lease, drafts, decisions):
            state.changed.subscribe(self.refresh)
        self.refresh()

    @property
    def _verdicts(self) -> tuple[tuple[Any, What], ...]:
        ui = self.ui
        return (ui.submitButton, "submit"), (ui.approveButton, "approve"), (ui.rejectButton, "reject")

    @property
    def keys(self) -> dict[str, Callable[[], None]]:
        """Key → what it does; none that Slicer's main window or its Segment Editor has."""
        actions: dict[str, Callable[[], None]] = {
            "Ctrl+Shift+N": self.open_next,
            "Ctrl+Shift+O": self.open_selected,
            "Ctrl+Shift+G": self._case.release,
            "Ctrl+Shift+L": self.list_again,
            "Ctrl+Shift+F": self.ui.searchLineEdit.setFocus,
            "Ctrl+Shift+D": self._drafts.take,
            "Ctrl+Shift+U": self._decider("submit"),
            "Ctrl+Shift+Y": self._decider("approve"),
            "Ctrl+Shift+J": self._decider("reject"),
        }
        return {key: self._unfolding(action) for key, action in actions.items()}

    @property
    def strategy(self) -> str:
        """How the next case is chosen."""
        return str(self.ui.strategyComboBox.currentData or "order")

    @property
    def wants_run(self) -> bool:
        """Whether the model is to run on a case that has no label."""
        return bool(self.ui.runOnOpeningCheckBox.checked)

    @property
    def is_unfolded(self) -> bool:
        """Whether the reader looks at it."""
        return not self.ui.workListCollapsibleButton.collapsed

    def close(self) -> None:
        """The panel goes away."""
        self._search_soon.stop()

    def list_again(self, *_arguments: object) -> None:
        """Ask for the list as the reader wants it."""
        ui = self.ui
        self._listed.refresh(
            str(ui.stateComboBox.currentData), bool(ui.mineCheckBox.checked), str(ui.searchLineEdit.text)
        )
        self.refresh()

    def open_next(self, *_arguments: object) -> None:
        """The reader pressed Next case."""
        self._leave_for(lambda kept: self._case.next(self.strategy, kept))

    def open_selected(self, *_arguments: object) -> None:
        """The reader pressed Open, or Enter on a case."""
        row = self.ui.caseTable.currentRow()
        if 0 <= row < len(self._listed.cases):
            case_id = self._listed.cases[row].id
            self._leave_for(lambda kept: self._case.open(case_id, kept))

    def refresh(self) -> None:
        """Show how things stand."""
        ui, case, drafts = self.ui, self._case, self._drafts
        self._show_list()
        choices = [(one.id, _strategy_words(one)) for one in self._listed.strategies]
        fill_choices(ui.strategyComboBox, choices, self._settings.text("Strategy", "order"))
        self._next.enable(not case.is_busy)
        ui.releaseButton.enabled = self._lease.lease is not None
        ui.fetchProgressBar.setVisible(case.is_busy)
        ui.cancelFetchButton.setVisible(case.is_busy)
        ui.fetchProgressBar.setValue(round(100 * (case.progress[1] if case.progress else 0)))
        error = self._problem or case.error or drafts.error
        say(ui.caseLabel, self._words(), error)
        say(ui.leaseLabel, self._lease.message)
        offer = drafts.offer
        words = drafts.message
        if offer is not None:
            words = _("You have a draft of this case from {time} that is no version yet.").format(
                time=local_time(offer.saved_at)
            )
        say(ui.draftLabel, words)
        ui.takeDraftButton.setVisible(offer is not None)
        ui.discardDraftButton.setVisible(offer is not None)
        can_decide = case.ref is not None and not self._decisions.is_busy and not case.is_busy
        for permitted in self._deciding:
            permitted.enable(can_decide)
        say(ui.decisionLabel, self._decisions.message, self._decisions.error)

    def _words(self) -> str:
        ref = self._case.ref
        if self._case.is_busy:
            return _("Fetching the case …")
        open_case = "" if ref is None else _("Open: case {number}, {name}.").format(number=ref.number, name=ref.name)
        return " ".join(part for part in (open_case, self._case.message) if part)

    def _show_list(self) -> None:
        ui, listed, reader = self.ui, self._listed, self._server.person.name
        if self._shown is not listed.cases:
            chosen = self._selected_id()
            self._shown = listed.cases
            with quiet(ui.caseTable):
                fill_table(ui.caseTable, [_cells(case, reader) for case in listed.cases], with_numbers=False)
                rows = [row for row, case in enumerate(listed.cases) if case.id == chosen]
                ui.caseTable.setCurrentCell(rows[0] if rows else -1, 0)
        words = ""
        if listed.is_asking:
            words = _("Asking for the list …")
        elif listed.is_from_here:
            words = _("There is no connection to a server. These cases are on this computer.")
        elif listed.has_more:
            words = _("There are more cases than these; search for the one that you want.")
        elif not listed.cases and self.is_unfolded:
            words = _("There is no such case.")
        say(ui.listLabel, words, listed.error)
        self._selection_changed()

    def _selected_id(self) -> str:
        row = self.ui.caseTable.currentRow()
        return str(self._shown[row].id) if 0 <= row < len(self._shown) else ""

    def _selection_changed(self) -> None:
        self._open.enable(bool(self._selected_id()) and not self._case.is_busy)

    def _leave_for(self, go: Callable[[Any], None]) -> None:
        """Ask what is to become of unsaved edits, then go on to another case."""
        self._problem = None
        try:
            self._server.person = self._save.remark().person
        except ExplainedError as error:
            self._problem = error
            self.refresh()
            return
        node = self._task().node
        if not is_edited(node):
            go(None)
            return
        answer = _ask_about_edits(self._case.ref is not None)
        if answer == qt.QMessageBox.Yes:
            self._save.save_and(lambda: go(None))
        elif answer == qt.QMessageBox.No:
            if self._case.ref is not None:
                self._drafts.keep(lambda: go(node))
            else:
                go(None)  # what is no case's stays in the scene

    def _decider(self, what: What) -> Callable[..., None]:
        def decide(*_arguments: object) -> None:
            self._problem = None
            try:
                self._decisions.decide(what, self._save.remark(), str(self.ui.reviewLineEdit.text).strip())
            except ExplainedError as error:
                self._problem = error
                if what == "reject" and not str(self.ui.reviewLineEdit.text).strip():
                    self.ui.reviewLineEdit.setFocus()
            self.refresh()

        return decide

    def forget_review(self) -> None:
        """What was said of the last case is not said of the next."""
        self.ui.reviewLineEdit.text = ""

    def _unfolding(self, action: Callable[[], None]) -> Callable[[], None]:
        """A key works while the section is folded, too; what comes of it must be seen."""

        def act() -> None:
            self.ui.workListCollapsibleButton.collapsed = False
            action()

        return act

    def _folded(self, folded: bool) -> None:
        if not folded:
            self.list_again()

    def _strategy_chosen(self, *_arguments: object) -> None:
        self._settings.set_text("Strategy", self.strategy)
        self._case.look_ahead(self.strategy)

    def _run_on_opening_toggled(self, wanted: bool) -> None:
        self._settings.set_text("RunOnOpening", "1" if wanted else "0")


def _ask_about_edits(is_case: bool) -> Any:
    """Save, keep, or stay: Yes, No or Cancel."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle(_("Edits that are not saved"))
    box.setText(_("What you edited is not saved as a version yet."))
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel)
    box.button(qt.QMessageBox.Yes).setText(_("Save as version"))
    box.button(qt.QMessageBox.No).setText(_("Keep as draft") if is_case else _("Leave it in the scene"))
    box.setDefaultButton(qt.QMessageBox.Yes)
    return box.exec()


def _cells(case: Any, reader: str) -> tuple[str, ...]:
    slots = [slot for slot in SLOTS if slot in case.volumes]
    sequences = _("all {count}").format(count=len(SLOTS)) if len(slots) == len(SLOTS) else ""
    sequences = sequences or ", ".join(SHORT_NAMES.get(slot, slot) for slot in slots or case.volumes)
    return (
        str(case.number),
        case.name,
        state_words(case.state),
        str(case.priority) if case.priority else "",
        who(case, reader),
        sequences,
    )


def _strategy_words(strategy: Any) -> str:
    name = strategy.name or _("In order")
    return name if strategy.ready else _("{name} (not ready)").format(name=name)


def _state_choices() -> list[tuple[str, str]]:
    return [
        ("unfinished", _("to be done")),
        ("submitted", _("in review")),
        ("rejected", _("sent back")),
        ("approved", _("approved")),
        ("hard", _("hard ones")),
        ("all", _("all")),
    ]
