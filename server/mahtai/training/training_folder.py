"""The folder of one training: what was ordered, how far it is, how it ended. Whoever can read it knows all of it.

A training runs in a process of its own, which holds a lock in the folder. The lock tells whether it lives; the
system lets go of it however the process ends.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from mahtai.data_folder import DataFolder, DataFolderInUse
from mahtai.errors import MahtaiError
from mahtai.volumes.store import full_disk_named

State = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]

ORDER_FILE = "order.json"
END_FILE = "end.json"
LOG_FILE = "train_log.jsonl"
CANCEL_FILE = "cancelled"
OWN_LOCK = "training.lock"
COMMON_LOCK = ".training.lock"

LOCK_WAIT_S = 5.0
TAIL_BYTES = 8192


class UnknownTraining(MahtaiError):
    """There is no training of that id."""

    kind = "unknown-training"
    title = "There is no such training"
    status = 404


class TrainingRuns(MahtaiError):
    """One training at a time."""

    kind = "training-runs"
    title = "Another training is running"
    status = 409


@dataclass(frozen=True)
class Order:
    """What was asked for.

    Attributes:
        minutes: that the network may learn; reading and scoring come on top.
        data: a folder of published cases to rehearse and to be tested on, named on the command line only.
        who: asked for it.
        at: when, ISO 8601.
    """

    id: str
    model: str
    minutes: float
    who: str
    at: str
    data: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a training is; ``fraction`` 0..1 of the stage."""

    stage: str
    fraction: float
    text: str = ""


class TrainingFolder:
    """See above.

    Args:
        root: the folder of all trainings.
    """

    def __init__(self, root: Path, training: str) -> None:
        self.root = root
        self.id = training
        self.path = root / training

    @classmethod
    def create(cls, root: Path, model: str, minutes: float, who: str, data: Path | None = None) -> TrainingFolder:
        """A new one, with its order in it."""
        made = cls(root, str(uuid.uuid4()))
        with full_disk_named():
            made.path.mkdir(mode=0o700, parents=True)
            told = None if data is None else str(data.absolute())
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            made._write(ORDER_FILE, asdict(Order(made.id, model, minutes, who, now, told)))
        return made

    @property
    def order(self) -> Order:
        """What was asked for.

        Raises:
            UnknownTraining: there is no such training.
        """
        content = self._read(ORDER_FILE) if _is_id(self.id) else None
        if content is None:
            raise UnknownTraining("There is no training of this id on this server.", "Look at the list of trainings.")
        return Order(**content)

    @property
    def state(self) -> State:
        """How it stands."""
        end = self.end
        if end is not None:
            return "succeeded" if end.get("state") == "succeeded" else "failed"
        if self.is_held:
            return "running"
        return "cancelled" if (self.path / CANCEL_FILE).exists() else "interrupted"

    @property
    def end(self) -> Mapping[str, Any] | None:
        """What the process wrote last: ``state``, ``version``, ``promoted``, ``reason``, ``hint``."""
        return self._read(END_FILE)

    @property
    def is_held(self) -> bool:
        """Whether a process works on it."""
        try:
            with DataFolder(self.path, OWN_LOCK):
                return False
        except DataFolderInUse:
            return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Work on it, alone, and on no other at the same time.

        Raises:
            TrainingRuns: somebody does already.
        """
        with _patiently(self.root, COMMON_LOCK), _patiently(self.path, OWN_LOCK):
            (self.path / END_FILE).unlink(missing_ok=True)
            yield

    def reopen(self) -> None:
        """It is to be gone on with."""
        for name in (END_FILE, CANCEL_FILE):
            (self.path / name).unlink(missing_ok=True)

    def log(self, event: str, **what: object) -> None:
        """Add a line to the log."""
        line = {"event": event, "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **what}
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def finish(self, state: Literal["succeeded", "failed"], **what: object) -> None:
        """Write down how it ended."""
        self.log("finished", state=state, **what)
        self._write(END_FILE, {"state": state, **what})

    def progress(self) -> Progress | None:
        """The last that the log says; None before the first line."""
        for line in reversed(self._tail()):
            if "stage" in line:
                return Progress(str(line["stage"]), float(line.get("fraction", 0.0)))
            if "step" in line and "loss" in line:
                done = float(line["seconds"]) / max(self.order.minutes * 60, 1e-9)
                return Progress("training", min(done, 1.0), f"step {line['step']}, loss {line['loss']}")
        return None

    def _tail(self) -> list[dict[str, Any]]:
        try:
            with (self.path / LOG_FILE).open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(stream.tell() - TAIL_BYTES, 0))
                lines = stream.read().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # cut by the seek, or by a process that was killed
        return [entry for entry in found if isinstance(entry, dict)]

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        partial = self.path / f"{name}.partial"
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path / name)


def all_trainings(root: Path) -> list[TrainingFolder]:
    """The newest first."""
    folders = [TrainingFolder(root, path.parent.name) for path in root.glob(f"*/{ORDER_FILE}")]
    return sorted(folders, key=lambda folder: (folder.order.at, folder.id), reverse=True)


def is_running(root: Path) -> bool:
    """Whether a training runs."""
    try:
        with DataFolder(root, COMMON_LOCK):
            return False
    except DataFolderInUse:
        return True


@contextmanager
def _patiently(folder: Path, lock: str) -> Iterator[None]:
    """Hold a lock; somebody may be looking at it at this moment."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        held = DataFolder(folder, lock)
        try:
            held.__enter__()
            break
        except DataFolderInUse:
            if time.monotonic() > deadline:
                raise TrainingRuns(
                    "A training is running already; one runs at a time. Nothing was started.",
                    "Wait until it has ended, or cancel it.",
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
