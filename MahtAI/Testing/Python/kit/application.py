"""Stand-ins for ``slicer.app`` and ``slicer.modules``; they need Qt only for what is Qt's."""

# ruff: noqa: N802, N815 (Slicer's names)

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .io_manager import CoreIOManager

OF_QT = ("processEvents", "topLevelWidgets", "palette", "font", "setOverrideCursor", "restoreOverrideCursor")


class PlainSignals:
    """``connect('startupCompleted()', f)`` without Qt; an unknown signal raises."""

    SIGNALS: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._connected: dict[str, list[Callable[..., Any]]] = {name: [] for name in self.SIGNALS}

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Raises AttributeError where PythonQt returns False."""
        self._functions(signature).append(function)
        return True

    def disconnect(self, signature: str, function: Callable[..., Any]) -> bool:
        """False if the function was not connected."""
        functions = self._functions(signature)
        if function not in functions:
            return False
        functions.remove(function)
        return True

    def emit(self, signature: str, *arguments: Any) -> None:
        """For tests: what Slicer does."""
        for function in list(self._functions(signature)):
            function(*arguments)

    def _functions(self, signature: str) -> list[Callable[..., Any]]:
        if signature not in self._connected:
            raise AttributeError(f"{type(self).__name__} has no signal {signature} (PythonQt would return False)")
        return self._connected[signature]


class ModuleManager(PlainSignals):
    """``slicer.app.moduleManager()``."""

    SIGNALS = ("moduleLoaded(QString)", "moduleAboutToBeUnloaded(QString)")

    def __init__(self, modules: SimpleNamespace) -> None:
        super().__init__()
        self._modules = modules

    def module(self, name: str) -> Any:
        """None if there is none."""
        return getattr(self._modules, name.lower(), None)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(vars(self._modules))

    def factoryManager(self) -> SimpleNamespace:
        return SimpleNamespace(loadedModuleNames=self.modulesNames)


class Application(PlainSignals):
    """``slicer.app``; its folders lie below ``folder``."""

    SIGNALS = ("startupCompleted()", "aboutToQuit()", "mrmlSceneChanged(vtkMRMLScene*)")
    applicationName = "Slicer"
    applicationVersion = "5.12.0-2026-01-01"
    majorVersion, minorVersion, revision = 5, 12, "34000"

    def __init__(self, scene: Any, logic: Any, layout_manager: Any, modules: SimpleNamespace, folder: Path) -> None:
        super().__init__()
        self._scene, self._logic, self._layout_manager = scene, logic, layout_manager
        self._modules, self._io = ModuleManager(modules), CoreIOManager(scene, logic)
        self.slicerHome = str(folder / "Slicer")
        self.temporaryPath = str(folder / "temporary")
        self.cachePath = str(folder / "cache")
        self.extensionsInstallPath = str(folder / "extensions")
        self.slicerUserSettingsFilePath = str(folder / "settings" / "NA-MIC" / "Slicer.ini")
        for path in (self.slicerHome, self.temporaryPath, self.cachePath, str(folder / "settings" / "NA-MIC")):
            os.makedirs(path, exist_ok=True)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> Any:
        return self._layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    ioManager = coreIOManager

    def testingEnabled(self) -> bool:
        """False, so that message boxes come up and the test has to answer them."""
        return False

    def translate(self, context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    # Qt's

    def settings(self) -> Any:
        from PySide6 import QtCore

        return QtCore.QSettings()

    userSettings = settings

    def startupEnvironment(self) -> Any:
        from PySide6 import QtCore

        return QtCore.QProcessEnvironment.systemEnvironment()

    def __getattr__(self, name: str) -> Any:
        if name in (
            "processEvents",
            "topLevelWidgets",
            "palette",
            "setOverrideCursor",
            "restoreOverrideCursor",
            "font",
        ):
            if "PySide6.QtWidgets" in sys.modules:
                return getattr(sys.modules["PySide6.QtWidgets"].QApplication, name)
            if name == "processEvents":
                return lambda *flags: None
        raise AttributeError(f"this kit's slicer.app has no {name}")
