"""Stand-ins for CTK's widgets: their properties and signals, plain looks."""

# ruff: noqa: N801, N802, N815 (Slicer's names)

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .stored import stored

TITLE_HEIGHT = 26


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled area that folds away."""

    contentsCollapsed = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        title = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self._title = QtWidgets.QToolButton(self)
        self._title.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setText(title)
        self._title.clicked.connect(self.click)
        self.setContentsMargins(0, TITLE_HEIGHT, 0, 0)
        self._show_state()

    def _get_text(self) -> str:
        return self._title.text()

    def _set_text(self, text: str) -> None:
        self._title.setText(text)

    def _show_state(self) -> None:
        arrows = QtCore.Qt.ArrowType
        self._title.setArrowType(arrows.RightArrow if self.collapsed else arrows.DownArrow)
        self.setMaximumHeight(TITLE_HEIGHT if self.collapsed else 16777215)

    def _collapsed_changed(self) -> None:
        self._show_state()
        self.contentsCollapsed.emit(self.collapsed)
        self.toggled.emit(not self.collapsed)

    collapsed = stored(bool, False, _collapsed_changed)
    text = QtCore.Property(str, _get_text, _set_text)
    checked = QtCore.Property(bool, lambda self: not self.collapsed, lambda self, on: self.collapse(not on))
    flat = stored(bool, False)
    contentsLineWidth = stored(int, 1)

    def click(self) -> None:
        self.collapse(not self.collapsed)
        self.clicked.emit(not self.collapsed)

    def collapse(self, collapsed: bool) -> None:
        self.setProperty("collapsed", collapsed)

    def resizeEvent(self, event: Any) -> None:
        self._title.setGeometry(0, 0, self.width(), TITLE_HEIGHT - 2)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds away."""

    def _show_state(self) -> None:
        self.setMaximumHeight(TITLE_HEIGHT if self.collapsed else 16777215)

    collapsed = stored(bool, False, _show_state)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for no choice."""

    defaultText = stored(str, "")


class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu."""


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line to search in."""

    showSearchIcon = stored(bool, False)


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text as high as its content."""

    collapsed = stored(bool, False)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with "do not show again"."""

    dontShowAgainVisible = stored(bool, False)
    dontShowAgain = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")


class _NumberWidget(QtWidgets.QWidget):
    """A spin box inside another widget."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QtWidgets.QWidget)])
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.valueChanged.connect(self._changed)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._spin)

    def _changed(self, value: float) -> None:
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)

    value = QtCore.Property(float, lambda self: self._spin.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._spin.minimum(), lambda self, v: self._spin.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._spin.maximum(), lambda self, v: self._spin.setMaximum(v))
    singleStep = QtCore.Property(
        float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v)
    )
    decimals = QtCore.Property(int, lambda self: self._spin.decimals(), setDecimals)
    prefix = QtCore.Property(str, lambda self: self._spin.prefix(), lambda self, v: self._spin.setPrefix(v))
    suffix = QtCore.Property(str, lambda self: self._spin.suffix(), lambda self, v: self._spin.setSuffix(v))


class ctkDoubleSpinBox(_NumberWidget):
    """A number."""


class ctkSliderWidget(_NumberWidget):
    """A slider and a number."""

    valueIsChanging = QtCore.Signal(float)
    tracking = stored(bool, True)
    pageStep = stored(float, 10.0)
    spinBoxVisible = stored(bool, True, lambda self: self._spin.setVisible(self.spinBoxVisible))

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spin.setMaximum(100)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._slid)
        self.layout().insertWidget(0, self._slider)

    def _slid(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + (high - low) * position / 1000)

    def _changed(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((value - low) / ((high - low) or 1) * 1000))
        self._slider.blockSignals(blocked)
        super()._changed(value)


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with history."""

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QtWidgets.QWidget)])
        self._line = QtWidgets.QComboBox(self)
        self._line.setEditable(True)
        self._line.currentTextChanged.connect(self.currentPathChanged)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)

    def setCurrentPath(self, path: str) -> None:
        self._line.setCurrentText(path)

    def addCurrentPathToHistory(self) -> None:
        if self._line.findText(self._line.currentText()) < 0:
            self._line.addItem(self._line.currentText())

    currentPath = QtCore.Property(str, lambda self: self._line.currentText(), setCurrentPath)
    nameFilters = stored("QStringList", [])
    settingKey = stored(str, "")
