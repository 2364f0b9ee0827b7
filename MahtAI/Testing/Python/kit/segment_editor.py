"""Stand-in for ``qMRMLSegmentEditorWidget`` on Slicer's real ``vtkSlicerSegmentEditorLogic``.

It does what the real widget does beside its effects: a segmentation that becomes current brings its reference volume
as source and its first segment as selection, a source volume is shown in all slice views (unless
``autoShowSourceVolumeNode`` is off), ``setUndoEnabled(True)`` forgets what could be undone.
"""

# ruff: noqa: N801, N802, N815 (Slicer's names)

from __future__ import annotations

from functools import partialmethod
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import Observed, qMRMLWidget
from .stored import stored

# of a stock Slicer; the effects themselves are Qt code that this kit has not
EFFECT_NAMES = ("Paint", "Draw", "Erase", "Threshold", "Margin", "Smoothing", "Scissors", "Islands")
SHORTCUTS = "1 2 3 4 5 6 7 8 9 0 Escape Space Z Ctrl+Z Y Ctrl+Y Q W / * , . > < I".split()  # noqa: SIM905
# properties that have a slot besides: setReadOnly(bool) ...
SHOWN = (
    "segmentationNodeSelectorVisible",
    "sourceVolumeNodeSelectorVisible",
    "switchToSegmentationsButtonVisible",
    "addRemoveSegmentButtonsVisible",
    "specifyGeometryButtonVisible",
    "show3DButtonVisible",
    "maskingSectionVisible",
    "autoShowSourceVolumeNode",
    "readOnly",
    "jumpToSelectedSegmentEnabled",
)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Selects, undoes and redoes for real; ``logic`` is for tests that paint (``kit.brush``)."""

    segmentationNodeChanged = QtCore.Signal(object)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    currentSegmentIDChanged = QtCore.Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.views_observed = False
        self.shortcuts: list[QtGui.QShortcut] = []
        self._seen: tuple[Any, Any, str] = (None, None, "")
        self._on_scene, self._on_node, self._on_segments = (Observed(self, self.updateWidgetFromMRML) for _ in "abc")
        self._on_history = Observed(self, self._show_undo)
        self._on_history.watch(self.logic, self.logic.SegmentationHistoryChangedEvent)
        self._effects, self._segments = QtWidgets.QHBoxLayout(), QtWidgets.QListWidget(self)
        self._segments.currentItemChanged.connect(self._segment_chosen)
        self._buttons = {"Undo": self.undo, "Redo": self.redo}
        for name, act in self._buttons.items():
            self._buttons[name] = button = QtWidgets.QToolButton(self)
            button.setText(name)
            button.clicked.connect(act)
            self._effects.addWidget(button)
        self._effects.addStretch()
        column = QtWidgets.QVBoxLayout(self)
        column.addWidget(self._segments)
        column.addLayout(self._effects)

    def setMRMLScene(self, scene: Any) -> None:
        self.logic.SetMRMLScene(scene)
        self._on_scene.stop()
        if scene is not None:
            self._on_scene.watch(scene, slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.EndBatchProcessEvent)
        super().setMRMLScene(scene)
        self.updateWidgetFromMRML()

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._on_node.stop()
        self.logic.SetSegmentEditorNode(node)
        if node is not None:
            self._on_node.watch(node, "ModifiedEvent")
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self.logic.GetSegmentEditorNode()

    def setSegmentationNode(self, node: Any) -> None:
        self._need(node is None or self.mrmlSegmentEditorNode(), "setMRMLSegmentEditorNode comes first")
        if node is not self.segmentationNode():
            self.logic.SetSegmentationNode(node)
            self.setActiveEffectByName("")

    def segmentationNode(self) -> Any:
        return self.logic.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._need(node is None or self.segmentationNode(), "setSegmentationNode comes first")
        self.logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        return self.logic.GetSourceVolumeNode()

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self.logic.SetCurrentSegmentID(segment_id)

    def currentSegmentID(self) -> str:
        return self.logic.GetCurrentSegmentID()

    def availableEffectNames(self) -> tuple[str, ...]:
        return EFFECT_NAMES

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._order = list(names)

    def effectNameOrder(self) -> list[str]:
        return self._order

    def setActiveEffectByName(self, name: str) -> None:
        self._need(not name or name in EFFECT_NAMES, f"there is no effect {name}")
        if self.mrmlSegmentEditorNode() is not None:
            self.mrmlSegmentEditorNode().SetActiveEffectName(name)

    def _need(self, condition: Any, reason: str) -> None:
        if not condition:
            raise AssertionError(f"Slicer's segment editor only logs this and does nothing: {reason}")

    def saveStateForUndo(self) -> None:
        self.logic.SaveStateForUndo()

    def undo(self) -> None:
        self.logic.Undo()

    def redo(self) -> None:
        self.logic.Redo()

    def setUndoEnabled(self, enabled: bool) -> None:
        if enabled:
            self.logic.ClearUndoState()
        for button in self._buttons.values():
            button.setVisible(enabled)

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self.logic.SetMaximumNumberOfUndoStates(count)

    def updateWidgetFromMRML(self) -> None:
        scene = self.mrmlScene()
        if scene is None or scene.IsClosing() or scene.IsBatchProcessing() or self.mrmlSegmentEditorNode() is None:
            return
        modifying = self.mrmlSegmentEditorNode().StartModify()
        if self.segmentationNode() is not self._seen[0]:
            self._segmentation_changed(self.segmentationNode())
        if self.sourceVolumeNode() is not self._seen[1]:
            self._source_changed(self.sourceVolumeNode())
        if self.currentSegmentID() != self._seen[2]:
            self._seen = (*self._seen[:2], self.currentSegmentID())
            self.currentSegmentIDChanged.emit(self.currentSegmentID())
        self._show_segments()
        self._show_undo()
        self.mrmlSegmentEditorNode().EndModify(modifying)

    def _segmentation_changed(self, node: Any) -> None:
        self._seen = (node, *self._seen[1:])
        self._on_segments.stop()
        if node is not None:
            events = ("SegmentAdded", "SegmentRemoved", "SegmentModified")
            self._on_segments.watch(node, *(getattr(slicer.vtkSegmentation, event) for event in events))
            self.logic.SetSourceVolumeNode(node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()))
            self.logic.SelectFirstSegment(False)
        self.segmentationNodeChanged.emit(node)

    def _source_changed(self, node: Any) -> None:
        self._seen = (self._seen[0], node, self._seen[2])
        if node is not None and self.autoShowSourceVolumeNode:
            for name in slicer.app.layoutManager().sliceViewNames():
                views = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
                if node.GetID() not in (views.GetBackgroundVolumeID(), views.GetForegroundVolumeID()):
                    views.SetBackgroundVolumeID(node.GetID())
        self.sourceVolumeNodeChanged.emit(node)

    def _show_segments(self) -> None:
        node = self.segmentationNode()
        blocked = self._segments.blockSignals(True)
        self._segments.clear()
        for segment_id in node.GetSegmentation().GetSegmentIDs() if node else ():
            segment = node.GetSegmentation().GetSegment(segment_id)
            colour = QtGui.QPixmap(16, 16)
            colour.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            item = QtWidgets.QListWidgetItem(QtGui.QIcon(colour), segment.GetName(), self._segments)
            item.setData(QtCore.Qt.ItemDataRole.UserRole, segment_id)
            if segment_id == self.currentSegmentID():
                self._segments.setCurrentItem(item)
        self._segments.blockSignals(blocked)

    def _show_undo(self) -> None:
        self._buttons["Undo"].setEnabled(not self.readOnly and bool(self.logic.CanUndo()))
        self._buttons["Redo"].setEnabled(not self.readOnly and bool(self.logic.CanRedo()))

    def _segment_chosen(self, item: Any) -> None:
        if item is not None:
            self.setCurrentSegmentID(item.data(QtCore.Qt.ItemDataRole.UserRole))

    def setupViewObservations(self) -> None:
        self.views_observed = True

    def removeViewObservations(self) -> None:
        self.views_observed = False

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        """Real shortcuts with Slicer's keys, so that a panel's own keys collide here too."""
        self.uninstallKeyboardShortcuts()
        parent = parent or slicer.util.mainWindow()
        self.shortcuts = [QtGui.QShortcut(QtGui.QKeySequence(key), parent) for key in SHORTCUTS]

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self.shortcuts:
            shortcut.deleteLater()
        self.shortcuts = []

    def _assign(self, name: str, value: Any) -> None:
        self.setProperty(name, value)

    undoEnabled = QtCore.Property(bool, lambda self: self._buttons["Undo"].isVisible(), setUndoEnabled)
    maximumNumberOfUndoStates = QtCore.Property(
        int, lambda self: self.logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )
    unorderedEffectsVisible = stored(bool, True)
    defaultTerminologyEntry = stored(str, "")
    effectColumnCount = stored(int, 2)
    for _name in SHOWN:
        locals()[_name] = stored(bool, _name not in ("readOnly", "jumpToSelectedSegmentEnabled"))
        locals()[f"set{_name[0].upper()}{_name[1:]}"] = partialmethod(_assign, _name)
