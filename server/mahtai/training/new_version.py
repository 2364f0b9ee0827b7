"""A version of a model as a complete bundle folder: the parent's configuration, new weights, where they come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from mahtai.models.bundle import Bundle
from mahtai.models.checksums import write_checksum
from mahtai.models.serving import version_name
from mahtai.models.versions import LINEAGE_FILE
from mahtai.training.trainer import write_json


def write_version(
    beside: Path, parent: Bundle, number: int, weights: Path, lineage: Mapping[str, Any], log: Path
) -> Path:
    """Write the folder below ``beside``, replacing what an interrupted attempt left.

    Args:
        lineage: what the weights were made from and on. log: of the training.

    Returns:
        the folder, named after the model and the number.
    """
    shutil.rmtree(beside, ignore_errors=True)
    folder = beside / version_name(parent.id, number)
    shutil.copytree(parent.folder / "configs", folder / "configs")
    for name in ("models", "docs"):
        (folder / name).mkdir()
    copied = shutil.copyfile(weights, folder / "models" / "model.safetensors")
    write_checksum(copied)
    shutil.copyfile(log, folder / "docs" / "train_log.jsonl")
    _describe(folder, parent, number, lineage)
    write_json(folder / LINEAGE_FILE, lineage)
    return folder


def _describe(folder: Path, parent: Bundle, number: int, lineage: Mapping[str, Any]) -> None:
    """Metadata and card that say what this version is; the parent's figures are not its own."""
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    version = f"{parent.version.partition('+')[0]}+cases.{number}"
    what = f"{parent.version_name} learnt on from {len(lineage['cases'])} approved cases of this server"
    metadata["version"] = version
    metadata["changelog"] = {**metadata.get("changelog", {}), version: f"{what}, {date.today().isoformat()}"}
    metadata["eval_metrics"] = {}
    write_json(path, metadata)
    card = (
        f"# {parent.name}, version {version}\n\n"
        f"{what} (and {len(lineage['rehearsal'])} published ones, so that nothing is forgotten). "
        "Which ones, and with which settings, says `lineage.json`; the run is in `docs/train_log.jsonl`.\n\n"
        "The files in `scores` compare it with the version that served when it was made, on test cases that neither "
        "had seen. Figures in the card of the model as it came are of that model, not of this one.\n\n"
        f"Intended use: {parent.intended_use or 'as the model that it came from'}\n"
    )
    (folder / "docs" / "README.md").write_text(card, encoding="utf-8")
