"""Section What to read: brain tumour or cephalogram; it changes by itself when an image of the other kind comes."""

from __future__ import annotations

from collections.abc import Callable

from MahtAILib.panel.section import Section, quiet, say
from MahtAILib.panel.task import BRAIN, CEPHALOMETRY


class TaskSection(Section):
    """Shows and changes the task of the panel.

    Args:
        task: its id now.
        choose: called with the id that the reader chose.
    """

    def __init__(self, task: Callable[[], str], choose: Callable[[str], None]) -> None:
        super().__init__("Task")
        self._task = task
        self._choose = choose
        self.reason = ""
        """Why the task changed by itself; empty if the reader chose it."""
        self.ui.brainButton.clicked.connect(lambda *_arguments: self._chosen(BRAIN))
        self.ui.cephButton.clicked.connect(lambda *_arguments: self._chosen(CEPHALOMETRY))

    def refresh(self) -> None:
        """Show the task as it is."""
        for button, task in ((self.ui.brainButton, BRAIN), (self.ui.cephButton, CEPHALOMETRY)):
            with quiet(button):
                button.checked = self._task() == task
        say(self.ui.taskLabel, self.reason)

    def _chosen(self, task: str) -> None:
        self.reason = ""
        self._choose(task)
