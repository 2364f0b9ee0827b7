"""Bundles that segment: output channels are regions, regions are made of labelled segments.

Their own words in ``metadata.json`` under ``"mahtai"``: ``spacing_mm``, ``orientation``, ``roi_size``,
``overlap``, ``activation``, ``missing_channels_ok``, ``missing_channel_confidence``, ``labels``.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from typing import Any

from mahtai.models import inference_config
from mahtai.models.bundle_base import Bundle, Description, Shape, channel_words
from mahtai.models.vocabulary import region_id, task_of_regions
from mahtai.volumes.terminology import SegmentDescription, groups_of_task, segments_of_task

MOST_MISSING = 2
"""Sequences that may be left out at most, by a model that was trained to do without some."""

_TRIAL_VOXELS = 32


@dataclass(frozen=True)
class Region:
    """One output channel.

    Attributes:
        id: ``tc``, ``wt``, ``et``, or a slug of the bundle's own word.
        name: for the reader.
        segments: ids of the segments that make it up.
    """

    id: str
    name: str
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SegmentationBundle(Bundle):
    """A model that segments 3-D volumes.

    Attributes:
        regions: output channels in the network's order.
        labels: segments of the result, with colours and codes.
        activation: ``sigmoid`` (regions overlap) or ``softmax`` (they exclude each other).
        spacing_mm, orientation: of the grid that the network was trained on; axis codes such as ``LPS``.
        roi_size, overlap: sliding window in voxels, and the share by which windows overlap.
        missing_channels_ok: trained with sequence dropout, so that a sequence may be left out.
        missing_channel_confidence: channel id → what is left of the confidence without it, 0..1.
    """

    kind = "segmentation"
    spatial_dims = 3

    regions: tuple[Region, ...]
    labels: tuple[SegmentDescription, ...]
    activation: str
    spacing_mm: tuple[float, float, float]
    orientation: str
    roi_size: tuple[int, int, int]
    overlap: float
    missing_channels_ok: bool
    missing_channel_confidence: dict[str, float] = field(hash=False)

    @property
    def fixed_input_size(self) -> tuple[int, int, int] | None:
        """The only patch size in voxels that the network takes (UNETR), or None where any will do."""
        size = self.network_def.get("img_size")
        if size is None:
            return None
        first, second, third = (int(side) for side in ([size] * 3 if isinstance(size, int) else size))
        return first, second, third

    @property
    def output_names(self) -> tuple[str, ...]:
        """Ids of the regions."""
        return tuple(region.id for region in self.regions)

    @property
    def trial_shapes(self) -> tuple[Shape, Shape]:
        """A small window, unless the network was built for one size only."""
        fixed = "img_size" in self.network_def
        window = self.roi_size if fixed else (_TRIAL_VOXELS, _TRIAL_VOXELS, _TRIAL_VOXELS)
        return (1, len(self.channels), *window), (1, len(self.regions), *window)

    def can_do_without(self, missing: tuple[str, ...]) -> bool:
        """Whether the model was trained with sequence dropout, and enough is left."""
        return not missing or (self.missing_channels_ok and len(missing) <= MOST_MISSING)

    def own_json(self) -> dict[str, Any]:
        """Regions, labels and the grid."""
        return {
            "regions": [
                {"id": region.id, "name": region.name, "segments": list(region.segments)} for region in self.regions
            ],
            "labels": [label.as_json() for label in self.labels],
            "missing_channels_ok": self.missing_channels_ok,
            "spacing_mm": list(self.spacing_mm),
        }


def segmentation_bundle(description: Description) -> SegmentationBundle:
    """Make a bundle of its description.

    Raises:
        BundleError: the parts contradict each other.
        KeyError, TypeError, ValueError, AttributeError: something is missing or of the wrong kind.
    """
    metadata, config, extras = description.metadata, description.config, description.extras
    regions = _regions(metadata)
    task = str(extras.get("task") or task_of_regions({region.id for region in regions}) or "other")
    labels = _labels(extras, task, regions)
    common = description.common()
    inference_config.check_channel_counts(
        description.folder.name, common["network_def"], metadata, len(common["channels"]), len(regions)
    )
    return SegmentationBundle(
        **common,
        task=task,
        regions=_for_readers(regions, task, labels),
        labels=labels,
        activation=inference_config.activation(config, extras, [region.id for region in regions]),
        spacing_mm=inference_config.spacing_mm(config, metadata, extras),
        orientation=inference_config.orientation(config, extras),
        roi_size=inference_config.roi_size(config, metadata, extras),
        overlap=inference_config.overlap(config, extras),
        missing_channels_ok=bool(extras.get("missing_channels_ok", False)),
        missing_channel_confidence={
            str(name): float(value) for name, value in extras.get("missing_channel_confidence", {}).items()
        },
    )


def _regions(metadata: dict[str, Any]) -> tuple[Region, ...]:
    words = channel_words(metadata, "outputs")
    return tuple(Region(region_id(word), word) for word in words)


def _for_readers(regions: tuple[Region, ...], task: str, labels: tuple[SegmentDescription, ...]) -> tuple[Region, ...]:
    groups = {group.id: group for group in groups_of_task(task)}
    present = {label.id for label in labels}

    def named(region: Region) -> Region:
        group = groups.get(region.id)
        if group is None:
            return Region(region.id, region.name, (region.id,) if region.id in present else ())
        return Region(region.id, group.name, tuple(segment for segment in group.segments if segment in present))

    return tuple(named(region) for region in regions)


def _labels(extras: dict[str, Any], task: str, regions: tuple[Region, ...]) -> tuple[SegmentDescription, ...]:
    if "labels" in extras:
        return tuple(SegmentDescription.from_json(item) for item in extras["labels"])
    known = segments_of_task(task)
    if known:
        return known
    # without better knowledge every output is a segment; golden-angle hues tell neighbours apart
    foreground = [region for region in regions if region.id != "background"]
    return tuple(
        SegmentDescription(region.id, region.name, value, _hue((value - 1) * 137.5))
        for value, region in enumerate(foreground, start=1)
    )


def _hue(degrees: float) -> tuple[int, int, int]:
    """A bright colour of that hue, RGB 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(degrees / 360 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
