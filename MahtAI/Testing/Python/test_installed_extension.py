"""What CMake installs is exactly what the module needs, and the module runs from there: real CMake, Slicer's a stub."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server_kit import closed_port

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1]
REPOSITORY = MODULE.parent
MODULES_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"

NOT_INSTALLED = {
    "CMakeLists.txt": "for the build",
    "Testing": "for developers",
    "Resources/Screenshots": "for the README and the Extensions Index, which take them from the web",
    "Resources/Icons/MahtAI.svg": "what MahtAI.png was drawn from",
}

# Slicer itself looks for them by their names
FOUND_BY_SLICER = {"Resources/Icons/MahtAI.png"}

START_SERVER = """
import sys
from pathlib import Path
from MahtAILib.client.connection import Connection
from MahtAILib.local_server import Installation, LocalServer, find_source
import MahtAILib
modules, folder = Path(sys.argv[1]), Path(sys.argv[2])
assert Path(MahtAILib.__file__).is_relative_to(modules), MahtAILib.__file__
source = find_source()
assert source.package == modules / "MahtAIServer" / "mahtai", source
sys.path.append(sys.argv[3])
from local_server_kit import put_in_place
installation = Installation(folder, source)
put_in_place(installation)
server = LocalServer(installation)
state = server.start()
with Connection(state.url, state.token) as connection:
    print(*sorted(model["id"] for model in connection.json("GET", "/v1/models")["models"]))
server.stop()
"""

OPEN_PANEL = """
import sys
from pathlib import Path
modules, work, tests = map(Path, sys.argv[1:])
sys.path.append(str(tests))
from kit.scene_context import make_context
with make_context(work):
    from kit import install
    install()
    from kit.scripted_module import load_module, unload_module
    module = load_module(str(modules / "MahtAI.py"))
    module.widgetRepresentation().enter()
    import slicer, MahtAILib
    assert slicer.modules.MahtAIWidget.panel is not None
    assert Path(MahtAILib.__file__).is_relative_to(modules), MahtAILib.__file__
    unload_module(module)
    print("opened")
"""


def tool(name: str) -> str:
    """A program that pip has installed beside this Python, or the system's."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert found, f"{name} is missing; server/requirements-test.txt lists it"
    return found


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; what it says is the message where it fails."""
    ended = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, encoding="utf-8", timeout=300)
    assert ended.returncode == 0, f"{' '.join(map(str, command))}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build tree of the extension."""
    folder = tmp_path_factory.mktemp("build")
    run(
        tool("cmake"),
        *("-S", REPOSITORY, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"),
        f"-DSlicer_DIR={HERE / 'cmake_stub'}",
        f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'cmake_stub' / 'no_compiler.cmake'}",
    )
    return folder


@pytest.fixture(scope="module")
def modules(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Slicer finds the module of the installed extension."""
    prefix = tmp_path_factory.mktemp("installed")
    run(tool("cmake"), "--install", build, "--prefix", prefix)
    assert [path.name for path in prefix.iterdir()] == ["lib"]
    return prefix / MODULES_FOLDER


def files_below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix()


def module_files() -> list[str]:
    """All files of the module that belong into a Slicer."""
    return [name for name in files_below(MODULE) if not any(Path(name).is_relative_to(part) for part in NOT_INSTALLED)]


def block(variable: str, names: list[str]) -> str:
    """The list as MahtAI/CMakeLists.txt has it."""
    lines = "".join(f"  {name.replace('MahtAI.', '${MODULE_NAME}.')}\n" for name in names)
    return f"set({variable}\n{lines}  )\n"


def test_cmake_lists_every_file_of_the_module() -> None:
    names = module_files()
    scripts = block("MODULE_PYTHON_SCRIPTS", [name for name in names if name.endswith(".py")])
    resources = block("MODULE_PYTHON_RESOURCES", [name for name in names if not name.endswith(".py")])
    written = (MODULE / "CMakeLists.txt").read_text("utf-8")
    listed = set(re.findall(r"^  (\S+\.\w+)$", written.partition("slicerMacroBuildScriptedModule(")[0], re.MULTILINE))
    wanted = set(re.findall(r"^  (\S+\.\w+)$", scripts + resources, re.MULTILINE))
    assert scripts in written and resources in written, (
        f"missing in MahtAI/CMakeLists.txt: {sorted(wanted - listed)}\nnot there any more: {sorted(listed - wanted)}\n"
        f"put this in:\n\n{scripts}\n{resources}"
    )


def test_the_installed_files_are_exactly_those_of_the_module_and_the_server(modules: Path) -> None:
    server = REPOSITORY / "server"
    expected = {
        *module_files(),
        "MahtAIServer/requirements.txt",
        *(f"MahtAIServer/mahtai/{name}" for name in files_below(server / "mahtai")),
        *(f"MahtAIServer/mahtai/shipped_models/{name}" for name in files_below(REPOSITORY / "models")),
    }
    assert set(files_below(modules)) == expected
    assert not list(modules.rglob("__pycache__"))


def test_every_script_of_the_module_is_imported_by_another(modules: Path) -> None:
    """By the module, or by the script that runs the server on this computer."""
    waiting = [modules / "MahtAI.py", modules / "MahtAILib" / "local_server" / "run_server.py"]
    reached: set[Path] = set()
    while waiting:
        script = waiting.pop()
        if script not in reached:
            reached.add(script)
            waiting.extend(imported_by(script, modules))
    assert (
        sorted(
            path.relative_to(modules).as_posix()
            for path in (modules / "MahtAILib").rglob("*.py")
            if path not in reached
        )
        == []
    )


def test_no_script_imports_one_that_is_not_installed(modules: Path) -> None:
    missing = [
        f"{script.relative_to(modules).as_posix()} imports {name}"
        for script in [modules / "MahtAI.py", *(modules / "MahtAILib").rglob("*.py")]
        for name in imports(script)
        if name.startswith("MahtAILib") and not list(scripts_of(name, modules))
    ]
    assert missing == []


def imports(script: Path) -> Iterator[str]:
    """The modules that a script imports, at file scope or later."""
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imported_by(script: Path, root: Path) -> Iterator[Path]:
    """The scripts below ``root`` that another one imports; a name taken from a package may be one, too."""
    for name in imports(script):
        yield from scripts_of(name, root)
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from scripts_of(f"{node.module}.{alias.name}", root)


def scripts_of(name: str, root: Path) -> Iterator[Path]:
    """The script of a module and those of the packages round it; none if there is no such module."""
    parts = name.split(".")
    path = root.joinpath(*parts)
    if not (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
        return
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        yield from (found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file())


def test_every_resource_is_named_in_the_module(modules: Path) -> None:
    """So none is left over from an earlier version."""
    readable = [
        path
        for path in modules.rglob("*")
        if path.suffix in (".py", ".ui", ".json") and "MahtAIServer" not in path.parts
    ]
    texts = {path: path.read_text("utf-8") for path in readable}
    resources = [name for name in module_files() if not name.endswith(".py") and name not in FOUND_BY_SLICER]
    unnamed = [name for name in resources if not is_named(Path(name), modules, texts)]
    assert unnamed == []


def is_named(resource: Path, modules: Path, texts: dict[Path, str]) -> bool:
    """Whether a script or another resource has the file's name, or its stem where names are put together."""
    quoted = re.compile(rf'["/]{re.escape(resource.stem)}(\.\w+)?["<]')
    return any(quoted.search(text) for path, text in texts.items() if path != modules / resource)


def test_slicer_runs_the_self_test_of_the_module(build: Path) -> None:
    assert "py_MahtAI" in run(tool("ctest"), "-N", cwd=build)


def test_the_icon_has_the_size_that_the_extensions_index_asks_for() -> None:
    from PIL import Image

    with Image.open(MODULE / "Resources" / "Icons" / "MahtAI.png") as icon:
        assert icon.format == "PNG" and icon.size == (128, 128)


def test_pictures_in_the_description_are_files_of_the_repository() -> None:
    description = (REPOSITORY / "CMakeLists.txt").read_text("utf-8")
    pictures = re.findall(r"https://raw\.githubusercontent\.com/MahtAI/SlicerMahtAI/main/([^\s\"]+)", description)
    assert len(pictures) >= 2 and all((REPOSITORY / picture).is_file() for picture in pictures)


def test_the_server_starts_from_an_installed_extension_and_offers_its_models(modules: Path, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MAHTAI_", "PYTHON"))},
        "PYTHONPATH": str(modules),
        "MAHTAI_DATA_DIR": str(tmp_path / "data"),
        "MAHTAI_CONFIG_DIR": str(tmp_path / "config"),
        "MAHTAI_PORT": str(closed_port()),
        "MAHTAI_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", START_SERVER, str(modules), str(tmp_path / "server"), str(HERE)]
    ended = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == sorted(path.name for path in (REPOSITORY / "models").iterdir() if path.is_dir())


def test_the_panel_opens_from_an_installed_extension(modules: Path, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MAHTAI_", "PYTHON"))},
        "PYTHONPATH": str(modules),
        "QT_QPA_PLATFORM": "offscreen",
        "HOME": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", OPEN_PANEL, str(modules), str(tmp_path), str(HERE)]
    ended = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, cwd=tmp_path)
    assert ended.returncode == 0 and ended.stdout.split()[-1:] == ["opened"], ended.stdout + ended.stderr


def test_the_catalogue_entry_in_the_readme_is_one_that_the_extensions_index_takes() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    entries = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", readme, re.DOTALL) if "scm_url" in text]
    assert len(entries) == 1
    entry = entries[0]
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert entry["scm_url"].removesuffix(".git").rsplit("/", 1)[1] == "SlicerMahtAI"
    assert f'EXTENSION_CATEGORY "{entry["category"]}"' in (REPOSITORY / "CMakeLists.txt").read_text("utf-8")
