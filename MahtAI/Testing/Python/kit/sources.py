"""What product code names of Slicer's widgets, read from the source: also where no test goes. Needs no Qt."""

from __future__ import annotations

import ast
from pathlib import Path

from .slicer_facts import MODULE
from .ui_file import read_ui

UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
SOURCES = [path for path in [MODULE / "MahtAI.py", *sorted((MODULE / "MahtAILib").rglob("*.py"))] if path.exists()]
MODULES = ("qt", "ctk", "slicer")


def ui_classes() -> dict[str, str]:
    """Name → class of all widgets in the .ui files."""
    return {name: class_name for path in UI_FILES for name, class_name in read_ui(path).classes.items()}


def members_in(path: Path) -> list[tuple[str, str]]:
    """(class, member) of each ``qt.Class.member`` (also ``ctk.``, ``slicer.``) and ``ui.widget.member`` of a file."""
    classes, found = ui_classes(), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id=module), attr=name)) if module in MODULES:
                if name.startswith(("Q", "q", "ctk")):
                    found.append((name, node.attr))
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ui") | ast.Attribute(attr="ui"), attr=name)):
                if name in classes:
                    found.append((classes[name], node.attr))
    return found
