"""The server's libraries: found out, fetched one by one so that nothing is fetched twice, unpacked into a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from MahtAILib.client.durable import replace_durably
from MahtAILib.local_server.errors import InstallFailedError
from MahtAILib.local_server.pip import OnLine, Pip

OnCount = Callable[[int, int, str], None]
"""Called with how many libraries are done, how many there are, and pip's latest line."""


@dataclass(frozen=True)
class Wheel:
    """One library: its name, its version, where its file is, and the digest of that file if it is known."""

    name: str
    version: str
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Of the file that pip fetches."""
        return unquote(Path(urlsplit(self.url).path).name)

    @property
    def link(self) -> str:
        """For pip, which checks the digest."""
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url


def resolve(pip: Pip, requirements: Path, wheels: Path, on_line: OnLine) -> list[Wheel]:
    """What the list of libraries and those that they need come to on this computer; written down for next time.

    Raises:
        InstallFailedError: no way to the index, or something is not made for this computer.
    """
    noted = wheels / "resolved.json"
    try:
        return [Wheel(**entry) for entry in json.loads(noted.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        pass
    report = wheels / "report.json"
    options = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--report", str(report)]
    pip.run([*pip.fetching("install"), *options, "--requirement", str(requirements)], on_line)
    found = [_wheel(entry) for entry in json.loads(report.read_text("utf-8"))["install"]]
    replace_durably(noted, json.dumps([asdict(wheel) for wheel in found], indent=1).encode())
    return found


def fetch(pip: Pip, wanted: list[Wheel], wheels: Path, on_count: OnCount) -> None:
    """Fetch what is not there yet; each file appears in ``wheels`` whole and checked.

    Raises:
        CancelledError: with all that was fetched kept.
        InstallFailedError: likewise.
    """
    incoming = wheels / "incoming"
    for done, wheel in enumerate(wanted):
        on_count(done, len(wanted), f"{wheel.name} {wheel.version}")
        target = wheels / wheel.file_name
        if target.exists():
            continue
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            pip.run(
                [*pip.fetching("download"), "--dest", str(incoming), wheel.link],
                lambda line, done=done: on_count(done, len(wanted), line),  # type: ignore[misc]
            )
        except InstallFailedError:
            (wheels / "resolved.json").unlink(missing_ok=True)  # what it says may be out of date
            raise
        os.replace(incoming / wheel.file_name, target)
    on_count(len(wanted), len(wanted), "")


def unpack(pip: Pip, wanted: list[Wheel], wheels: Path, target: Path, on_count: OnCount) -> None:
    """Install the fetched files into ``target``, which pip makes; nothing is asked of the network.

    Raises:
        CancelledError, InstallFailedError: ``target`` is not there or incomplete then.
    """
    exact = wheels / "exact.txt"
    exact.write_text("".join(f"{wheel.name}=={wheel.version}\n" for wheel in wanted), "utf-8")
    options = ["--no-index", "--no-deps", "--no-compile", "--ignore-installed", "--no-warn-script-location"]
    places = ["--find-links", str(wheels), "--target", str(target), "--requirement", str(exact)]

    def count() -> None:
        # pip says nothing meanwhile, but what it has unpacked can be seen, until it moves it away
        try:
            done = sum(1 for _ in pip.temporary.glob("pip-target-*/*/*/*.dist-info"))
        except FileNotFoundError:
            return
        on_count(min(done, len(wanted)), len(wanted), "")

    pip.run(["install", *options, *places], lambda line: count(), on_wait=count)


def _wheel(entry: dict[str, Any]) -> Wheel:
    info, metadata = entry["download_info"], entry["metadata"]
    hashes = info.get("archive_info", {}).get("hashes", {})
    return Wheel(metadata["name"], metadata["version"], info["url"], hashes.get("sha256", ""))
