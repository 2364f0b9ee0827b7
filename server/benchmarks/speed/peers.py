"""The peers, warm and ready to be run in turn with ours: what each is, and one run of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from speed.talk import BENCHMARKS, Child

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "brats_segresnet"

ZOO_WINDOW = (240, 240, 160)
"""Of the model zoo's bundle for BraTS: a whole case in one pass, fewer voxels to compute than our bundle's window."""


@dataclass(frozen=True)
class PeerRun:
    """One run of a peer.

    Attributes:
        phase: what was timed. against: kinds of our runs to compare with.
        labels: file of the result.
        stages_s: in the peer's own words; ``other`` is the rest.
    """

    case: str
    phase: str
    against: tuple[str, ...]
    wall_s: float
    stages_s: dict[str, float]
    labels: str
    sent_bytes: int = 0
    received_bytes: int = 0


class Peer(Protocol):
    """What is measured beside ours; ``told`` is what it says of itself."""

    name: str
    is_what: str
    told: dict[str, Any]

    def run(self, case: str, folder: Path) -> list[PeerRun]:
        """Segment a case whose files lie in a folder.

        Raises:
            PeerFailed: it could not.
        """


class PlainMonai:
    """The bundle's ``inference.json`` as MONAI runs it, from the four files to the file of the result."""

    def __init__(self, child: Child, work: Path, device: str, case: Path, window: tuple[int, ...] | None) -> None:
        self.name = "monai" if window is None else "monai_one_window"
        which = "as it comes" if window is None else f"with the window of the model zoo's bundle, {window}"
        self.is_what = f"MONAI runs the bundle's inference.json {which}; four files in, a file out, no server"
        self._child = child
        build = {"bundle": str(BUNDLE), "work": str(work), "device": device, "first_case": str(case)}
        self.told = child.ask(do="build", **build, window=window)

    def run(self, case: str, folder: Path) -> list[PeerRun]:
        """See ``Peer``."""
        said = self._child.ask(do="run", case=str(folder))
        return [PeerRun(case, "files to file", ("new", "ahead"), said["wall_s"], said["stages_s"], said["labels"])]


@contextlib.contextmanager
def plain_monai(
    work: Path, logs: Path, device: str, first_case: Path, window: tuple[int, ...] | None = None
) -> Iterator[Peer]:
    """MONAI in a process of its own.

    Args:
        work: folder for results. logs: folder for what it prints.
        device: ``cpu`` or ``cuda``. first_case: folder of a case, as ``Case.write`` makes it.
        window: in place of the bundle's.
    """
    work.mkdir(parents=True, exist_ok=True)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(BENCHMARKS), *([inherited] if inherited else [])])
    command = [sys.executable, "-m", "speed.monai_child"]
    child = Child(command, logs / f"{work.name}.log", {**os.environ, "PYTHONPATH": path})
    try:
        yield PlainMonai(child, work, device, first_case, window)
    finally:
        child.close()
