"""The machine: which cores are used, what it is made of, how much memory was taken."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "MAHTAI_THREADS",
)
LIBRARIES = ("torch", "monai", "numpy", "openvino", "nibabel", "slicer-core", "vtk", "requests")


def pin(cores: int | None) -> list[int]:
    """Keep this process and all that it starts to so many cores; returns them, or none where the system cannot.

    To be called before numpy is loaded: the number of threads is set by variables that libraries read once.
    """
    count = cores or available()
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)
    if not hasattr(os, "sched_setaffinity"):
        return []
    chosen = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, chosen)
    return chosen


def available() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(cores: int, pinned: list[int]) -> dict[str, Any]:
    """For the report."""
    return {
        "processor": _processor(),
        "cores_used": cores,
        "pinned_to": pinned,
        "cores_of_the_machine": os.cpu_count(),
        "bf16_units": "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags(),
        "gpu": _gpus(),
        "memory_gb": _memory_gb(),
        "load_average_at_start": load_average(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def load_average() -> list[float] | None:
    """Of the last 1, 5 and 15 minutes, where the system tells."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def peak_memory_mb(pid: int) -> dict[str, int]:
    """Largest memory that a process and each of its descendants held: command's end → MB. Empty outside of Linux."""
    found: dict[str, int] = {}
    for one in (pid, *_descendants(pid)):
        try:
            words = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")
            lines = Path(f"/proc/{one}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        name = next((word.decode() for word in words if word.startswith(b"mahtai.")), str(one))
        kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
        found[name] = max(found.get(name, 0), round(kilobytes / 1000))
    return found


def _descendants(pid: int) -> Iterator[int]:
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for thread in threads:
        try:
            children = (thread / "children").read_text(encoding="utf-8").split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _cpu_lines() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _processor() -> str:
    return _cpu_lines().get("model name") or platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    return set(_cpu_lines().get("flags", "").split())


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return said.stdout.strip().splitlines()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
