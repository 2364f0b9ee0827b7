"""``mahtai models versions`` and its neighbours: the versions of this data folder on the command line."""

from __future__ import annotations

import getpass
from collections.abc import Iterator

from mahtai.models.catalogue import Catalogue
from mahtai.models.versions import ModelVersion, ModelVersions
from mahtai.settings import Settings


def own_versions() -> ModelVersions:
    """Those of the data folder that the environment names."""
    settings = Settings.from_environment()
    return ModelVersions(Catalogue(settings.models_path, settings.versions_dir), settings.versions_dir)


def who() -> str:
    """The person at the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "command line"


def versions_table(model: str) -> Iterator[str]:
    """One line a version, and what the rule said.

    Raises:
        UnknownModel, BundleError: there is none.
    """
    for version in own_versions().list(model):
        yield f"{version.name:28}{version.bundle.version:20}{_state(version)}"
        if version.lineage is not None:
            cases = len(version.lineage.get("cases", ()))
            yield f"    from {version.lineage['parent']['version']}, {cases} approved cases"
        for comparison in version.comparisons[-1:]:
            yield f"    beside {comparison['against']['name']}: {comparison['decision']['reason']}"


def _state(version: ModelVersion) -> str:
    if version.is_active:
        return "serves"
    if version.trial is None:
        return "candidate" if version.bundle.number else "as it came"
    return f"on trial (shadow {'on' if version.trial.shadow else 'off'}, share {version.trial.share:.0%})"
