"""Stand-in for Slicer's layout manager on the real layout logic and slice logics; needs no Qt."""

# ruff: noqa: N801, N802 (Slicer's names)

from __future__ import annotations

from typing import Any

import slicer

from .slicer_facts import FactsChecked


class qMRMLSliceView(FactsChecked):
    """Nothing is drawn here: picture tests make their own renderers."""

    def __init__(self, slice_node: Any) -> None:
        self._node = slice_node

    def mrmlSliceNode(self) -> Any:
        return self._node

    def forceRender(self) -> None:
        pass

    def scheduleRender(self) -> None:
        pass


class qMRMLSliceControllerWidget(FactsChecked):
    """The bar above a slice view."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def setSliceVisible(self, visible: bool) -> None:
        self._logic.GetSliceNode().SetSliceVisible(visible)


class qMRMLSliceWidget(FactsChecked):
    """One slice view: real node, real composite node, real logic."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceController(self) -> qMRMLSliceControllerWidget:
        return qMRMLSliceControllerWidget(self._logic)

    def sliceView(self) -> qMRMLSliceView:
        return qMRMLSliceView(self._logic.GetSliceNode())

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


class qSlicerLayoutManager(FactsChecked):
    """Makes a slice view for each slice node in the scene, as Slicer does; a layout makes the nodes that it names."""

    def __init__(self, application_logic: Any, scene: Any) -> None:
        self._application_logic, self._scene = application_logic, scene
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(application_logic)
        self._layout_logic.SetMRMLScene(scene)
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._is_making = False
        self._tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._make_views)
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        self._make_views()

    def layoutLogic(self) -> Any:
        return self._layout_logic

    @property
    def layout(self) -> int:
        return self._layout_logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, layout: int) -> None:
        self.setLayout(layout)

    def setLayout(self, layout: int) -> None:
        self._layout_logic.GetLayoutNode().SetViewArrangement(layout)

    def sliceViewNames(self) -> tuple[str, ...]:
        """Of all slice views, shown or not."""
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        """The view, shown or not, if it was ever made."""
        return self._slices.get(name)

    def resetSliceViews(self) -> None:
        for name in self.sliceViewNames():
            self._slices[name].fitSliceToBackground()

    def _make_views(self, *_: Any) -> None:
        if self._is_making:  # a slice logic adds nodes of its own
            return
        self._is_making = True
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode", self._scene):
            if node.GetLayoutName() not in self._slices:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._application_logic)
                logic.SetMRMLScene(self._scene)
                logic.SetSliceNode(node)
                self._application_logic.GetSliceLogics().AddItem(logic)
                self._slices[node.GetLayoutName()] = qMRMLSliceWidget(logic)
        self._is_making = False

    def _close(self) -> None:
        self._scene.RemoveObserver(self._tag)
        for widget in self._slices.values():
            widget._logic.SetMRMLScene(None)
        self._layout_logic.SetMRMLScene(None)
