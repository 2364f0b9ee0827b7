"""A MONAI bundle as MahtAI uses it: what every model has, whatever it is for.

Read from ``configs/metadata.json`` and ``configs/inference.json`` (or ``.yaml``) without running any
of it. What MONAI's own keys do not say stands in ``metadata.json`` under ``"mahtai"``: ``task``,
``channels``, ``licence``, ``recipe`` here, and what the kind of model needs in ``segmentation_bundle``
and ``landmark_bundle``. A bundle that names a ``landmark_set`` places landmarks, any other one segments.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from mahtai.models import inference_config
from mahtai.models.checksums import file_sha256, is_as_made
from mahtai.models.config import BundleError
from mahtai.models.serving import split_name, version_name
from mahtai.models.vocabulary import channel_id, channel_text

WEIGHTS_FILES = ("models/model.safetensors", "models/model.pt")
"""Where the weights are looked for, the preferred one first."""

CARD_FILES = ("docs/README.md", "README.md", "model_card.md")
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "docs/license.txt")

Kind = Literal["segmentation", "landmarks"]
"""What a model makes of its inputs; the parts of its result are named after it."""

Shape = tuple[int, ...]


class MissingWeights(BundleError):
    """The model is only a recipe so far: a network without weights."""

    kind = "model-without-weights"
    title = "The model has no weights"


class DamagedWeights(BundleError):
    """The weights are not those that were trained: results would be wrong without anybody noticing."""

    kind = "model-damaged"
    title = "The model's weights are damaged"


@dataclass(frozen=True)
class Channel:
    """One input: a sequence, or an image.

    Attributes:
        id: ``t1c``, ``t1``, ``t2``, ``flair``, ``ceph``, or a slug of the bundle's own word.
        name, description: for a radiologist.
    """

    id: str
    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Bundle(ABC):
    """One model folder, read but not loaded.

    Attributes:
        id: name of the folder, without the number of the version (``brats_segresnet@2``).
        task: such as ``brain-tumour`` or ``cephalometry``; ``other`` for one that MahtAI has no words for.
        channels: inputs in the network's order.
        network_def: ``_target_`` and plain arguments of the network.
        weights_path: None for a recipe.
        metrics: as the metadata states them.
    """

    kind: ClassVar[Kind]
    spatial_dims: ClassVar[int]

    id: str
    name: str
    version: str
    description: str
    task: str
    folder: Path
    channels: tuple[Channel, ...]
    network_def: dict[str, Any] = field(hash=False)
    weights_path: Path | None
    recipe: bool
    licence: str
    intended_use: str
    card: str
    metrics: dict[str, Any] = field(hash=False)
    config_paths: tuple[Path, ...]

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """Ids of the network's output channels, in its order."""

    @property
    @abstractmethod
    def trial_shapes(self) -> tuple[Shape, Shape]:
        """A small input that the network takes, and the output that it must give: batch × channels × places."""

    @abstractmethod
    def own_json(self) -> dict[str, Any]:
        """What the API tells of this kind of model, on top of what every model has."""

    def can_do_without(self, missing: tuple[str, ...]) -> bool:
        """Whether the model was trained to do without these channels."""
        return not missing

    @property
    def sha256(self) -> str:
        """Identity of what decides a result: configuration and weights together."""
        files = [*self.config_paths, *([self.weights_path] if self.weights_path else [])]
        digests = [f"{path.name} {file_sha256(path)}" for path in files]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def number(self) -> int:
        """Of the version; 0 is the model as it came."""
        return split_name(self.folder.name)[1] or 0

    @property
    def version_name(self) -> str:
        """Id and number, such as ``brats_segresnet@2``."""
        return version_name(self.id, self.number)

    @property
    def identity(self) -> dict[str, str]:
        """Which model it is, as every result names it."""
        return {"id": self.id, "name": self.name, "version": self.version, "sha256": self.sha256}

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
            DamagedWeights: it does not hold what its checksum says.
        """
        if self.weights_path is not None:
            if not is_as_made(self.weights_path):
                raise DamagedWeights(
                    f"{self.weights_path.name} of {self.name} ({self.version_name}) does not hold what its checksum "
                    "says, so it is not used.",
                    "Choose another model, or bring the file back: from where the model came, or for one that was "
                    "trained here with `mahtai doctor --repair --from BACKUP`.",
                )
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
            "kind": self.kind,
            "state": self.state,
            "channels": [{"id": c.id, "name": c.name, "description": c.description} for c in self.channels],
            **self.own_json(),
            "network": self.network_def["_target_"],
            "licence": self.licence,
            "intended_use": self.intended_use,
            "metrics": self.metrics,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Description:
    """The two configuration files of a bundle, read.

    Attributes:
        metadata, config: contents of ``metadata.json`` and of ``inference.json`` or ``.yaml``.
        extras: what MahtAI's own key of the metadata holds.
    """

    folder: Path
    metadata: dict[str, Any]
    config: dict[str, Any]
    extras: dict[str, Any]
    paths: tuple[Path, ...]

    def common(self) -> dict[str, Any]:
        """Fields that every bundle has, except ``task``.

        Raises:
            BundleError: the parts contradict each other.
            KeyError, TypeError, ValueError, AttributeError: something is missing or of the wrong kind.
        """
        folder, metadata, extras = self.folder, self.metadata, self.extras
        return {
            "id": split_name(folder.name)[0],
            "name": str(metadata.get("name", folder.name)),
            "version": str(metadata.get("version", "unknown")),
            "description": str(metadata.get("description", "")),
            "folder": folder,
            "channels": _channels(metadata, extras),
            "network_def": inference_config.network_definition(self.config),
            "weights_path": next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None),
            "recipe": bool(extras.get("recipe", False)),
            "licence": str(extras.get("licence") or _licence(folder) or metadata.get("copyright", "unknown")),
            "intended_use": str(metadata.get("intended_use", "")),
            "card": _first_text(folder, CARD_FILES),
            "metrics": dict(metadata.get("eval_metrics", {})),
            "config_paths": self.paths,
        }


def channel_words(metadata: dict[str, Any], side: str) -> list[str]:
    """The ``channel_def`` of an input or output as words in channel order."""
    definition = inference_config.data_format(metadata, side)["channel_def"]
    return [str(definition[key]) for key in sorted(definition, key=int)]


def _channels(metadata: dict[str, Any], extras: dict[str, Any]) -> tuple[Channel, ...]:
    own_words = extras.get("channels", {})
    channels = []
    for word in channel_words(metadata, "inputs"):
        channel = channel_id(word)
        name, description = channel_text(channel)
        own = own_words.get(channel, {})
        channels.append(Channel(channel, own.get("name", name), own.get("description", description)))
    if len({channel.id for channel in channels}) != len(channels):
        raise BundleError(
            "Two input channels of the model have the same name.", "Correct channel_def in configs/metadata.json."
        )
    return tuple(channels)


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
