"""The models on this computer: every bundle in the models folders, re-read when its files change.

A model may have versions that were trained here, a folder each (``brats_segresnet@2``); which one serves says
``models.serving``.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.models.bundle import CONFIG_FILES, Bundle, BundleError, is_bundle, read_bundle
from mahtai.models.bundle_base import CARD_FILES, WEIGHTS_FILES
from mahtai.models.landmark_bundle import CALIBRATION_FILE
from mahtai.models.serving import Serving, ServingError, ServingFile, split_name, version_name

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[str, int, int], ...]
_Bundles = list[Bundle]
_Problems = list[tuple[Path, BundleError]]
_Outcomes = list[tuple[Path, Bundle | BundleError]]


class UnknownModel(MahtaiError):
    """There is no usable model of that name."""

    kind = "unknown-model"
    title = "There is no such model"
    status = 404


class ModelReplaced(MahtaiError):
    """The version of a model that something was accepted for is not there any more."""

    kind = "model-replaced"
    title = "The version of the model is gone"
    status = 409


class Catalogue:
    """Bundles by id (folder name). The first folder wins where two hold the same id.

    Safe to use from several threads.

    Args:
        folders: searched in this order, one level deep; those that do not exist are passed over.
        versions: the folder of the versions that were trained here, and of what says which one serves; None for none.
    """

    def __init__(self, folders: Sequence[Path], versions: Path | None = None) -> None:
        self.folders = tuple(dict.fromkeys([*folders, *([] if versions is None else [versions])]))
        self.serving = None if versions is None else ServingFile(versions)
        self._read: dict[Path, tuple[_Stamp, Bundle | BundleError]] = {}
        self._lock = threading.Lock()

    def list(self) -> _Bundles:
        """The serving version of every readable model, those without weights included, ordered by id."""
        return [self._serving(model, versions) for model, versions in sorted(self._by_model().items())]

    def get(self, name: str) -> Bundle:
        """The serving version of a model, or the one that is named, such as ``brats_segresnet@2``.

        Raises:
            UnknownModel: no folder of that name; the hint names those that there are.
            BundleError: the folder is there but cannot be read.
        """
        model, number = split_name(name)
        versions = self._by_model().get(model, {})
        if number is not None and number in versions:
            return versions[number]
        if number is None and versions:
            return self._serving(model, versions)
        for folder, problem in self.problems():
            if folder.name == (model if number == 0 else name):
                raise problem.with_traceback(None)
        known = ", ".join(bundle.id for bundle in self.list()) or "none yet; get one with `mahtai models pull`"
        raise UnknownModel(f"There is no model {name[:100]!r} on this server.", f"There are: {known}.")

    def versions(self, model: str) -> _Bundles:
        """All readable versions of a model, 0 first, which is the model as it came.

        Raises:
            UnknownModel, BundleError: there is none.
        """
        found = self._by_model().get(model, {})
        return [found[number] for number in sorted(found)] or [self.get(model)]

    def exact(self, model: str, sha256: str) -> Bundle:
        """The version of a model that has this identity, whatever serves now.

        Raises:
            UnknownModel, BundleError: there is no such model.
            ModelReplaced: its files have changed, or the version was removed.
        """
        serving = self.get(model)
        if serving.sha256 == sha256:
            return serving
        for bundle in self.versions(serving.id):
            if bundle.sha256 == sha256:
                return bundle
        raise ModelReplaced(
            f"The version of {serving.name} that this was asked of is not on the server any more. Nothing was lost.",
            "Run the model again: the version that serves now will do it.",
        )

    def for_reader(self, name: str, inputs: Mapping[str, str]) -> str:
        """The version that a reader's study gets: the one on trial for its share of the studies.

        A study always gets the same one, whoever asks: its hash decides.

        Args:
            inputs: channel id → SHA-256.
        """
        trial = None if split_name(name)[1] is not None else self.serving_of(name).trial
        if trial is None or place_of(name, inputs) >= trial.share:
            return name
        candidate = version_name(name, trial.number)
        return candidate if trial.number in self._by_model().get(name, {}) else name

    def serving_of(self, model: str) -> Serving:
        """What serves for a model; the model as it came, if that cannot be found out."""
        try:
            return Serving() if self.serving is None else self.serving.get(model)
        except ServingError as error:
            _log.warning("%s", error.reason)
            return Serving()

    def _serving(self, model: str, versions: Mapping[int, Bundle]) -> Bundle:
        """The version that serves; the one before it where it was taken away or damaged."""
        serving = self.serving_of(model)
        wanted = (serving.active, *reversed(serving.history), 0, *sorted(versions))
        found = next(number for number in wanted if number in versions)
        if found != serving.active:
            _log.warning("%s cannot be used; %s serves", version_name(model, serving.active), versions[found].folder)
        return versions[found]

    def _by_model(self) -> dict[str, dict[int, Bundle]]:
        models: dict[str, dict[int, Bundle]] = {}
        for _, outcome in self._outcomes():
            if isinstance(outcome, Bundle):
                models.setdefault(outcome.id, {}).setdefault(outcome.number, outcome)
        return models

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


def place_of(model: str, inputs: Mapping[str, str]) -> float:
    """Where a study stands between 0 and 1 when studies are shared out among versions of a model."""
    text = "\n".join([model, *(f"{channel} {sha256}" for channel, sha256 in sorted(inputs.items()))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _stamp(folder: Path) -> _Stamp:
    """Size and time of change of every file that decides what the bundle is."""
    entries = []
    for name in ("configs/metadata.json", *CONFIG_FILES, *WEIGHTS_FILES, *CARD_FILES, CALIBRATION_FILE):
        path = folder / name
        if path.is_file():
            stat = path.stat()
            entries.append((name, stat.st_size, stat.st_mtime_ns))
    return tuple(entries)
