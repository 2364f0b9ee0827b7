"""The server's source, its list of libraries and its models, as they came with the module; and their version."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from MahtAILib.local_server.errors import SourceMissingError

SHIPPED_MODELS = "shipped_models"
"""Folder in the server's package where it looks for models that came with it."""

SHARED = ("__init__.py", "errors.py", "cephalometry", "client", "sequences")
"""What the server uses of MahtAILib."""

BOOTSTRAP = "run_server.py"

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class ServerSource:
    """What a server is made from.

    Attributes:
        package: the folder ``mahtai``.
        requirements: the pinned list of libraries, for pip.
        models: a folder with one bundle a folder.
        library: the folder ``MahtAILib``, of which the server shares the wire format.
    """

    package: Path
    requirements: Path
    models: Path
    library: Path

    @cached_property
    def version(self) -> str:
        """Version and a digest of every file, so that any change makes another version; fit for a folder's name.

        Raises:
            OSError: a file cannot be read.
        """
        digest = hashlib.sha256()
        for name, path in sorted(self.files()):
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        found = _VERSION.search((self.package / "__init__.py").read_text("utf-8"))
        return f"{found.group(1) if found else '0'}-{digest.hexdigest()[:12]}"

    @cached_property
    def requirements_digest(self) -> str:
        """Tells lists of libraries apart; the same on all systems."""
        text = self.requirements.read_text("utf-8")  # line ends differ between systems, the list does not
        return hashlib.sha256(text.encode()).hexdigest()

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file, with its place in the folder that a server runs from."""
        for path in _files_below(self.package):
            inner = path.relative_to(self.package)
            if inner.parts[0] != SHIPPED_MODELS:
                yield f"mahtai/{inner.as_posix()}", path
        for path in _files_below(self.models):
            yield f"mahtai/{SHIPPED_MODELS}/{path.relative_to(self.models).as_posix()}", path
        for name in SHARED:
            for path in _files_below(self.library / name):
                yield f"MahtAILib/{path.relative_to(self.library).as_posix()}", path
        yield BOOTSTRAP, self.library / "local_server" / BOOTSTRAP
        yield self.requirements.name, self.requirements

    def copy_to(self, folder: Path) -> None:
        """Write all files below ``folder``.

        Raises:
            OSError: disk full, no permission.
        """
        for name, path in self.files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def find_source(module_folder: Path | None = None) -> ServerSource:
    """The source beside an installed module, or in the checkout that the module is a part of.

    Args:
        module_folder: holds ``MahtAI.py`` and ``MahtAILib``; by default the one of this file.

    Raises:
        SourceMissingError: it is in neither place.
    """
    module = module_folder or Path(__file__).resolve().parents[2]
    installed, checkout = module / "MahtAIServer", module.parent / "server"
    if (installed / "mahtai").is_dir():
        package = installed / "mahtai"
        source = ServerSource(package, installed / "requirements.txt", package / SHIPPED_MODELS, module / "MahtAILib")
    else:
        models = checkout.parent / "models"
        source = ServerSource(checkout / "mahtai", checkout / "requirements.txt", models, module / "MahtAILib")
    missing = [path for path in (source.package / "app.py", source.requirements, source.models) if not path.exists()]
    if missing:
        raise SourceMissingError(
            f"This copy of the MahtAI extension lacks the server ({missing[0]} is missing).",
            "Install the extension again, or connect to a server on another computer.",
        )
    return source


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for inner in path.rglob("*"):
        if inner.is_file() and "__pycache__" not in inner.parts and inner.suffix not in (".pyc", ".partial"):
            yield inner
