"""Trainings as a server has them: each in a process of its own, one at a time, which never touches what serves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mahtai.data_folder import require_room
from mahtai.models.catalogue import Catalogue
from mahtai.settings import Settings
from mahtai.training.training_folder import (
    CANCEL_FILE,
    Order,
    Progress,
    State,
    TrainingFolder,
    TrainingRuns,
    all_trainings,
    is_running,
)

LOG_FILE = "process.log"
ROOM_BYTES = 512 << 20
"""That a training takes on the disk at most: checkpoint, weights, candidate."""

STOP_LIMIT_S = 5.0


@dataclass(frozen=True)
class Training:
    """A training at one moment.

    Attributes:
        progress: of one that runs.
        end: what came of one that has ended: ``version``, ``promoted``, ``reason``, ``hint``.
    """

    order: Order
    state: State
    progress: Progress | None
    end: Mapping[str, Any]


class Trainings:
    """Starts, watches and ends trainings; what is known of them lies in their folders."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._current: str | None = None

    def list(self) -> list[Training]:
        """The newest first."""
        return [self._view(folder) for folder in all_trainings(self._settings.trainings_dir)]

    def get(self, training: str) -> Training:
        """One of them.

        Raises:
            UnknownTraining: there is none of that id.
        """
        return self._view(TrainingFolder(self._settings.trainings_dir, training))

    def start(self, model: str, minutes: float, who: str) -> Training:
        """Begin a training of a model on the approved cases.

        Raises:
            UnknownModel, BundleError: no such model.
            TrainingRuns: one runs already.
            StorageFull: no room.
        """
        bundle = self._catalogue.get(model)
        bundle.require_weights()
        with self._lock:
            self._require_none()
            folder = TrainingFolder.create(self._settings.trainings_dir, bundle.id, minutes, who)
            self._begin(folder)
        return self._view(folder)

    def resume(self, training: str) -> Training:
        """Go on with one that was interrupted, has failed, or was cancelled.

        Raises:
            UnknownTraining: there is none of that id.
            TrainingRuns: one runs already, or it has succeeded.
        """
        folder = TrainingFolder(self._settings.trainings_dir, training)
        with self._lock:
            if folder.order and self._state(folder) == "succeeded":
                raise TrainingRuns("This training has succeeded already.", "Start a new one.")
            self._require_none()
            folder.reopen()
            self._begin(folder)
        return self._view(folder)

    def cancel(self, training: str) -> Training:
        """End a training; what it had learnt stays in its folder, and the model that serves is untouched.

        Raises:
            UnknownTraining: there is none of that id.
        """
        folder = TrainingFolder(self._settings.trainings_dir, training)
        with self._lock:
            if folder.order and self._state(folder) in ("running", "interrupted"):
                (folder.path / CANCEL_FILE).touch()
                if self._current == training:
                    self._end()
        return self._view(folder)

    def stop(self) -> None:
        """The server stops: its training is interrupted and can be gone on with."""
        with self._lock:
            self._end()

    def _require_none(self) -> None:
        if self._is_alive() or is_running(self._settings.trainings_dir):
            raise TrainingRuns(
                "A training is running already; one runs at a time. Nothing was started.",
                "Wait until it has ended, or cancel it.",
            )
        require_room(self._settings.data_dir, self._settings.min_free_bytes + ROOM_BYTES)

    def _begin(self, folder: TrainingFolder) -> None:
        order, settings = folder.order, self._settings
        threads = settings.threads or max(1, (os.cpu_count() or 2) // 2)
        command = [sys.executable, "-m", "mahtai.cli", "train", order.model, "--from-cases", "--attended"]
        command += ["--resume", order.id, "--device", settings.device, "--threads", str(threads)]
        own = {
            "MAHTAI_DATA_DIR": str(settings.data_dir),
            "MAHTAI_CONFIG_DIR": str(settings.config_dir),
            "MAHTAI_DATABASE_URL": settings.database_url,
            "MAHTAI_MODELS_PATH": os.pathsep.join(str(path) for path in settings.models_path),
        }
        with (folder.path / LOG_FILE).open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **own},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=settings.data_dir,
                creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
            )
        self._current = folder.id

    def _end(self) -> None:
        if self._process is None:
            return
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_LIMIT_S / 2)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=STOP_LIMIT_S)

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _state(self, folder: TrainingFolder) -> State:
        # before the process holds its folder, this server alone knows that it lives
        if folder.id == self._current and self._is_alive():
            return "running"
        return folder.state

    def _view(self, folder: TrainingFolder) -> Training:
        order, state = folder.order, self._state(folder)
        return Training(order, state, folder.progress() if state == "running" else None, folder.end or {})
