"""Part of section Review: the button that has the model look again around the reader's strokes."""

from __future__ import annotations

from slicer.i18n import tr as _

from MahtAILib.panel.correction_state import CorrectionState
from MahtAILib.panel.permitted import Permitted
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.section import Section, say
from MahtAILib.panel.server_state import ServerState

KEY = "Ctrl+Return"


class CorrectionSection(Section):
    """Shows and starts ``CorrectionState``."""

    def __init__(self, correction: CorrectionState, review: ReviewState, server: ServerState) -> None:
        super().__init__("Correction")
        self._correction, self._review = correction, review
        self._permitted = Permitted(server, self.ui.correctButton, "inferences.run")
        self.ui.correctButton.clicked.connect(self.start)
        self.ui.cancelCorrectionButton.clicked.connect(self._cancel)
        for topic in (correction.changed, review.changed, server.changed):
            topic.subscribe(self.refresh)
        self.refresh()

    def start(self, *_arguments: object) -> None:
        """The reader pressed the button or its key."""
        self._correction.start()

    def refresh(self) -> None:
        """Show how things stand."""
        ui, correction = self.ui, self._correction
        self._permitted.enable(self._review.node is not None and not correction.is_running)
        ui.cancelCorrectionButton.setVisible(correction.is_running)
        words = stage_words(correction.stage) if correction.is_running else correction.message
        say(ui.correctionStateLabel, words, correction.error)

    def _cancel(self, *_arguments: object) -> None:
        self._correction.cancel()
        say(self.ui.correctionStateLabel, _("Cancelling …"))


def stage_words(stage: str) -> str:
    """What is being done, for the reader."""
    words = {
        "fetching": _("Looking for your strokes …"),
        "correcting": _("The model looks again around your strokes …"),
    }
    return words.get(stage, f"{stage} …")
