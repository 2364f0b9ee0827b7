"""``qt.QUiLoader`` of Slicer: knows the stand-ins, and makes the connections that Qt's own loader cannot."""

# ruff: noqa: N802 (Slicer's names)

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import signals
from .slicer_facts import FACTS
from .ui_file import UiFile, read_ui


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file and refuses what Slicer's loader would drop without a word."""

    def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The root widget.

        Raises:
            NotInFactsError: the file names a class, property, signal or slot that is not on the list.
        """
        ui = read_ui(file.fileName())
        for class_name in ui.classes.values():
            FACTS.use(class_name)
        for class_name, member in ui.touches():
            FACTS.touch(class_name, member)
        buffer = QtCore.QBuffer()
        buffer.setData(ui.xml.encode())
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        root = super().load(buffer, parent)
        self._connect(ui, root)
        return root

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        """A stand-in for each class that is not Qt's own."""
        from .qt_modules import widget_class

        if class_name.startswith("Q"):
            return super().createWidget(class_name, parent, name)
        widget = widget_class(class_name)(parent)
        widget.setObjectName(name)
        return widget

    def _connect(self, ui: UiFile, root: QtWidgets.QWidget) -> None:
        def named(name: str) -> QtCore.QObject:
            return root if root.objectName() == name else root.findChild(QtCore.QObject, name)

        for connection in ui.connections:
            signals.connect(
                named(connection.sender), False, connection.signal, named(connection.receiver), connection.slot
            )
