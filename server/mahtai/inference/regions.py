"""From a network's outputs to regions and to one label a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mahtai.inference.spatial import box_of
from mahtai.models.bundle import SegmentationBundle

THRESHOLD = 0.5
ISLAND_PROBABILITY = 0.49
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


def regions_from_outputs(outputs: Tensor, bundle: SegmentationBundle) -> RegionMaps:
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


def without_islands(regions: RegionMaps) -> tuple[RegionMaps, int]:
    """Take parts of the whole tumour without any core out of the result, except the largest part.

    On the cases of the train and validation lists such parts were nearly always false: gliosis, vessels, the
    edge of a ventricle. They are not wiped out: their probability becomes just too low for a label, so
    that they stay visible as doubtful.

    Returns:
        The regions, and how many voxels lost their label.
    """
    if set(regions.ids) != TUMOUR_REGIONS:
        return regions, 0
    box = box_of(regions.probabilities[0] >= THRESHOLD)
    if box is None:
        return regions, 0
    whole, core = (regions.probabilities[(slice(0, 2), *box)] >= THRESHOLD).cpu().numpy()
    parts, count = ndimage.label(whole)
    if count < 2:
        return regions, 0
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    dropped = np.bincount(parts[core], minlength=count + 1) == 0
    dropped[[0, int(sizes.argmax())]] = False
    island = torch.from_numpy(dropped[parts]).to(regions.probabilities.device)
    probabilities = regions.probabilities.clone()
    found = probabilities[0][box]  # a view
    found[island] = found[island].clamp(max=ISLAND_PROBABILITY)
    return RegionMaps(regions.ids, probabilities), int(sizes[dropped].sum())


def labels_from_regions(regions: RegionMaps, bundle: SegmentationBundle) -> Tensor:
    """One label a voxel, uint8, with the label values of the bundle's segments."""
    values = {label.id: label.label_value for label in bundle.labels}
    probabilities = regions.probabilities
    if set(regions.ids) == TUMOUR_REGIONS:
        whole, core, enhancing = probabilities >= THRESHOLD
        labels = whole.to(torch.uint8) * values["ed"]
        labels.masked_fill_(core, values["ncr"])
        return labels.masked_fill_(enhancing, values["et"])
    best, index = probabilities.max(0)
    by_index = torch.tensor([values[name] for name in regions.ids], dtype=torch.uint8, device=best.device)
    # with a softmax the background holds what the regions do not
    found = best >= (THRESHOLD if bundle.activation == "sigmoid" else 1 - probabilities.sum(0))
    return torch.where(found, by_index[index], 0).to(torch.uint8)
