"""Section Study: four slots, filled by themselves, and what will be done to each volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.panel.section import Section, quiet, say
from MahtAILib.panel.study_state import StudyState
from MahtAILib.sequences.assignment import SLOTS


class StudySection(Section):
    """Shows and changes ``StudyState``.

    Args:
        register: the chosen registration option, which decides what is done to a volume on another grid.
    """

    def __init__(self, study: StudyState, register: Callable[[], str]) -> None:
        super().__init__("Study")
        self._study = study
        self._register = register
        self._selectors = {slot: getattr(self.ui, f"{slot}Selector") for slot in SLOTS}
        self._states = {slot: getattr(self.ui, f"{slot}StateLabel") for slot in SLOTS}
        for slot, selector in self._selectors.items():
            # only the reader's choice: a selector also changes by itself while a scene is set or loaded
            selector.connect("nodeActivated(vtkMRMLNode*)", self._chooser(slot))
        for slot in SLOTS[:-1]:
            getattr(self.ui, f"{slot}SwapButton").clicked.connect(self._swapper(slot))
        self.ui.assignButton.clicked.connect(self._fill)
        study.changed.subscribe(self.refresh)

    def refresh(self) -> None:
        """Show the slots as they are."""
        for slot, selector in self._selectors.items():
            with quiet(selector):
                selector.setCurrentNode(self._study.volume(slot))
        if self._study.is_empty():
            for label in self._states.values():
                say(label, "")
            say(self.ui.studyStateLabel, self._study.message or _("Load T1, T1c, T2 and FLAIR, or choose them here."))
            return
        checked = self._study.check(self._register())
        for slot, label in self._states.items():
            said = checked.slots.get(slot)
            sentences = (self._reason(slot), said.sentence) if said else (self._study.empty.get(slot, ""),)
            say(label, " ".join(part for part in sentences if part))
        parts = [self._study.message, *(() if checked.can_run else checked.reasons)]
        say(self.ui.studyStateLabel, " ".join(part for part in parts if part))

    def _reason(self, slot: str) -> str:
        if slot not in self._study.reasons:
            return ""
        confidence, reason = self._study.reasons[slot]
        return _("Found, {confidence:.0%} sure: {reason}.").format(confidence=confidence, reason=reason.rstrip("."))

    def _chooser(self, slot: str) -> Callable[[Any], None]:
        return lambda volume: self._study.choose(slot, volume)

    def _swapper(self, slot: str) -> Callable[..., None]:
        return lambda *_arguments: self._study.swap(slot)

    def _fill(self, *_arguments: object) -> None:
        self._study.fill()
