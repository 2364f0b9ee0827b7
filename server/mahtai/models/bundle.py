"""A MONAI bundle as MahtAI uses it: what goes in, what comes out, which network, which weights.

Read from ``configs/metadata.json`` and ``configs/inference.json`` (or ``.yaml``) without running any
of it. What MONAI's own keys do not say stands in ``metadata.json`` under ``"mahtai"``: ``task``,
``spacing_mm``, ``orientation``, ``roi_size``, ``overlap``, ``activation``, ``missing_channels_ok``,
``missing_channel_confidence``, ``licence``, ``labels``, ``channels``, ``recipe``.
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mahtai.models import inference_config
from mahtai.models.config import BundleError, read_config
from mahtai.models.vocabulary import channel_id, channel_text, region_id, task_of_regions
from mahtai.volumes.terminology import SegmentDescription, groups_of_task, segments_of_task

WEIGHTS_FILES = ("models/model.safetensors", "models/model.pt")
"""Where the weights are looked for, the preferred one first."""

CONFIG_FILES = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
CARD_FILES = ("docs/README.md", "README.md", "model_card.md")
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "docs/license.txt")

__all__ = ["Bundle", "BundleError", "Channel", "MissingWeights", "Region", "is_bundle", "read_bundle"]


class MissingWeights(BundleError):
    """The model is only a recipe so far: a network without weights."""

    kind = "model-without-weights"
    title = "The model has no weights"


@dataclass(frozen=True)
class Channel:
    """One input sequence.

    Attributes:
        id: ``t1c``, ``t1``, ``t2``, ``flair``, or a slug of the bundle's own word.
        name, description: for a radiologist.
    """

    id: str
    name: str
    description: str


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


@dataclass(frozen=True)
class Bundle:
    """One model folder, read but not loaded.

    Attributes:
        id: name of the folder.
        task: such as ``brain-tumour``; ``other`` for one that MahtAI has no words for.
        channels: input sequences in the network's order.
        regions: output channels in the network's order.
        labels: segments of the result, with colours and codes.
        activation: ``sigmoid`` (regions overlap) or ``softmax`` (they exclude each other).
        network_def: ``_target_`` and plain arguments of the network.
        spacing_mm, orientation: of the grid that the network was trained on; axis codes such as ``LPS``.
        roi_size, overlap: sliding window in voxels, and the share by which windows overlap.
        weights_path: None for a recipe.
        missing_channels_ok: trained with sequence dropout, so that a sequence may be left out.
        missing_channel_confidence: channel id → what is left of the confidence without it, 0..1.
        metrics: as the metadata states them.
    """

    id: str
    name: str
    version: str
    description: str
    task: str
    folder: Path
    channels: tuple[Channel, ...]
    regions: tuple[Region, ...]
    labels: tuple[SegmentDescription, ...]
    activation: str
    network_def: dict[str, Any] = field(hash=False)
    spacing_mm: tuple[float, float, float]
    orientation: str
    roi_size: tuple[int, int, int]
    overlap: float
    weights_path: Path | None
    missing_channels_ok: bool
    missing_channel_confidence: dict[str, float] = field(hash=False)
    recipe: bool
    licence: str
    intended_use: str
    card: str
    metrics: dict[str, Any] = field(hash=False)
    config_paths: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """Identity of what decides a result: configuration and weights together."""
        files = [*self.config_paths, *([self.weights_path] if self.weights_path else [])]
        digests = [f"{path.name} {file_sha256(path)}" for path in files]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def fixed_input_size(self) -> tuple[int, int, int] | None:
        """The only patch size in voxels that the network takes (UNETR), or None where any will do."""
        size = self.network_def.get("img_size")
        if size is None:
            return None
        first, second, third = (int(side) for side in ([size] * 3 if isinstance(size, int) else size))
        return first, second, third

    @property
    def state(self) -> str:
        """``ready``, ``recipe, no weights`` or ``weights missing``, as the list of models shows it."""
        if self.weights_path:
            return "ready"
        return "recipe, no weights" if self.recipe else "weights missing"

    def require_weights(self) -> Path:
        """The weights file.

        Raises:
            MissingWeights: there is none.
        """
        if self.weights_path is not None:
            return self.weights_path
        wanted = " or ".join(WEIGHTS_FILES)
        if self.recipe:
            raise MissingWeights(
                f"{self.name} ({self.id}) is a recipe: it says how to train the network, but has no weights yet.",
                "Train it with `mahtai train` (its folder, and a folder of cases), or choose another model.",
            )
        raise MissingWeights(
            f"The weights of {self.name} ({self.id}) are missing: there is no {wanted} in its folder.",
            f"Get it again with `mahtai models pull {self.id}`, or choose another model.",
        )

    def as_json(self) -> dict[str, Any]:
        """What the API tells of a model; no paths of this machine."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "task": self.task,
            "state": self.state,
            "channels": [{"id": c.id, "name": c.name, "description": c.description} for c in self.channels],
            "regions": [
                {"id": region.id, "name": region.name, "segments": list(region.segments)} for region in self.regions
            ],
            "labels": [label.as_json() for label in self.labels],
            "missing_channels_ok": self.missing_channels_ok,
            "spacing_mm": list(self.spacing_mm),
            "network": self.network_def["_target_"],
            "licence": self.licence,
            "intended_use": self.intended_use,
            "metrics": self.metrics,
            "sha256": self.sha256,
        }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; remembered as long as its size and time of change stay the same."""
    stat = path.stat()
    return _file_sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_bundle(folder: Path) -> bool:
    """Whether the folder claims to be a bundle at all."""
    return (folder / "configs" / "metadata.json").is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read a model folder.

    Raises:
        BundleError: a file is missing or damaged, or the parts contradict each other.
    """
    metadata_path = folder / "configs" / "metadata.json"
    config_path = next((folder / name for name in CONFIG_FILES if (folder / name).is_file()), None)
    if not metadata_path.is_file() or config_path is None:
        missing = "configs/metadata.json" if config_path else "configs/inference.json"
        raise BundleError(f"{folder.name} has no {missing}.", "Choose the folder of a complete MONAI bundle.")
    metadata, config = read_config(metadata_path), read_config(config_path)
    extras = metadata.get("mahtai", {})
    try:
        channels = _channels(metadata, extras)
        regions = _regions(metadata)
        task = str(extras.get("task") or task_of_regions({region.id for region in regions}) or "other")
        labels = _labels(extras, task, regions)
        network_def = inference_config.network_definition(config)
        inference_config.check_channel_counts(folder.name, network_def, metadata, len(channels), len(regions))
        return Bundle(
            id=folder.name,
            name=str(metadata.get("name", folder.name)),
            version=str(metadata.get("version", "unknown")),
            description=str(metadata.get("description", "")),
            task=task,
            folder=folder,
            channels=channels,
            regions=_for_readers(regions, task, labels),
            labels=labels,
            activation=inference_config.activation(config, extras, [region.id for region in regions]),
            network_def=network_def,
            spacing_mm=inference_config.spacing_mm(config, metadata, extras),
            orientation=inference_config.orientation(config, extras),
            roi_size=inference_config.roi_size(config, metadata, extras),
            overlap=inference_config.overlap(config, extras),
            weights_path=next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None),
            missing_channels_ok=bool(extras.get("missing_channels_ok", False)),
            missing_channel_confidence={
                str(name): float(value) for name, value in extras.get("missing_channel_confidence", {}).items()
            },
            recipe=bool(extras.get("recipe", False)),
            licence=str(extras.get("licence") or _licence(folder) or metadata.get("copyright", "unknown")),
            intended_use=str(metadata.get("intended_use", "")),
            card=_first_text(folder, CARD_FILES),
            metrics=dict(metadata.get("eval_metrics", {})),
            config_paths=(metadata_path, config_path),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"The description of the model {folder.name} is not complete: {type(error).__name__} {error}.",
            "Compare configs/metadata.json with another bundle's, or get the model again.",
        ) from error


def _channel_words(metadata: dict[str, Any], side: str) -> list[str]:
    """The ``channel_def`` of an input or output as words in channel order."""
    definition = inference_config.data_format(metadata, side)["channel_def"]
    return [str(definition[key]) for key in sorted(definition, key=int)]


def _channels(metadata: dict[str, Any], extras: dict[str, Any]) -> tuple[Channel, ...]:
    own_words = extras.get("channels", {})
    channels = []
    for word in _channel_words(metadata, "inputs"):
        channel = channel_id(word)
        name, description = channel_text(channel)
        own = own_words.get(channel, {})
        channels.append(Channel(channel, own.get("name", name), own.get("description", description)))
    if len({channel.id for channel in channels}) != len(channels):
        raise BundleError(
            "Two input channels of the model have the same name.", "Correct channel_def in configs/metadata.json."
        )
    return tuple(channels)


def _regions(metadata: dict[str, Any]) -> tuple[Region, ...]:
    words = _channel_words(metadata, "outputs")
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


def _first_text(folder: Path, names: tuple[str, ...]) -> str:
    for name in names:
        if (folder / name).is_file():
            return (folder / name).read_text("utf-8", errors="replace")
    return ""


def _licence(folder: Path) -> str:
    text = _first_text(folder, LICENCE_FILES)
    if "Apache License" in text:
        return "Apache-2.0"
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
