"""Properties that a stand-in only keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


def stored(kind: Any, default: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A Qt property with a value of its own for each widget; ``changed(widget)`` is called after an assignment."""
    key = object()

    def read(self: Any) -> Any:
        return self.__dict__.setdefault("_kit_values", {}).get(key, default)

    def write(self: Any, value: Any) -> None:
        before = read(self)
        self.__dict__["_kit_values"][key] = value
        if changed is not None and value != before:
            changed(self)

    return QtCore.Property(kind, read, write)
