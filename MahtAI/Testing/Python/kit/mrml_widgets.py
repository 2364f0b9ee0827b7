"""Stand-ins for Slicer's widgets that show what is in the (real) scene."""

# ruff: noqa: N801, N802, N815 (Slicer's names)

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .ctk_widgets import ctkSliderWidget
from .stored import stored

SCENE_EVENTS = ("EndBatchProcessEvent", "EndCloseEvent", "EndImportEvent")
NODE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent")


class Observed:
    """VTK observers that end when their widget does."""

    def __init__(self, widget: QtCore.QObject, react: Any) -> None:
        self._widget, self._react = widget, react
        self._tags: list[tuple[Any, int]] = []

    def watch(self, vtk_object: Any, *events: int | str) -> None:
        self._tags += [(vtk_object, vtk_object.AddObserver(event, self._call)) for event in events]

    def watch_nodes(self, scene: Any, react: Any) -> None:
        """React to each node that comes or goes."""

        def call(caller: Any, event: str, node: Any) -> None:
            if shiboken6.isValid(self._widget):
                react(node)

        call.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        for event in NODE_EVENTS:
            self._tags.append((scene, scene.AddObserver(getattr(slicer.vtkMRMLScene, event), call)))

    def stop(self) -> None:
        for vtk_object, tag in self._tags:
            vtk_object.RemoveObserver(tag)
        self._tags.clear()

    def _call(self, caller: Any, event: str) -> None:
        if shiboken6.isValid(self._widget):
            self._react()
        else:
            self.stop()


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.mrmlScene():
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    """The usual root of a .ui file."""


class qMRMLSliderWidget(ctkSliderWidget):
    """A slider with the units of the scene (here: none)."""

    quantity = stored(str, "")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A choice of nodes that follows the scene."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeActivated = QtCore.Signal(object)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene: Any = None
        self._current: str = ""
        self._attributes: list[tuple[str, str, str | None]] = []
        self._on_scene, self._on_nodes = Observed(self, self._update), Observed(self, self._show)
        self._box = QtWidgets.QComboBox(self)
        self._box.activated.connect(lambda row: self.setCurrentNodeID(self._box.itemData(row)))
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._on_scene.stop()
        self._scene = scene
        if scene is not None:
            self._on_scene.watch(scene, *(getattr(slicer.vtkMRMLScene, event) for event in SCENE_EVENTS))
            self._on_scene.watch_nodes(scene, self._node_came_or_went)
        self._update()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        self._choose(node_id if node_id in [node.GetID() for node in self._nodes()] else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes.append((node_type, name, value))
        self._update()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._update()

    def addNode(self, node_type: str = "") -> Any:
        node = self._scene.AddNewNodeByClass(node_type or self.nodeTypes[0], self.baseName)
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def _node_came_or_went(self, node: Any) -> None:
        """Others than those that are listed are none of its business, as in Slicer's model of the scene."""
        if any(node.IsA(node_type) for node_type in self.nodeTypes):
            self._update()

    def _update(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        nodes = self._nodes()
        self._on_nodes.stop()
        for node in nodes:
            self._on_nodes.watch(node, "ModifiedEvent")
        ids = [node.GetID() for node in nodes]
        first = "" if self.noneEnabled or not ids else ids[0]
        self._choose(self._current if self._current in ids else first)

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        types, with_children = self.nodeTypes, self.showChildNodeTypes
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        listed = [
            node
            for node in nodes
            if any(node.IsA(one) if with_children else node.GetClassName() == one for one in types)
        ]
        return [node for node in listed if self._wants(node)]

    def _wants(self, node: Any) -> bool:
        hidden = any(node.IsA(hidden_type) for hidden_type in self.hideChildNodeTypes)
        if hidden and node.GetClassName() not in self.nodeTypes:
            return False
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for node_type, name, value in self._attributes
            if node.IsA(node_type)
        )

    def _choose(self, node_id: str) -> None:
        changed, self._current = node_id != self._current, node_id
        self._show()
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _show(self) -> None:
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in self._nodes():
            self._box.addItem(node.GetName(), node.GetID())
        self._box.setCurrentIndex(self._box.findData(self._current))

    nodeTypes = stored("QStringList", [], _update)
    showChildNodeTypes = stored(bool, True, _update)
    hideChildNodeTypes = stored("QStringList", [], _update)
    showHidden = stored(bool, False, _update)
    noneEnabled = stored(bool, False, _update)
    noneDisplay = stored(str, "None", _update)
    addEnabled = stored(bool, True)
    removeEnabled = stored(bool, True)
    editEnabled = stored(bool, False)
    renameEnabled = stored(bool, False)
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    currentNodeID = QtCore.Property(str, lambda self: self._current, setCurrentNodeID)
