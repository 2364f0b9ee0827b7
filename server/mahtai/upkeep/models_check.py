"""Whether every model can be read, and the versions that were trained here are whole and there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mahtai.models.bundle import BundleError
from mahtai.models.catalogue import Catalogue
from mahtai.models.serving import version_name
from mahtai.upkeep.backup.archive import FILES
from mahtai.upkeep.finding import Finding

_BRING_BACK = "mahtai doctor --repair --from BACKUP; or let another version serve."


def check_models(catalogue: Catalogue, versions_dir: Path) -> Iterator[Finding]:
    """Look, and change nothing.

    Args:
        versions_dir: folder of what was trained or fetched here, which is in backups.
    """
    for folder, error in catalogue.problems():
        if folder.parent == versions_dir:
            yield _lost(f"{folder}: {error}", folder.name)
        else:
            yield Finding("error", "models", f"{folder}: {error}", "Fetch it again with `mahtai models pull`.")
    for model in catalogue.list():
        versions = catalogue.versions(model.id)
        serves = catalogue.serving_of(model.id).active
        if serves not in {version.number for version in versions}:
            name = version_name(model.id, serves)
            yield _lost(f"{name} should serve and is gone; another version does.", name)
        for version in versions:
            try:
                version.require_weights()
            except BundleError as error:
                text = f"{version.folder}: {error}"
                if version.folder.parent == versions_dir:
                    yield _lost(text, version.folder.name)
                elif not (version.recipe and version.weights_path is None):  # a recipe has none yet
                    yield Finding("error", "models", text, "Bring its folder back from where it came.")


def _lost(text: str, name: str) -> Finding:
    return Finding("error", "models", text, _BRING_BACK, lost=f"{FILES}/models/{name}")
