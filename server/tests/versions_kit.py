"""Versions of the tiny model, made without training."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from learning_kit import Clinic
from mahtai.models.bundle import Bundle
from mahtai.models.versions import write_comparison
from mahtai.training.new_version import write_version


def make_version(where: Clinic, work: Path, better: bool = True, noise: float = 0.05, model: str = "tiny") -> Bundle:
    """Publish a version of other weights that was compared with the one that serves.

    Args:
        work: an empty folder of the same disk. better: what the rule said.
    """
    work.mkdir(parents=True, exist_ok=True)
    parent = where.catalogue.get(model)
    number = where.versions.next_number(model)
    generator = torch.Generator().manual_seed(number)
    weights = {
        name: value + noise * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in load_file(parent.require_weights()).items()
    }
    save_file(weights, work / "weights.safetensors")
    (work / "log.jsonl").write_text("{}\n", "utf-8")
    lineage = {"parent": {"version": parent.version_name, "sha256": parent.sha256}, "cases": [], "rehearsal": []}
    made = write_version(work / "made", parent, number, work / "weights.safetensors", lineage, work / "log.jsonl")
    decision = {"promote": better, "reason": "Made for a test.", "cases": 6}
    write_comparison(made, {"against": {"sha256": parent.sha256, "name": parent.version_name}, "decision": decision})
    return where.versions.publish(made, "test")
