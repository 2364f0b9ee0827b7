"""Dialogs that a test answers beforehand; one that nobody expects fails the test instead of waiting for ever.

dialogs.answer(qt.QMessageBox.Yes, text="leaves this computer")   # message boxes: a button
dialogs.answer("/tmp/file.nrrd")                                  # file and input dialogs: the text
dialogs.answer(lambda dialog: dialog.nameEdit.setText("x"))       # other dialogs: acts, then accepts
...
assert [shown.text for shown in dialogs.shown] == [...]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets

FILE_DIALOGS = ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames")
MESSAGE_BOXES = ("information", "question", "warning", "critical", "about")


@dataclass(frozen=True)
class Shown:
    """A dialog that came up."""

    kind: str
    title: str
    text: str


@dataclass
class Dialogs:
    """Answers in waiting, what was shown, and what was not expected."""

    shown: list[Shown] = field(default_factory=list)
    unexpected: list[Shown] = field(default_factory=list)
    _answers: list[tuple[Any, str]] = field(default_factory=list)

    def answer(self, answer: Any, text: str = "") -> None:
        """The next dialog has this text (or a part of it) and gets this answer."""
        self._answers.append((answer, text))

    def reset(self) -> None:
        """Forget everything."""
        self.shown.clear()
        self.unexpected.clear()
        self._answers.clear()

    def problems(self) -> list[str]:
        """What a test has to fail for."""
        return [f"unexpected dialog: {shown}" for shown in self.unexpected] + [
            f"a dialog with the text {text!r} was expected and never came" for _, text in self._answers
        ]

    def ask(self, kind: str, title: str, text: str) -> Any:
        """The answer of the test.

        Raises:
            AssertionError: no answer waits, or one for another dialog.
        """
        shown = Shown(kind, title, text)
        self.shown.append(shown)
        if not self._answers or self._answers[0][1] not in f"{title}\n{text}":
            self.unexpected.append(shown)
            raise AssertionError(f"unexpected dialog: {shown}; expected next: {self._answers[:1]}")
        return self._answers.pop(0)[0]


DIALOGS = Dialogs()


def intercept() -> None:
    """Let every modal dialog of Qt ask the test."""
    for name in ("exec", "exec_"):
        setattr(QtWidgets.QDialog, name, _execute)
        setattr(QtWidgets.QMessageBox, name, _execute)
        setattr(QtWidgets.QFileDialog, name, _execute)
    for name in MESSAGE_BOXES:
        setattr(QtWidgets.QMessageBox, name, staticmethod(_static(f"QMessageBox.{name}")))
    for name in FILE_DIALOGS:
        setattr(QtWidgets.QFileDialog, name, staticmethod(_static(f"QFileDialog.{name}")))
    QtWidgets.QInputDialog.getText = staticmethod(_static("QInputDialog.getText"))


def _execute(dialog: Any) -> int:
    texts = [getattr(dialog, name)() for name in ("text", "informativeText") if hasattr(dialog, name)]
    labels = [label.text() for label in dialog.findChildren(QtWidgets.QLabel)] if not texts else []
    answer = DIALOGS.ask(type(dialog).__name__, dialog.windowTitle(), "\n".join(filter(None, texts + labels)))
    if isinstance(answer, Callable):
        result = answer(dialog)
        answer = QtWidgets.QDialog.DialogCode.Accepted if result is None else result
    if isinstance(answer, str):
        dialog.selectFile(answer)
        answer = QtWidgets.QDialog.DialogCode.Accepted
    code = getattr(answer, "value", answer)
    dialog.done(int(code))
    return answer


def _static(kind: str) -> Callable[..., Any]:
    def ask(parent: Any = None, title: str = "", text: str = "", *rest: Any) -> Any:
        return DIALOGS.ask(kind, title, text)

    return ask
