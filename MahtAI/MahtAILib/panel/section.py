"""What the sections of the panel have in common: a .ui file, its widgets by name, and filling tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def show_layout(register: Callable[[Any], int]) -> Any:
    """Choose one of our view layouts.

    Args:
        register: makes it known to the layout node and returns its number.

    Returns:
        The layout manager; None in a Slicer without its main window, where nothing is shown.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return None
    node = manager.layoutLogic().GetLayoutNode()
    number = register(node)
    manager.setLayout(number)
    # a loaded scene may have asked for this layout before Slicer knew it, and Slicer thinks that it is shown
    node.SetViewArrangement(number)
    return manager


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
    fit_height(table, 8)


def fit_height(table: Any, most_rows: int) -> None:
    """Make a table as high as its rows, the rest is scrolled to; a table without rows takes no room."""
    count = table.rowCount
    height = table.horizontalHeader().height + sum(table.rowHeight(row) for row in range(min(count, most_rows))) + 4
    table.setFixedHeight(height)
    table.setVisible(count > 0)


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


def fix_columns(table: Any, samples: Mapping[int, str]) -> None:
    """Columns as wide as a sample text; the others share what room is left.

    Columns that follow their contents are measured anew whenever a cell changes: too slow while a mouse moves.
    """
    metrics = table.fontMetrics()
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        header.setSectionResizeMode(column, qt.QHeaderView.Fixed if column in samples else qt.QHeaderView.Stretch)
        if column in samples:
            header.resizeSection(column, metrics.horizontalAdvance(samples[column]) + 12)


def single_shot(milliseconds: int, slot: Callable[[], None]) -> Any:
    """A timer that calls ``slot`` once, this long after its last start."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer


class Keys:
    """Keys that work in Slicer's whole window while a section is in front.

    Args:
        slots: key such as ``Ctrl+Right`` → what it does.
    """

    def __init__(self, slots: Mapping[str, Callable[[], None]]) -> None:
        self._slots = slots
        self._shortcuts: list[Any] = []

    def take(self) -> None:
        """From now on."""
        window = slicer.util.mainWindow()
        if window is None or self._shortcuts:
            return
        for key, slot in self._slots.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", slot)
            self._shortcuts.append(shortcut)

    def give_back(self) -> None:
        """No more."""
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []


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
