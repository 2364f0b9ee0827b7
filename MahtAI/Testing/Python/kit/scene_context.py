"""Slicer's context for one test: an empty real scene, the application logic and the module logics. No Qt.

    def test_something(slicer_context: SlicerContext) -> None:
        node = slicer_context.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")

``slicer.mrmlScene``, ``slicer.app`` and ``slicer.modules`` are there for the test, so that ``slicer.util`` works.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

from .application import Application
from .layout_manager import qSlicerLayoutManager

MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
}


@dataclass(frozen=True)
class SlicerContext:
    """What a running Slicer has."""

    scene: Any
    app: Application
    modules: SimpleNamespace

    def close_scene(self) -> None:
        """File > Close scene."""
        self.scene.Clear(False)


@contextmanager
def make_context(folder: Path) -> Iterator[SlicerContext]:
    """Everything anew, and gone afterwards; Slicer's settings and temporary files lie in ``folder``."""
    with _without_complaints():
        scene, logic = _application(folder)
        modules = SimpleNamespace()
        logics = [_module(name, class_name, logic, scene, modules) for name, class_name in MODULE_LOGICS.items()]
    slicer.mrmlScene, slicer.modules = scene, modules
    layout_manager = qSlicerLayoutManager(logic, scene)
    slicer.app = Application(scene, logic, layout_manager, modules, folder)
    try:
        yield SlicerContext(scene, slicer.app, modules)
    finally:
        scene.Clear(False)
        with _without_complaints():
            layout_manager._close()
            for ended in (*logics, logic):
                ended.SetMRMLScene(None)
        del slicer.mrmlScene, slicer.modules, slicer.app


def _application(folder: Path) -> tuple[Any, Any]:
    scene = slicer.vtkMRMLScene()
    scene.SetURL(str(folder / "scene.mrml"))
    data_io, cache = slicer.vtkDataIOManager(), slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(folder))
    data_io.SetCacheManager(cache)
    scene.SetDataIOManager(data_io)
    scene.SetCacheManager(cache)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetTemporaryPath(str(folder))
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene, logic


def _module(name: str, class_name: str, application_logic: Any, scene: Any, modules: SimpleNamespace) -> Any:
    logic = getattr(slicer, class_name)()
    logic.SetMRMLApplicationLogic(application_logic)
    logic.SetMRMLScene(scene)
    application_logic.SetModuleLogic(name, logic)
    setattr(modules, name.lower(), SimpleNamespace(name=name, logic=lambda: logic))
    return logic


@contextmanager
def _without_complaints() -> Iterator[None]:
    """The logics miss files that only the application has (colour tables, terminologies) and say so at length."""
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()
