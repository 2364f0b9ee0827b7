"""What the sections of the panel have in common: a .ui file, its widgets by name, and filling tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qt
import slicer

from MahtAILib.errors import ExplainedError

UI_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


class Section:
    """A part of the panel, read from ``Resources/UI/<name>.ui``.

    Attributes:
        widget: the section's widget.
        ui: its widgets by name.
    """

    def __init__(self, name: str) -> None:
        self.widget = slicer.util.loadUI(str(UI_FOLDER / f"{name}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)

    def set_scene(self, scene: Any) -> None:
        """Give the scene to the selectors."""
        self.widget.setMRMLScene(scene)


def say(label: Any, text: str, error: ExplainedError | None = None) -> None:
    """Show a sentence, or what went wrong and what to do; an empty label takes no room."""
    shown = f"⚠ {error.reason} {error.hint}".strip() if error is not None else text
    label.setText(shown)
    label.setVisible(bool(shown))


def fill_table(table: Any, rows: Sequence[Sequence[str]], with_numbers: bool = True) -> None:
    """Show rows that cannot be edited; a table without rows takes no room.

    Args:
        with_numbers: in all columns but the first.
    """
    table.setRowCount(len(rows))
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            if column and with_numbers:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(number, column, item)
    height = table.horizontalHeader().height + sum(table.rowHeight(row) for row in range(min(len(rows), 8))) + 4
    table.setFixedHeight(height)
    table.setVisible(bool(rows))


def prepare_table(table: Any, stretched: int = 0) -> None:
    """A table to read: whole rows, no numbers at the side, one column takes what room is left."""
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    for column in range(table.columnCount):
        wanted = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.ResizeToContents
        table.horizontalHeader().setSectionResizeMode(column, wanted)


def single_shot(milliseconds: int, slot: Callable[[], None]) -> Any:
    """A timer that calls ``slot`` once, this long after its last start."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer


@contextmanager
def quiet(widget: Any) -> Any:
    """Changes inside are ours and not the reader's: no signals."""
    was = widget.blockSignals(True)
    try:
        yield widget
    finally:
        widget.blockSignals(was)


def fill_choices(box: Any, choices: Sequence[tuple[str, str]], chosen: str) -> None:
    """Fill a combo box with (value, text) and choose a value, without signals."""
    with quiet(box):
        box.clear()
        for value, text in choices:
            box.addItem(text, value)
        box.setCurrentIndex(max(box.findData(chosen), 0) if choices else -1)
