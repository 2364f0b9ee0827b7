"""Processes that are started without a window and can be ended with all that they have started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_WAIT_S = 10.0

# Slicer's launcher sets them for Slicer's own Python and its own ITK; pip's would send files elsewhere
_FOREIGN = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONSAFEPATH",
    "PYTHONUSERBASE",
    "ITK_AUTOLOAD_PATH",
    "__PYVENV_LAUNCHER__",
)
_FOREIGN_PIP = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_PYTHON")


def this_python() -> str:
    """The Python of this process as a command; in Slicer its launcher, which sets up what that Python needs."""
    return shutil.which("PythonSlicer") or sys.executable


def clean_environment(base: Mapping[str, str] | None = None, **more: str) -> dict[str, str]:
    """An environment in which a Python finds its own libraries and nobody else's."""
    kept = {
        name: value
        for name, value in (os.environ if base is None else base).items()
        if name.upper() not in _FOREIGN and name.upper() not in _FOREIGN_PIP
    }
    return {**kept, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **more}


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, **pipes: Any
) -> subprocess.Popen[bytes]:
    """Start a process that does not hear this one's Ctrl+C and opens no console window.

    Raises:
        OSError: the program is not there or cannot be run.
    """
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        **pipes,
    )


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``start`` has started, and its children, at once; one that has ended is left."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(process.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_WAIT_S,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_WAIT_S)
