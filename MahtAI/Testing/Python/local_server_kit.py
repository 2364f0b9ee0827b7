"""Small libraries as real wheels, an index that serves them over HTTP, and a small server that needs them."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from MahtAILib.local_server import Installation, ServerSource, layout

LIBRARY = Path(__file__).resolve().parents[2] / "MahtAILib"


def write_wheel(folder: Path, name: str, version: str = "1.0", size: int = 0) -> Path:
    """A library with one module, which knows its version; ``size`` bytes more."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}_data.bin": "x" * size,
    }
    record = "".join(f"{file},,\n" for file in contents) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**contents, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


@dataclass
class Index:
    """A package index on this computer that can be made to hang.

    Attributes:
        folder: the wheels that it offers.
        asked: the files that were asked for, in order.
        hang_at: file that is not answered as long as this is set.
        hanging: set when somebody waits for that file.
    """

    folder: Path
    asked: list[str] = field(default_factory=list)
    hang_at: str = ""
    hanging: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def page(self, project: str) -> bytes:
        """The links to a project's files (PEP 503)."""
        files = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name.startswith(f"{project}-")}
        links = [f'<a href="/files/{n}#sha256={hashlib.sha256(d).hexdigest()}">{n}</a>' for n, d in files.items()]
        return "<!DOCTYPE html><html><body>{}</body></html>".format("".join(links)).encode()


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    """The index, at an address of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "files":
                index.asked.append(name)
                if name == index.hang_at:
                    index.hanging.set()
                    closing.wait(60)
                    return
            body = index.page(name) if kind == "simple" else (index.folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if kind == "simple" else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    closing = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        closing.set()
        server.shutdown()
        server.server_close()


def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def use_index(environment: dict[str, str], url: str) -> dict[str, str]:
    """The environment in which pip asks ``url`` and nobody else."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "NO_PROXY": "127.0.0.1"}


SMALL_SERVER = """
import http.server, json, os, sys, time
from pathlib import Path
from mahtai.errors import MahtaiError
from MahtAILib.client.durable import try_lock

MORE = {{}}
{code}

def serve(settings, announce):
    config = Path(os.environ["MAHTAI_CONFIG_DIR"])
    config.mkdir(parents=True, exist_ok=True)
    with try_lock(config / "server.lock") as held:
        if not held:
            raise MahtaiError("Another MahtAI server is already using the folder.", "Use that.", "data-folder-in-use")
        (config / "token").write_text("t" * 40)
        {before}
        server = http.server.ThreadingHTTPServer((settings["host"], settings["port"]), Handler)
        announce("http://127.0.0.1:%d" % server.server_port)
        server.serve_forever()

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        told = {{"pid": os.getpid(), "path": sys.path, "python_path": os.environ.get("PYTHONPATH"), **MORE}}
        answers = {{"/healthz": {{"service": "mahtai", "version": "{version}", "api": {api}}}, "/v1/models": told}}
        body = json.dumps(answers[self.path]).encode()
        may_know = self.path == "/healthz" or self.headers["Authorization"] == "Bearer " + "t" * 40
        self.send_response(200 if may_know else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
"""
"""The part of the real server that a start can see, without any libraries."""

_SETTINGS = """
class Settings:
    @staticmethod
    def from_environment(**overrides):
        return overrides
"""

_ERRORS = """
class MahtaiError(Exception):
    title = "It did not work"

    def __init__(self, reason, hint, kind="small"):
        super().__init__(reason)
        self.reason, self.hint, self.kind = reason, hint, kind
"""


def small_source(
    folder: Path, requirements: Sequence[str] = (), version: str = "1.0", code: str = "", before: str = "", api: int = 1
) -> ServerSource:
    """A small server that needs the given libraries.

    Args:
        code: put into its module; ``MORE`` made there is told with the models.
        before: a statement that runs before it listens.
    """
    package = folder / "mahtai"
    package.mkdir(parents=True, exist_ok=True)
    (folder / "models" / "small").mkdir(parents=True, exist_ok=True)
    (folder / "models" / "small" / "card.md").write_text("a model\n")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
    (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (package / "errors.py").write_text(_ERRORS)
    (package / "settings.py").write_text(_SETTINGS)
    (package / "app.py").write_text(SMALL_SERVER.format(code=code, before=before or "pass", version=version, api=api))
    return ServerSource(package, folder / "requirements.txt", folder / "models", LIBRARY)


def put_in_place(installation: Installation, **modules: str) -> None:
    """What ``Installation.install`` comes to, with links to the libraries of this Python; ``modules`` are added."""
    wanted = installation._wanted
    installation.source.copy_to(wanted.app)
    wanted.packages.mkdir(parents=True)
    for library in libraries_of_tests().iterdir():
        (wanted.packages / library.name).symlink_to(library, library.is_dir())
    for name, text in modules.items():
        (wanted.packages / f"{name}.py").write_text(text)
    layout.write_mark(wanted.packages)
    layout.write_mark(wanted.app, packages=wanted.packages.name)


def wait_until(look: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


def libraries_of_tests() -> Path:
    """Where this Python has the real server's libraries."""
    import fastapi

    return Path(str(fastapi.__file__)).resolve().parents[1]


def python_files(folder: Path) -> set[str]:
    """Everything below a folder but what Python itself leaves there."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "__pycache__" not in path.parts}
    return {name for name in found if not name.endswith(".pyc")}
