#!/usr/bin/env python3
"""Set MahtAI up on this computer and run it. Needs Python 3.10-3.13 and nothing else.

    python3 server/start.py demo     the main job on a sample: segmentation, label version, picture
    python3 server/start.py serve    the inference server for the Slicer panel
    python3 server/start.py test     the tests
    python3 server/start.py setup    only the set-up
    python3 server/start.py lint     ruff and mypy over everything
    python3 server/start.py ...      any other command of `mahtai`; --help behind it tells more:

    without a server                 segment, landmarks, evaluate, train, models, bench
    beside a server                  cases, worker
    users, keys, certificate, record users, keys, tls, audit
    looking after it                 doctor, backup, restore
    handing data on                  deidentify, deface

The first call makes a virtual environment beside this file and installs the pinned libraries into
it; an interrupted installation goes on where it stopped. Later calls start at once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

SERVER = Path(__file__).resolve().parent
REPOSITORY = SERVER.parent
ENVIRONMENT = Path(os.environ.get("MAHTAI_VENV", SERVER / ".venv"))
MARK = ENVIRONMENT / "mahtai-installed.txt"
OLDEST, NEWEST = (3, 10), (3, 13)


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return _stop(
            f"MahtAI needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}; "
            f"this is {sys.version_info[0]}.{sys.version_info[1]}.",
            "Run start.py with another Python, for example: python3.11 server/start.py " + " ".join(arguments),
        )
    command, *rest = arguments
    try:
        set_up(with_tests=command in ("test", "lint", "bench"))
    except subprocess.CalledProcessError as error:
        return _stop(
            f"The set-up stopped (exit status {error.returncode}); the lines above say why.",
            "Check the internet connection and the free disk space (about 3 GB), then run the same command again: "
            "it goes on where it stopped.",
        )
    except KeyboardInterrupt:
        return _stop("Stopped by Ctrl-C.", "Run the same command again: the set-up goes on where it stopped.")
    if command == "setup":
        return 0
    if command == "test":
        return test(rest)
    if command == "lint":
        return lint()
    return _become([_python(), "-m", "mahtai", command, *rest])


def set_up(with_tests: bool) -> None:
    """Make the virtual environment and install what is pinned, unless that has been done already.

    Raises:
        subprocess.CalledProcessError: pip or venv failed; what it said is on the screen.
    """
    lists = [SERVER / "requirements.txt"]
    if with_tests:
        lists.append(SERVER / "requirements-test.txt")
    wanted = {f"{path.name} {_digest(path)}" for path in (*lists, SERVER / "pyproject.toml")}
    done = set(MARK.read_text().splitlines()) if MARK.exists() else set()
    if wanted <= done and Path(_python()).exists():
        return
    started = time.monotonic()
    if not Path(_python()).exists():
        print(f"Making a virtual environment in {ENVIRONMENT}", flush=True)
        _make_environment()
    print("Installing the pinned libraries. The first time this takes some minutes.", flush=True)
    for path in lists:
        _pip("install", "--requirement", str(path))
    _pip("install", "--no-deps", "--editable", str(SERVER))
    MARK.write_text("\n".join(sorted(wanted | done)) + "\n")
    print(f"Set up in {time.monotonic() - started:.0f} s.", flush=True)


def test(chosen: list[str]) -> int:
    """Pytest over what was chosen, or over everything, shared out to the processors; returns its exit status."""
    run = [_python(), "-m", "pytest", "-c", "server/pyproject.toml", "--rootdir", "."]
    if chosen:
        return _run([*run, *chosen], cwd=REPOSITORY)
    workers = min(_processors() + 1, 4)  # tests wait a third of their time
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or every worker's PyTorch takes all processors from the others
    run += ["--numprocesses", str(workers), "--dist", "loadfile"]
    return _run([*run, "server/tests", "MahtAI/Testing/Python"], cwd=REPOSITORY)


def lint() -> int:
    """Ruff over everything, mypy over the server and the client; returns the first failing status."""
    checks = [
        [_python(), "-m", "ruff", "check", "."],
        [_python(), "-m", "ruff", "format", "--check", "."],
        [_python(), "-m", "mypy", "--config-file", "server/pyproject.toml"],
    ]
    return next((status for check in checks if (status := _run(check, cwd=REPOSITORY))), 0)


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_environment() -> None:
    try:
        venv.EnvBuilder(with_pip=True, clear=ENVIRONMENT.exists()).create(ENVIRONMENT)
    except subprocess.CalledProcessError:
        print("This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv", flush=True)
        raise


def _pip(*arguments: str) -> None:
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    subprocess.run(
        [_python(), "-m", "pip", "--disable-pip-version-check", *arguments, *quiet, "--retries", "5"],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def _python() -> str:
    return str(ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _become(command: list[str]) -> int:
    """Run a command that gets what is sent to this process, such as the SIGTERM that ends a service."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    return _run(command)  # on Windows a new process would take the place of this one in name only


def _run(command: list[str], cwd: Path | None = None) -> int:
    try:
        return subprocess.run(command, cwd=cwd, check=False).returncode
    except KeyboardInterrupt:
        return 130


def _digest(path: Path) -> str:
    # line ends differ between systems, the list does not
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()[:16]


def _stop(reason: str, hint: str) -> int:
    print(f"{reason}\n{hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
