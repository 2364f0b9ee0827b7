"""PySide6's classes, changed in place so that they behave as PythonQt's do (``facts/slicer.md``).

Who asks decides: PySide6 and this kit see PySide6's own manners, all other code sees PythonQt's, and code of the
extension is held to ``slicer_widgets.json`` besides. Two things are stricter than PythonQt on purpose: connecting to
an unknown signal raises (PythonQt returns False, and a button is silently dead), and so does a callable that a
signal could never call.
"""

# ruff: noqa: N807 (Slicer's names)

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import PySide6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from .signals import Signal, connect, disconnect
from .slicer_facts import FACTS, KIT, is_product_code

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
# the static method of the same name hides the property in PythonQt
HIDDEN_PROPERTIES = {("QTimer", "singleShot")}
_RAW_FOLDERS = (KIT, Path(PySide6.__file__).parent)
_raw_files: dict[str, bool] = {}
_properties: dict[tuple[type, str], QtCore.QMetaProperty | None] = {}


def patch_all() -> None:
    """Change every QObject class of PySide6 in place; once a process."""
    get_raw = {cls: cls.__dict__.get("__getattribute__") for cls in _qobject_classes()}
    for cls, raw in get_raw.items():
        cls.__init__ = _without_keywords(cls)
        cls.__setattr__ = _set
        if raw is not None or cls is QtCore.QObject:
            cls.__getattribute__ = _getter(raw or cls.__getattribute__)


def _qobject_classes() -> list[type]:
    named = (getattr(module, name) for module in MODULES for name in dir(module) if name.startswith("Q"))
    classes = {cls for cls in named if isinstance(cls, type) and issubclass(cls, QtCore.QObject)}
    return sorted(classes, key=lambda cls: len(cls.__mro__))


def _without_keywords(cls: type) -> Callable[..., None]:
    construct = cls.__init__

    def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:
        if keywords:
            raise ValueError(f"{cls.__name__}() takes no keyword arguments in PythonQt: {sorted(keywords)}")
        construct(self, *arguments)

    return __init__


def qt_class(cls: type) -> type:
    """The class that Slicer knows: the first of the MRO that is PySide6's or this kit's."""
    return next(c for c in cls.__mro__ if c.__module__.startswith(("PySide6.", "kit.")))


def _is_raw(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    if name not in _raw_files:
        _raw_files[name] = any(folder in Path(name).parents for folder in _RAW_FOLDERS)
    return _raw_files[name]


def _getter(raw: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def __getattribute__(self: Any, name: str) -> Any:
        frame = sys._getframe(1)
        names = frame.f_code.co_names
        # C++ looks for Python overrides of virtual methods here too, while the frame on top is anybody's
        if name.startswith("__") or _is_raw(frame) or not (name in names or "getattr" in names):
            return raw(self, name)
        return _get(self, name, is_product_code(frame))

    return __getattribute__


def _get(widget: Any, name: str, is_product: bool) -> Any:
    if _is_own(widget, name):
        return getattr(widget, name)
    name = "objectName" if name == "name" else name
    if is_product:
        touch(widget, name)
    if _property(widget, name) is not None:
        return _read_property(widget, name)
    if name == "className":
        return lambda: widget.metaObject().className()
    if name in ("connect", "disconnect"):
        return partial(connect if name == "connect" else disconnect, widget, is_product)
    value = getattr(widget, name)
    if isinstance(value, QtCore.SignalInstance):
        return Signal(widget, name)
    return value


def _set(widget: Any, name: str, value: Any) -> None:
    frame = sys._getframe(1)
    if name.startswith("__") or _is_raw(frame):
        _store(widget, name, value)
        return
    name = "objectName" if name == "name" else name
    cls = qt_class(type(widget))
    meta_property = _property(widget, name)
    if meta_property is None and not hasattr(cls, name) and cls is not type(widget):
        _store(widget, name, value)
        return
    if is_product_code(frame):
        touch(widget, name)
    if meta_property is not None and meta_property.isWritable():
        _write_property(widget, name, value, meta_property.typeName())
    elif meta_property is not None:
        raise AttributeError(f"property '{name}' of {cls.__name__} is not writable")
    elif hasattr(cls, name):
        raise AttributeError(f"'{name}' of {cls.__name__} is a slot, signal or enum and cannot be overwritten")
    else:
        raise AttributeError(f"'{name}' does not exist on {cls.__name__}, and a C++ object takes no new attributes")


def touch(widget: Any, name: str) -> None:
    """Hold product code to the list, and to the main thread; ``name`` is a member or a signature."""
    if threading.current_thread() is not threading.main_thread():
        raise AssertionError(f"{type(widget).__name__}.{name} was touched in {threading.current_thread().name}")
    FACTS.touch(qt_class(type(widget)).__name__, name, isinstance(widget, QtWidgets.QWidget))


def _is_own(widget: Any, name: str) -> bool:
    """Whether a Python subclass or its instance made this attribute itself."""
    cls = qt_class(type(widget))
    if name in widget.__dict__ and cls is not type(widget):
        return True
    return any(name in c.__dict__ for c in type(widget).__mro__[: type(widget).__mro__.index(cls)])


def _store(widget: Any, name: str, value: Any) -> None:
    """What ``object.__setattr__`` would do, which Shiboken's classes do not let anybody call."""
    attribute = next((c.__dict__[name] for c in type(widget).__mro__ if name in c.__dict__), None)
    if isinstance(attribute, QtCore.Property):
        widget.setProperty(name, value)
    elif hasattr(attribute, "__set__"):
        attribute.__set__(widget, value)
    else:
        widget.__dict__[name] = value


def _property(widget: Any, name: str) -> QtCore.QMetaProperty | None:
    key = (type(widget), name)
    if key not in _properties:
        meta = widget.metaObject()
        index = meta.indexOfProperty(name)
        hidden = any((c.__name__, name) in HIDDEN_PROPERTIES for c in type(widget).__mro__)
        _properties[key] = None if index < 0 or hidden else meta.property(index)
    return _properties[key]


def _read_property(widget: Any, name: str) -> Any:
    attribute = getattr(type(widget), name, None)
    if isinstance(attribute, QtCore.Property):
        return getattr(widget, name)
    capital = name[0].upper() + name[1:]
    getter = next((g for g in (name, f"is{capital}", f"has{capital}") if callable(getattr(widget, g, None))), None)
    value = getattr(widget, getter)() if getter else widget.property(name)
    return f"<p>{value}</p>" if name == "toolTip" and value else value


def _write_property(widget: Any, name: str, value: Any, type_name: str) -> None:
    if type_name == "QString" and not isinstance(value, str):
        value = str(value)
    setter = getattr(widget, f"set{name[0].upper()}{name[1:]}", None)
    if setter is not None and not isinstance(getattr(type(widget), name, None), QtCore.Property):
        setter(value)
    elif not widget.setProperty(name, value):
        raise AttributeError(f"property '{name}' of type '{type_name}' does not accept {value!r}")
