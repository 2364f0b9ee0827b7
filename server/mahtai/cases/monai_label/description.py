"""What this server looks like to a MONAI Label client: its models, strategies and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mahtai import __version__
from mahtai.cases import strategies
from mahtai.cases.label_version import LabelVersion
from mahtai.cases.monai_label.images import Image
from mahtai.models.bundle import Bundle
from mahtai.models.catalogue import Catalogue, UnknownModel
from mahtai.models.segmentation_bundle import SegmentationBundle
from mahtai.volumes.terminology import SegmentDescription

FINAL_TAG = "final"
"""What clients call the label that counts."""

STRATEGIES = {"first" if one.id == "order" else one.id: one for one in strategies.STRATEGIES}
"""Name for clients, who know the first one as such → strategy of the work list."""


def models(catalogue: Catalogue) -> list[SegmentationBundle]:
    """Those that such clients can use: they segment, and can run."""
    return [one for one in catalogue.list() if isinstance(one, SegmentationBundle) and one.weights_path is not None]


def model(catalogue: Catalogue, model_id: str) -> SegmentationBundle:
    """A model by its id.

    Raises:
        UnknownModel: there is none of that id that segments.
    """
    bundle: Bundle = catalogue.get(model_id)
    if not isinstance(bundle, SegmentationBundle):
        known = ", ".join(one.id for one in models(catalogue)) or "none"
        raise UnknownModel(f"The model {model_id[:100]!r} places landmarks.", f"Those that segment: {known}.")
    return bundle


def tasks(catalogue: Catalogue) -> list[str]:
    """What the models are for, the first model's first; images that clients upload belong to that one."""
    return list(dict.fromkeys(one.task for one in models(catalogue))) or ["other"]


def label_values(labels: Sequence[SegmentDescription]) -> dict[str, int]:
    """Name → 1..N in the order of the model's values, which is what clients take for granted."""
    ordered = sorted(labels, key=lambda label: label.label_value)
    return {label.name: value for value, label in enumerate(ordered, start=1)}


def info(catalogue: Catalogue, images: Sequence[Image]) -> dict[str, Any]:
    """Answer of ``/info/``; without ``config`` at its top, which clients take for an old server's."""
    return {
        "name": "MahtAI",
        "description": "MahtAI by the protocol of MONAI Label",
        "version": __version__,
        "labels": [],
        "models": {
            one.id: {
                "type": "segmentation",
                "labels": label_values(one.labels),
                "dimension": 3,
                "description": one.description,
                "config": {},
            }
            for one in models(catalogue)
        },
        "trainers": {},
        "strategies": {name: {"description": one.description} for name, one in STRATEGIES.items()},
        "scoring": {},
        "train_stats": {},
        "datastore": counts(images),
    }


def counts(images: Sequence[Image]) -> dict[str, int]:
    """How many images there are, and how many have a label."""
    return {"total": len(images), "completed": sum(image.case.label_count > 0 for image in images)}


def datastore(images: Sequence[Image], endings: Mapping[str, str], labels: Mapping[str, Sequence[LabelVersion]]) -> Any:
    """Answer of ``/datastore/?output=all``; no path of this machine.

    Args:
        endings: image id → ending of its file. labels: case id → its versions, the oldest first.
    """
    objects = {}
    for image in images:
        versions = [one for one in labels.get(image.case.id, ()) if one.kind == "segmentation"]
        objects[image.id] = {
            "image": {"ext": endings[image.id], "info": {"name": image.case.name, "sequence": image.slot}},
            "labels": {tag: _label(one) for tag, one in tagged(versions).items()} if image.is_reference else {},
        }
    return {"name": "MahtAI", "description": "Cases of this server", "objects": objects}


def tagged(versions: Sequence[LabelVersion]) -> dict[str, LabelVersion]:
    """Versions by the tags under which clients ask for them: a number each, the newest of every tag, the newest."""
    found = {f"version-{one.number}": one for one in versions}
    found |= {one.comment: one for one in versions if one.comment and len(one.comment) <= 64}
    return {**found, **({FINAL_TAG: versions[-1]} if versions else {})}


def _label(version: LabelVersion) -> dict[str, Any]:
    names = {part.name: part.label_value for part in version.parts.values() if hasattr(part, "label_value")}
    info = {"number": version.number, "author": version.author, "params": {"label_names": names}}
    return {"ext": ".seg.nrrd", "info": info}
