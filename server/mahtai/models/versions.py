"""The versions of a model that were trained here: made once, kept for ever, promoted, tried out, taken back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError
from mahtai.models.bundle import Bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.serving import Change, Serving, ServingError, Trial, split_name, version_name

LINEAGE_FILE = "lineage.json"
SCORES_FOLDER = "scores"
LARGEST_SHARE = 0.5

Changed = Callable[[Serving], Serving]

_FOLDER = re.compile(r".+@[0-9]+")


class NotPromoted(MahtaiError):
    """The rule does not let a version take the place of the one that serves."""

    kind = "not-promoted"
    title = "The version was not promoted"
    status = 409


class VersionError(MahtaiError):
    """A version cannot be what is asked of it."""

    kind = "model-version"
    title = "The version cannot be used so"
    status = 422


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model.

    Attributes:
        name: such as ``brats_segresnet@2``; ``…@0`` is the model as it came.
        lineage: what it was trained from and on; None for the model as it came.
        comparisons: with versions that served when they were made, the oldest first.
    """

    name: str
    bundle: Bundle
    is_active: bool
    trial: Trial | None
    lineage: Mapping[str, Any] | None
    comparisons: tuple[Mapping[str, Any], ...]


class ModelVersions:
    """Versions of all models of a catalogue that has a folder for them."""

    def __init__(self, catalogue: Catalogue, folder: Path) -> None:
        self._catalogue = catalogue
        self._folder = folder

    def list(self, model: str) -> list[ModelVersion]:
        """The versions of a model, the one as it came first.

        Raises:
            UnknownModel, BundleError: there is none.
        """
        return [self._view(bundle) for bundle in self._catalogue.versions(model)]

    def history(self, model: str) -> Serving:
        """What serves, what served before, and who changed it."""
        return self._catalogue.serving_of(model)

    def next_number(self, model: str) -> int:
        """Of a new version; a number is never used again, even if its folder was removed."""
        folders = self._folder.glob("*@*") if self._folder.is_dir() else iter(())
        found = [split_name(path.name) for path in folders if _FOLDER.fullmatch(path.name)]
        used = {number for name, number in found if name == model and number is not None}
        used |= {change.after for change in self._catalogue.serving_of(model).changes}
        return max(used, default=0) + 1

    def publish(self, made: Path, who: str) -> Bundle:
        """Take a complete folder, named after its model and number, among the versions; it never changes again.

        Raises:
            BundleError: it is not complete.
            VersionError: there is a version of this number already.
        """
        model, number = split_name(made.name)
        place = self._folder / made.name
        if number is None or place.exists():
            raise VersionError(f"There is a version {made.name} already.", "Train again; nothing was lost.")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.rename(place)
        self._change(model, who, "made", number, "", lambda serving: serving)
        return self._catalogue.get(made.name)

    def promote(self, name: str, who: str, anyway: bool = False, reason: str = "") -> Serving:
        """Let a version serve, if the rule says that it is better than the one that serves now.

        Args:
            anyway: whatever the rule says; then a reason is wanted.

        Raises:
            UnknownModel, VersionError: no such version.
            NotPromoted: it was not found to be better; the hint says what to do.
        """
        bundle = self._version(name)
        active = self._catalogue.get(bundle.id)
        if bundle.number == active.number:
            raise VersionError(f"{bundle.version_name} serves already.", "Choose another version.")
        if anyway and not reason.strip():
            raise VersionError(
                "Against the rule a version is promoted only with a reason. Nothing was changed.", "Give the reason."
            )
        if not anyway:
            reason = _passed(bundle, active)
        bundle.require_weights()

        def promoted(serving: Serving) -> Serving:
            if serving.active != active.number:
                raise ServingError("Another version was promoted meanwhile. Nothing was changed.", "Look again.")
            trial = None if serving.trial and serving.trial.number == bundle.number else serving.trial
            return replace(serving, active=bundle.number, history=(*serving.history, serving.active), trial=trial)

        what = "promoted anyway" if anyway else "promoted"
        return self._change(bundle.id, who, what, bundle.number, reason, promoted)

    def rollback(self, model: str, who: str, reason: str = "") -> Serving:
        """Let the version serve that served before; again and again back to the model as it came.

        Raises:
            UnknownModel: no such model.
            VersionError: none served before.
        """
        self._catalogue.get(model)
        known = {bundle.number for bundle in self._catalogue.versions(model)}

        def rolled_back(serving: Serving) -> Serving:
            earlier = [number for number in serving.history if number in known]
            if not earlier:
                raise VersionError(
                    f"No version of {model} served before this one. Nothing was changed.", "There is nothing to undo."
                )
            return replace(serving, active=earlier[-1], history=tuple(earlier[:-1]))

        return self._change(model, who, "rolled back", None, reason, rolled_back)

    def try_out(self, model: str, name: str | None, shadow: bool, share: float, who: str) -> Serving:
        """Try a version out beside the one that serves; None ends the trial.

        Args:
            shadow: run it unattended on what readers ran.
            share: of the studies that it serves, 0..0.5.

        Raises:
            UnknownModel, VersionError: it cannot be tried out.
        """
        if name is None:
            self._catalogue.get(model)
            return self._change(model, who, "ended the trial", None, "", lambda serving: replace(serving, trial=None))
        bundle = self._version(name)
        if bundle.id != model:
            raise VersionError(f"{name} is no version of {model}.", "Choose one of its versions.")
        if not 0 <= share <= LARGEST_SHARE:
            raise VersionError(f"The share {share} cannot be.", f"It goes from 0 to {LARGEST_SHARE}.")
        if not shadow and share == 0:
            raise VersionError("A trial without shadow and share tries nothing.", "Choose one of them, or end it.")
        bundle.require_weights()
        trial = Trial(bundle.number, shadow, share, time.time())

        def tried(serving: Serving) -> Serving:
            if serving.active == bundle.number:
                raise VersionError(f"{bundle.version_name} serves already.", "Choose another version.")
            return replace(serving, trial=trial)

        said = f"shadow {'on' if shadow else 'off'}, share {share:.0%}"
        return self._change(model, who, "began a trial", bundle.number, said, tried)

    def _version(self, name: str) -> Bundle:
        if split_name(name)[1] is None:
            raise VersionError(
                f"{name[:100]} names no version.", f"Give its number too, such as {version_name(name[:100], 1)}."
            )
        return self._catalogue.get(name)

    def _view(self, bundle: Bundle) -> ModelVersion:
        serving = self._catalogue.serving_of(bundle.id)
        trial = serving.trial if serving.trial is not None and serving.trial.number == bundle.number else None
        return ModelVersion(
            name=bundle.version_name,
            bundle=bundle,
            is_active=self._catalogue.get(bundle.id).number == bundle.number,
            trial=trial,
            lineage=_read_json(bundle.folder / LINEAGE_FILE),
            comparisons=tuple(_comparisons(bundle.folder)),
        )

    def _change(self, model: str, who: str, what: str, number: int | None, reason: str, changed: Changed) -> Serving:
        file = self._catalogue.serving
        if file is None:
            raise ServingError("This catalogue has no folder for versions.", "Set MAHTAI_DATA_DIR.")

        def noted(before: Serving) -> Serving:
            after = changed(before)
            version = after.active if number is None else number
            note = Change(time.time(), who, what, before.active, version, reason)
            return replace(after, changes=(*before.changes, note))

        return file.change(model, noted)


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Keep the scores of a version beside it; none is ever replaced."""
    scores = folder / SCORES_FOLDER
    scores.mkdir(exist_ok=True)
    numbers = [int(path.stem) for path in scores.glob("*.json") if path.stem.isdigit()]
    partial = scores / "next.partial"
    partial.write_text(json.dumps(comparison, indent=1) + "\n", encoding="utf-8")
    partial.rename(scores / f"{max(numbers, default=0) + 1}.json")


def _passed(bundle: Bundle, active: Bundle) -> str:
    """What the rule said of a version beside the one that serves now.

    Raises:
        NotPromoted: it was not better, or was not compared with that one.
    """
    compared = [one for one in _comparisons(bundle.folder) if one["against"]["sha256"] == active.sha256]
    if not compared:
        raise NotPromoted(
            f"{bundle.version_name} was not compared with {active.version_name}, which serves now. "
            "Nothing was changed.",
            f"Score it first: mahtai models score {bundle.version_name}",
        )
    decision = compared[-1]["decision"]
    if not decision["promote"]:
        raise NotPromoted(
            f"{bundle.version_name} was not promoted. {decision['reason']}",
            "Approve more cases and train again, try it out in shadow, or promote it anyway with a reason.",
        )
    return str(decision["reason"])


def _comparisons(folder: Path) -> Iterator[Mapping[str, Any]]:
    paths = [path for path in (folder / SCORES_FOLDER).glob("*.json") if path.stem.isdigit()]
    for path in sorted(paths, key=lambda one: int(one.stem)):
        content = _read_json(path)
        if content is not None:
            yield content


def _read_json(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
