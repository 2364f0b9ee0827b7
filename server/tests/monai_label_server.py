"""MONAI Label's own server, if its environment is on this computer; see ``benchmarks/speed/monai_label.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from server_process import free_port, wait_until

ENVIRONMENT = "MAHTAI_TEST_MONAILABEL_ENV"
"""Variable with the folder of a virtual environment that has ``monailabel``."""

APP = Path(__file__).with_name("monai_label_app")


def python_of_monai_label() -> str | None:
    """The interpreter of that environment; None where there is none."""
    folder = os.environ.get(ENVIRONMENT)
    python = Path(folder or "/nowhere") / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(python) if python.exists() else None


@contextmanager
def monai_label_server(python: str, work: Path) -> Iterator[str]:
    """A running server; its address."""
    shutil.copytree(APP, work / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("studies", "temporary", "sessions"):
        (work / folder).mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"TMPDIR": str(work / "temporary"), "MONAI_LABEL_SESSION_PATH": str(work / "sessions")}
    command = [python, "-m", "monailabel.main", "start_server", "--app", str(work / "app")]
    command += ["--studies", str(work / "studies"), "--host", "127.0.0.1", "--port", str(port)]
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (work / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=work, env={**variables, **own}, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(process, url, work), 120, "MONAI Label's server to listen")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], url: str, work: Path) -> bool:
    assert process.poll() is None, (work / "server.log").read_text(errors="replace")
    try:
        return httpx.get(f"{url}/info/", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
