"""The modules ``qt`` and ``ctk`` as Slicer has them: all names flat, and nothing that PythonQt lacks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from PySide6 import QtWidgets

from . import ctk_widgets
from .pythonqt import MODULES
from .slicer_facts import FACTS, is_product_code
from .ui_loader import UiLoader


class QtModule(ModuleType):
    """``import qt``."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            return UiLoader
        for module in MODULES:
            # helpers of PySide6 (Signal, Slot, ...) have no Q in front and do not exist in Slicer
            if name.startswith("Q") and hasattr(module, name):
                return _checked(getattr(module, name), name, sys._getframe(1))
        raise AttributeError(f"Slicer's module qt has no {name} (or this kit does not know it)")


class CtkModule(ModuleType):
    """``import ctk``."""

    def __getattr__(self, name: str) -> Any:
        widget = getattr(ctk_widgets, name, None) if name.startswith("ctk") else None
        if widget is None:
            raise AttributeError(f"this kit has no stand-in for ctk.{name}; add it to kit/ctk_widgets.py")
        return _checked(widget, name, sys._getframe(1))


def _checked(cls: Any, name: str, frame: Any) -> Any:
    if is_product_code(frame):
        FACTS.use(name)
    return cls


def install() -> None:
    """Put ``qt`` and ``ctk`` in place."""
    sys.modules["qt"] = QtModule("qt")
    sys.modules["ctk"] = CtkModule("ctk")


def widget_class(name: str) -> type | None:
    """The class of a widget in a .ui file, or None."""
    import slicer

    if hasattr(QtWidgets, name):
        return getattr(QtWidgets, name)
    return getattr(ctk_widgets, name, None) or getattr(slicer, name, None)
