"""Which version of each model serves: a small file that is replaced as a whole and read again when it changes.

The versions themselves lie beside it, a folder each: ``brats_segresnet@2``. Version 0 is the model as it came.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mahtai.data_folder import DataFolder, DataFolderInUse
from mahtai.errors import MahtaiError
from mahtai.volumes.store import full_disk_named

FILE_NAME = "serving.json"
LOCK_NAME = ".serving.lock"
LOCK_WAIT_S = 10.0
MOST_CHANGES = 200
"""Of a model that are remembered."""

_VERSION = re.compile(r"(?P<model>[^@]+)@(?P<number>0|[1-9][0-9]{0,5})")


class ServingError(MahtaiError):
    """The file cannot be read or changed."""

    kind = "serving"
    title = "The versions of the models cannot be changed"
    status = 409


@dataclass(frozen=True)
class Trial:
    """A version that is tried out beside the one that serves.

    Attributes:
        number: of the version.
        shadow: it is run unattended on what readers ran, and nobody sees the results.
        share: of the studies that it serves, 0..0.5.
        since: when the trial began, seconds since 1970.
    """

    number: int
    shadow: bool = False
    share: float = 0.0
    since: float = 0.0


@dataclass(frozen=True)
class Change:
    """Somebody changed what serves."""

    at: float
    who: str
    what: str
    before: int
    after: int
    reason: str = ""


@dataclass(frozen=True)
class Serving:
    """Of one model.

    Attributes:
        active: number of the version that serves.
        history: versions that served before, the last one at the end.
        trial: beside it, if there is one.
        changes: the last ones, in order.
    """

    active: int = 0
    history: tuple[int, ...] = ()
    trial: Trial | None = None
    changes: tuple[Change, ...] = field(default=(), repr=False)


AS_IT_CAME = Serving()


def version_name(model: str, number: int) -> str:
    """``brats_segresnet@2``."""
    return f"{model}@{number}"


def split_name(name: str) -> tuple[str, int | None]:
    """Model and number of the version; None where the name says none."""
    found = _VERSION.fullmatch(name)
    return (name, None) if found is None else (found["model"], int(found["number"]))


class ServingFile:
    """The file in a folder of versions. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int] | None, dict[str, Serving]] = (None, {})

    def get(self, model: str) -> Serving:
        """What serves for a model; the model as it came where nothing was changed.

        Raises:
            ServingError: the file is damaged.
        """
        return self.read().get(model, AS_IT_CAME)

    def read(self) -> Mapping[str, Serving]:
        """All models that something was changed of.

        Raises:
            ServingError: the file is damaged.
        """
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                return {}
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._known[0] != stamp:
                self._known = (stamp, _read(self._path))
            return self._known[1]

    def change(self, model: str, changed: Callable[[Serving], Serving]) -> Serving:
        """Replace what is said of one model; nobody else changes the file meanwhile.

        Raises:
            ServingError: damaged, or somebody else holds it for too long; nothing was changed.
            MahtaiError: as ``changed`` says.
        """
        with _alone(self._folder):
            models = dict(self.read())
            models[model] = changed(models.get(model, AS_IT_CAME))
            content = {"models": {name: _as_json(one) for name, one in sorted(models.items())}}
            _replace(self._path, (json.dumps(content, indent=1) + "\n").encode())
            return models[model]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        held = DataFolder(folder, LOCK_NAME)
        try:
            held.__enter__()
            break
        except DataFolderInUse:
            if time.monotonic() > deadline:
                raise ServingError(
                    "Somebody else is changing the versions of the models. Nothing was changed.", "Try again."
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _replace(path: Path, content: bytes) -> None:
    """The file is the old one or the new one, whatever happens."""
    partial = path.with_suffix(".partial")
    with full_disk_named():
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def _read(path: Path) -> dict[str, Serving]:
    try:
        content = json.loads(path.read_text("utf-8"))
        return {str(name): _from_json(item) for name, item in content["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServingError(
            f"The file {path.name} that says which versions serve is damaged.",
            f"Restore it from a backup, or remove it: then every model serves as it came ({path}).",
        ) from error


def _from_json(item: Mapping[str, Any]) -> Serving:
    trial = item.get("trial")
    return Serving(
        active=int(item["active"]),
        history=tuple(int(number) for number in item["history"]),
        trial=None if trial is None else Trial(**trial),
        changes=tuple(Change(**change) for change in item["changes"]),
    )


def _as_json(serving: Serving) -> dict[str, Any]:
    return {**asdict(serving), "changes": [asdict(change) for change in serving.changes[-MOST_CHANGES:]]}
