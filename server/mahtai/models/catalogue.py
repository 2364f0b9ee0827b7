"""The models on this computer: every bundle in the models folders, re-read when its files change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.models.bundle import CONFIG_FILES, Bundle, BundleError, is_bundle, read_bundle
from mahtai.models.bundle_base import CARD_FILES, WEIGHTS_FILES
from mahtai.models.landmark_bundle import CALIBRATION_FILE

_Stamp = tuple[tuple[str, int, int], ...]
_Bundles = list[Bundle]
_Problems = list[tuple[Path, BundleError]]
_Outcomes = list[tuple[Path, Bundle | BundleError]]


class UnknownModel(MahtaiError):
    """There is no usable model of that name."""

    kind = "unknown-model"
    title = "There is no such model"
    status = 404


class Catalogue:
    """Bundles by id (folder name). The first folder wins where two hold the same id.

    Safe to use from several threads.

    Args:
        folders: searched in this order, one level deep; those that do not exist are passed over.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._read: dict[Path, tuple[_Stamp, Bundle | BundleError]] = {}
        self._lock = threading.Lock()

    def list(self) -> _Bundles:
        """All readable bundles, those without weights included, ordered by id."""
        found: dict[str, Bundle] = {}
        for _, outcome in self._outcomes():
            if isinstance(outcome, Bundle):
                found.setdefault(outcome.id, outcome)
        return [found[key] for key in sorted(found)]

    def get(self, model_id: str) -> Bundle:
        """One bundle.

        Raises:
            UnknownModel: no folder of that name; the hint names those that there are.
            BundleError: the folder is there but cannot be read.
        """
        for bundle in self.list():
            if bundle.id == model_id:
                return bundle
        for folder, problem in self.problems():
            if folder.name == model_id:
                raise problem.with_traceback(None)
        known = ", ".join(bundle.id for bundle in self.list()) or "none yet; get one with `mahtai models pull`"
        raise UnknownModel(f"There is no model {model_id[:100]!r} on this server.", f"There are: {known}.")

    def problems(self) -> _Problems:
        """Folders that look like a bundle but cannot be read, with the reason."""
        return [(folder, outcome) for folder, outcome in self._outcomes() if isinstance(outcome, BundleError)]

    def _outcomes(self) -> _Outcomes:
        with self._lock:
            current = {
                folder: self._read_if_changed(folder)
                for root in self.folders
                if root.is_dir()
                for folder in sorted(root.iterdir())
                # a name with a dot in front is a download under way
                if not folder.name.startswith(".") and is_bundle(folder)
            }
            self._read = current
            return [(folder, outcome) for folder, (_, outcome) in current.items()]

    def _read_if_changed(self, folder: Path) -> tuple[_Stamp, Bundle | BundleError]:
        stamp = _stamp(folder)
        known = self._read.get(folder)
        if known is not None and known[0] == stamp:
            return known
        try:
            return stamp, read_bundle(folder)
        except BundleError as error:
            return stamp, error


def _stamp(folder: Path) -> _Stamp:
    """Size and time of change of every file that decides what the bundle is."""
    entries = []
    for name in ("configs/metadata.json", *CONFIG_FILES, *WEIGHTS_FILES, *CARD_FILES, CALIBRATION_FILE):
        path = folder / name
        if path.is_file():
            stat = path.stat()
            entries.append((name, stat.st_size, stat.st_mtime_ns))
    return tuple(entries)
