"""Section AI: which model, run it, how far it is, what it found and how sure it is."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from MahtAILib.errors import ExplainedError
from MahtAILib.panel.permitted import Permitted
from MahtAILib.panel.run_state import RunState
from MahtAILib.panel.section import Section, fill_choices, fill_table, prepare_table, say
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.task import BRAIN, MODEL_PARAMETERS, Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.upload_ahead import UploadAhead
from MahtAILib.scene.parameters import Parameters


class AISection(Section):
    """Shows and starts ``RunState``, for the task that the panel has now.

    Args:
        topics: what else may change what is shown here.
    """

    def __init__(
        self,
        parameters: Callable[[], Parameters],
        server: ServerState,
        run: RunState,
        task: Callable[[], Task],
        topics: tuple[Topic, ...],
        options_changed: Callable[[], None],
        settings: Settings,
        ahead: UploadAhead,
    ) -> None:
        super().__init__("AI")
        self._parameters = parameters
        self._server, self._run, self._task = server, run, task
        self._options_changed = options_changed
        self._settings = settings
        self._ahead = ahead
        self._problem: ExplainedError | None = None
        ui = self.ui
        self._options = {
            "register": ui.registerComboBox,
            "brain_mask": ui.brainMaskComboBox,
            "check_sequences": ui.checkSequencesComboBox,
        }
        self._permitted = Permitted(server, ui.runButton, "inferences.run")
        prepare_table(ui.regionTable)
        ui.runButton.clicked.connect(self.start)
        ui.cancelButton.clicked.connect(self._cancel)
        ui.modelComboBox.connect("currentIndexChanged(int)", self._model_chosen)
        for name, box in self._options.items():
            box.connect("currentIndexChanged(int)", self._option_chooser(name))
        server.changed.subscribe(self._forget_problem)
        for topic in (server.changed, run.changed, *topics):
            topic.subscribe(self.refresh)
        run.progressed.subscribe(self._show_progress)
        ahead.changed.subscribe(self._show_ahead)

    def refresh(self) -> None:
        """Show how things stand."""
        ui, run, task = self.ui, self._run, self._task()
        self._list_models()
        ui.optionsGroupBox.setVisible(task.id == BRAIN)
        ui.runButton.setText(task.words.run)
        for name, box in self._options.items():
            fill_choices(box, _choices()[name], self._parameters().get(name))
        self._permitted.enable(not run.is_running, task.words.run_tip)
        ui.cancelButton.enabled = run.is_running
        ui.runProgressBar.setVisible(run.is_running)
        self._show_progress()
        self._show_ahead()
        self._show_findings()

    def _show_progress(self) -> None:
        """How far a run is; called many times a second."""
        ui, run = self.ui, self._run
        if run.progress is not None:
            self._problem = None
            stage, fraction, place = run.progress
            ui.runProgressBar.setValue(round(100 * fraction))
            say(ui.runStateLabel, stage_words(stage, place))
        else:
            say(ui.runStateLabel, run.message, self._problem or run.error)
        words = _("A coarse preview is shown; the full result follows …") if run.has_preview else ""
        say(ui.previewLabel, words)

    def _show_ahead(self) -> None:
        say(self.ui.aheadLabel, _("The images are on the server.") if self._ahead.is_ready else "")

    def start(self, *_arguments: object) -> None:
        """The reader pressed Run."""
        self._problem = None
        try:
            model = self._model()
            if self._may_send(model):
                self._run.start(model, self._task().options())
        except ExplainedError as error:
            self._problem = error
        self.refresh()

    def _forget_problem(self) -> None:
        """What stood in the way of Run may be out of it."""
        self._problem = None

    def _may_send(self, model: str) -> bool:
        """Whether voxels may leave this computer for the server of the model; asked once per server."""
        connection, task = self._run.way(model)
        if connection is None or connection.is_local or self._settings.consents(connection.url):
            return True
        question = _(
            "The images leave this computer.\n\nTo: {url}\nWhat: {what}\n\n"
            "Send them, and do not ask again for this server?"
        ).format(url=connection.url, what=task.words.leaves.format(names=task.image_names()))
        if not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Images leave this computer")):
            raise ExplainedError(_("Nothing was sent."), _("Start a server on this computer to keep the images here."))
        self._settings.remember_consent(connection.url)
        return True

    def _model(self) -> str:
        model = self.ui.modelComboBox.currentData
        if self._server.connection is None and not model:
            raise ExplainedError(
                _("There is no connection to a server."),
                _("Open the section Server and press Connect or Start on this computer."),
            )
        if not model:
            raise ExplainedError(
                self._task().words.no_model,
                _("Whoever looks after the server can see why with: mahtai models check."),
            )
        return str(model)

    def _list_models(self) -> None:
        models = self._server.models_for(self._task().id)
        choices = [
            (str(model["id"]), f"{model.get('name', model['id'])} {model.get('version', '')}".strip())
            for model in models
        ]
        box, wanted = self.ui.modelComboBox, self._parameters().get(self._model_parameter)
        if self._server.connection is None and choices and wanted not in dict(choices):
            choices.insert(0, ("", _("choose a model")))  # none of another server that the reader did not choose
        fill_choices(box, choices, wanted)
        box.enabled = bool(choices)
        chosen = next((model for model in models if model["id"] == box.currentData), None)
        say(self.ui.modelLabel, "" if chosen is None else str(chosen.get("intended_use") or chosen.get("description")))

    def _show_findings(self) -> None:
        task = self._task()
        fill_table(self.ui.regionTable, task.findings())
        provenance = task.provenance
        warnings = provenance.warnings if provenance is not None else ()
        say(self.ui.warningsLabel, "\n".join(f"• {warning}" for warning in warnings))

    @property
    def _model_parameter(self) -> str:
        return MODEL_PARAMETERS[self._task().id]

    def _model_chosen(self, *_arguments: object) -> None:
        self._parameters().set(self._model_parameter, str(self.ui.modelComboBox.currentData or ""))
        self.refresh()

    def _option_chooser(self, name: str) -> Callable[..., None]:
        def chosen(*_arguments: object) -> None:
            self._parameters().set(name, str(self._options[name].currentData))
            self._options_changed()

        return chosen

    def _cancel(self, *_arguments: object) -> None:
        self._run.cancel()
        say(self.ui.runStateLabel, _("Cancelling …"))


def stage_words(stage: str, place: int | None) -> str:
    """What is being done, for the reader."""
    words = {
        "hashing": _("Preparing the images …"),
        "uploading": _("Sending the images …"),
        "queued": _("Waiting for the server …"),
        "loading": _("The server loads the model …"),
        "checking": _("The server checks the images …"),
        "reading": _("The server reads the image …"),
        "locating": _("The model looks for the landmarks …"),
        "refining": _("The model looks at each landmark closely …"),
        "measuring": _("The server measures …"),
        "registering": _("The server registers the sequences …"),
        "preparing": _("The server prepares the images …"),
        "predicting": _("The model looks at the images …"),
        "restoring": _("The result is brought to where the images lie …"),
        "writing": _("The result is written …"),
        "storing": _("The result is stored …"),
        "downloading": _("Fetching the result …"),
        "reconnecting": _("The server does not answer; trying again. Cancel if you do not want to wait …"),
    }
    if stage == "queued" and place:
        return _("Waiting for the server: {count} before this one …").format(count=place)
    return words.get(stage, f"{stage} …")


def _choices() -> dict[str, list[tuple[str, str]]]:
    return {
        "register": [("auto", _("automatic")), ("on", _("always, also far apart")), ("off", _("never"))],
        "brain_mask": [("auto", _("automatic")), ("on", _("always")), ("off", _("never"))],
        "check_sequences": [("on", _("check")), ("off", _("do not check"))],
    }
