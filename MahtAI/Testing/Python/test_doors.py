"""Doors that stay shut: which part of the extension may import what, and that the start of Slicer stays quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2]
LIBRARY = MODULE / "MahtAILib"
HEAVY = {"numpy", "vtk", "requests", "SimpleITK", "pydicom", "scipy", "MahtAILib"}
FORBIDDEN = {
    "client": {"slicer", "qt", "ctk", "vtk", "torch", "MahtAILib.scene", "MahtAILib.panel"},
    "cephalometry": {"slicer", "qt", "ctk", "vtk", "torch", "requests", "MahtAILib.scene", "MahtAILib.panel"},
    "sequences": {"slicer", "qt", "ctk", "vtk", "torch", "requests", "MahtAILib.scene", "MahtAILib.panel"},
    "local_server": {"slicer", "qt", "ctk", "vtk", "numpy", "torch", "MahtAILib.scene", "MahtAILib.panel"},
    "scene": {"qt", "ctk", "requests", "urllib", "http", "torch", "MahtAILib.panel", "MahtAILib.local_server"},
    "panel": {"requests", "urllib", "http", "vtk", "torch", "mahtai"},
}


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files(folder: str) -> list[Path]:
    return sorted((LIBRARY / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_door_is_open(folder: str) -> None:
    assert files(folder)
    for path in files(folder):
        for name in imports(path):
            parts = name.split(".")
            prefixes = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            assert not prefixes & FORBIDDEN[folder], f"{path.name} imports {name}"


def test_the_panel_touches_no_mrml_of_its_own() -> None:
    for path in files("panel"):
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not {name for name in names if name.startswith("vtkMRML") or name == "mrmlScene"}, path.name


def test_nothing_heavy_is_imported_when_slicer_starts() -> None:
    tree = ast.parse((MODULE / "MahtAI.py").read_text("utf-8"))
    at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in at_start if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in at_start if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_every_file_of_the_module_compiles_for_the_oldest_python() -> None:
    for path in MODULE.rglob("*.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 10))


def test_the_client_works_where_neither_slicer_nor_vtk_is_installed() -> None:
    blocked = "import sys\nfor name in ('slicer', 'vtk', 'qt', 'ctk', 'torch'):\n    sys.modules[name] = None\n"
    parts = "MahtAILib.client, MahtAILib.local_server, MahtAILib.sequences.assignment"
    code = f"{blocked}sys.path.insert(0, {str(MODULE)!r})\nimport {parts}\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
