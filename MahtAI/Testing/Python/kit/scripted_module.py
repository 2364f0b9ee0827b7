"""Stand-ins for ``slicer.ScriptedLoadableModule``, ``slicer.i18n`` and ``SampleData``, and the start of a module."""

# ruff: noqa: N801, N802, N803 (Slicer's names)

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtWidgets

from .mrml_widgets import qMRMLWidget


class ModuleParent:
    """What Slicer hands to the module class; only its real properties may be set."""

    __slots__ = (
        *("title", "categories", "dependencies", "contributors", "helpText", "acknowledgementText", "icon", "path"),
        *("name", "index", "hidden", "associatedNodeTypes", "widgetVisible", "_representation"),
    )

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self._representation: Any = None

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The module's panel, made when it is first asked for."""
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget()
            self._representation._start(self.name)
        return self._representation


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The parent of the panel; enters, leaves and reloads it as Slicer does."""

    def _start(self, module_name: str) -> None:
        self._module_name = module_name
        if self.layout() is None:
            QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)
        self._python = getattr(sys.modules[module_name], f"{module_name}Widget")(self)
        setattr(slicer.modules, f"{module_name}Widget", self._python)
        self._python.setup()

    def self(self) -> Any:
        return self._python

    def reload(self) -> None:
        self._start(self._module_name)

    def enter(self) -> None:
        self._python.enter()

    def exit(self) -> None:
        self._python.exit()


class ScriptedLoadableModule:
    """The module as the application sees it."""

    def __init__(self, parent: ModuleParent) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText, parent.acknowledgementText = "", ""

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def enter(self) -> None:
        pass

    def exit(self) -> None:
        pass

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Has the parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's node in the scene; a new one if there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> Any:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A self-test."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        print(message)


class SampleDataLogic:
    """Keeps what modules register in ``slicer.modules.sampleDataSources``, as Slicer does."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        source = SimpleNamespace(**locals())
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)


def install() -> None:
    """Put the modules in place."""
    names = [name for name in globals() if name.startswith("ScriptedLoadableModule")]
    _module("slicer.ScriptedLoadableModule", __all__=names, **{name: globals()[name] for name in names})
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    _module("SampleData", SampleDataLogic=SampleDataLogic)


def _module(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    if name.startswith("slicer."):
        setattr(slicer, name.removeprefix("slicer."), module)


LOADED: list[ModuleParent] = []


def load_module(path: Path | str) -> ModuleParent:
    """Start a scripted module as Slicer does at its own start, up to ``startupCompleted``; ``qt_app`` unloads it."""
    path = Path(path).resolve()
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    parent = ModuleParent(path)
    getattr(module, path.stem)(parent)
    setattr(slicer.modules, path.stem.lower(), parent)
    LOADED.append(parent)
    slicer.app.emit("startupCompleted()")
    return parent


def unload_module(parent: ModuleParent) -> None:
    """What Slicer does with a module when it quits."""
    LOADED.remove(parent)
    slicer.app.emit("aboutToQuit()")
    slicer.app.moduleManager().emit("moduleAboutToBeUnloaded(QString)", parent.name)
    sys.modules.pop(parent.name, None)
