"""From a network's outputs to regions and to one label a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mahtai.models.bundle import Bundle

THRESHOLD = 0.5
TUMOUR_REGIONS = {"tc", "wt", "et"}


@dataclass(frozen=True)
class RegionMaps:
    """Regions that are reported, and how they become labels.

    Attributes:
        ids: region ids, in the order of ``probabilities``.
        probabilities: regions × X × Y × Z float32.
    """

    ids: tuple[str, ...]
    probabilities: Tensor


def regions_from_outputs(outputs: Tensor, bundle: Bundle) -> RegionMaps:
    """Name the outputs, drop the background, make ET ⊂ TC ⊂ WT hold.

    Args:
        outputs: the network's probabilities, outputs × X × Y × Z, in the bundle's order.
    """
    ids = [region.id for region in bundle.regions]
    if set(ids) == TUMOUR_REGIONS:
        core, whole, enhancing = (outputs[ids.index(name)] for name in ("tc", "wt", "et"))
        core = torch.maximum(core, enhancing)
        return RegionMaps(("wt", "tc", "et"), torch.stack([torch.maximum(whole, core), core, enhancing]))
    kept = [index for index, name in enumerate(ids) if name != "background"]
    return RegionMaps(tuple(ids[index] for index in kept), outputs[kept])


def labels_from_regions(regions: RegionMaps, bundle: Bundle) -> Tensor:
    """One label a voxel, uint8, with the label values of the bundle's segments."""
    values = {label.id: label.label_value for label in bundle.labels}
    probabilities = regions.probabilities
    if set(regions.ids) == TUMOUR_REGIONS:
        whole, core, enhancing = probabilities >= THRESHOLD
        labels = whole.to(torch.uint8) * values["ed"]
        labels[core] = values["ncr"]
        labels[enhancing] = values["et"]
        return labels
    best, index = probabilities.max(0)
    by_index = torch.tensor([values[name] for name in regions.ids], dtype=torch.uint8, device=best.device)
    # with a softmax the background holds what the regions do not
    found = best >= (THRESHOLD if bundle.activation == "sigmoid" else 1 - probabilities.sum(0))
    return torch.where(found, by_index[index], 0).to(torch.uint8)
