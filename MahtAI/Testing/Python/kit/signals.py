"""Signals as PythonQt has them: ``b.connect('clicked()', f)`` and ``b.clicked.connect(f)``.

A connection holds its function (PySide6 alone would let a bound method die), and a function is called with as many
arguments as it takes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


class Signal:
    """What ``widget.clicked`` is."""

    def __init__(self, widget: Any, name: str) -> None:
        self._widget, self._name = widget, name

    def connect(self, function: Callable[..., Any]) -> bool:
        """Call the function whenever the signal is emitted."""
        return _attach(self._widget, self._name, None, function)

    def disconnect(self, function: Callable[..., Any]) -> bool:
        """False if the function was not connected."""
        return _detach(self._widget, self._name, function)

    def emit(self, *arguments: Any) -> None:
        """As if the widget had emitted it."""
        getattr(self._widget, self._name).emit(*arguments)

    __call__ = emit


def connect(widget: Any, is_product: bool, signature: str, *receiver: Any) -> bool:
    """``(signature, function)`` or ``(signature, receiver, slot signature)``.

    Raises:
        AttributeError: there is no such signal (PythonQt returns False here), or no such slot.
    """
    name, parameters = _parse(widget, signature, is_product)
    return _attach(widget, name, parameters, _slot(*receiver))


def disconnect(widget: Any, is_product: bool, signature: str, *receiver: Any) -> bool:
    """False if this function was not connected."""
    name, _ = _parse(widget, signature, is_product)
    return _detach(widget, name, _slot(*receiver))


def _parse(widget: Any, signature: str, is_product: bool) -> tuple[str, list[str]]:
    from .pythonqt import touch

    name, bracket, rest = signature.replace(" ", "").partition("(")
    known = getattr(widget, name, None)
    if not bracket or not rest.endswith(")") or not isinstance(known, QtCore.SignalInstance):
        raise AttributeError(f"{type(widget).__name__} has no signal {signature} (PythonQt would return False)")
    normalized = f"{name}({rest}"
    if is_product:
        touch(widget, normalized)
    made_in_python = any(name in c.__dict__ and c.__module__.startswith("kit.") for c in type(widget).__mro__)
    if not made_in_python and widget.metaObject().indexOfSignal(normalized) < 0:
        raise AttributeError(f"{type(widget).__name__} has no signal {signature} (PythonQt would return False)")
    return name, [parameter for parameter in rest[:-1].split(",") if parameter]


def _slot(*receiver: Any) -> Callable[..., Any]:
    if len(receiver) == 2:
        target, signature = receiver
        function = getattr(target, signature.partition("(")[0], None)
        if function is None:
            raise AttributeError(f"{type(target).__name__} has no slot {signature}")
        return function
    (function,) = receiver
    if not callable(function):
        raise TypeError(f"{function!r} cannot be called by a signal")
    return function


def _attach(widget: Any, name: str, parameters: list[str] | None, function: Callable[..., Any]) -> bool:
    takes = _positional(function)

    def deliver(*arguments: Any) -> None:
        if parameters is not None:
            arguments = arguments[: len(parameters)]
        if parameters == ["bool"]:
            arguments = (bool(arguments[0]),)
        if takes is None:
            _call_builtin(function, arguments)
        else:
            function(*arguments[:takes])

    # PySide6 hands over only as many arguments as it sees in the code of a function
    takers = (
        lambda: deliver(),
        lambda a: deliver(a),
        lambda a, b: deliver(a, b),
        lambda a, b, c: deliver(a, b, c),
        lambda a, b, c, d: deliver(a, b, c, d),
    )
    call = takers[_most_parameters(widget, name)]
    getattr(widget, name).connect(call)
    widget.__dict__.setdefault("_kit_connections", []).append((name, function, call))
    return True


def _most_parameters(widget: Any, name: str) -> int:
    meta = widget.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    return max(method.parameterCount() for method in methods if bytes(method.name()).decode() == name)


def _detach(widget: Any, name: str, function: Callable[..., Any]) -> bool:
    connections = widget.__dict__.get("_kit_connections", [])
    for connection in connections:
        if connection[:2] == (name, function):
            getattr(widget, name).disconnect(connection[2])
            connections.remove(connection)
            return True
    return False


def _positional(function: Callable[..., Any]) -> int | None:
    """How many arguments a function takes, asked once: a signal comes hundreds of times a second. None: unknown."""
    if inspect.isbuiltin(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sys.maxsize
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _call_builtin(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """A slot written in C++ does not say how many arguments it takes."""
    for count in range(len(arguments), -1, -1):
        try:
            function(*arguments[:count])
            return
        except TypeError:
            if count == 0:
                raise
