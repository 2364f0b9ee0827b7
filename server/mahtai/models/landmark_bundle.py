"""Bundles that place landmarks in a 2-D image: output channels are heatmaps, one a landmark.

Their own words in ``metadata.json`` under ``"mahtai"``: ``landmark_set``, a set of ``MahtAILib.cephalometry``
whose landmarks the outputs are, in its order. ``network_data_format`` says at which size the network
looks at the whole image, and how large its heatmaps are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mahtai.models import inference_config
from mahtai.models.bundle_base import Bundle, Description, Shape, channel_words
from mahtai.models.config import BundleError
from MahtAILib.cephalometry.landmarks import LandmarkSet, landmark_sets

CALIBRATION_FILE = "configs/calibration.json"
"""What was measured of the model; it decides the radii and so belongs to the model's identity."""

_SIZES = range(32, 4097)


@dataclass(frozen=True, kw_only=True)
class LandmarkBundle(Bundle):
    """A model that places landmarks.

    Attributes:
        landmarks: the set that it places, in the network's order.
        input_size: height and width in pixels at which the network looks at the whole image.
        heatmap_size: height and width of a heatmap.
    """

    kind = "landmarks"
    spatial_dims = 2

    landmarks: LandmarkSet
    input_size: tuple[int, int]
    heatmap_size: tuple[int, int]

    @property
    def landmark_set(self) -> str:
        """Id of the set, such as ``isbi19``."""
        return self.landmarks.id

    @property
    def output_names(self) -> tuple[str, ...]:
        """Ids of the landmarks."""
        return self.landmarks.ids

    @property
    def trial_shapes(self) -> tuple[Shape, Shape]:
        """One image at the size at which the network sees it."""
        return (1, len(self.channels), *self.input_size), (1, len(self.output_names), *self.heatmap_size)

    def own_json(self) -> dict[str, Any]:
        """The landmarks with their definitions."""
        return {
            "landmark_set": self.landmark_set,
            "landmarks": [
                {"id": one.id, "name": one.name, "definition": one.definition, "kind": one.kind}
                for one in self.landmarks.landmarks
            ],
        }


def landmark_bundle(description: Description) -> LandmarkBundle:
    """Make a bundle of its description.

    Raises:
        BundleError: the landmark set is not known, or the parts contradict each other.
        KeyError, TypeError, ValueError, AttributeError: something is missing or of the wrong kind.
    """
    model, metadata = description.folder.name, description.metadata
    wanted = str(description.extras["landmark_set"])
    found = landmark_sets().get(wanted)
    if found is None:
        raise BundleError(
            f"The model {model} places the landmark set {wanted[:50]!r}, which MahtAI does not know.",
            f"It knows {', '.join(landmark_sets())}; update MahtAI, or get another model.",
        )
    common = description.common()
    calibration = description.folder / CALIBRATION_FILE
    if calibration.is_file():
        common["config_paths"] = (*common["config_paths"], calibration)
    _check_landmarks(model, found, channel_words(metadata, "outputs"), common["network_def"])
    inference_config.check_channel_counts(
        model, common["network_def"], metadata, len(common["channels"]), len(found.landmarks)
    )
    return LandmarkBundle(
        **common,
        task=str(description.extras.get("task") or "other"),
        landmarks=found,
        input_size=_size(metadata, "inputs"),
        heatmap_size=_size(metadata, "outputs"),
    )


def _check_landmarks(model: str, wanted: LandmarkSet, named: list[str], network_def: dict[str, Any]) -> None:
    """Refuse a bundle whose outputs are not the landmarks of its set, in their order."""
    count = network_def.get("landmarks", len(named))
    if tuple(named) != wanted.ids or count != len(wanted.ids):
        raise BundleError(
            f"The outputs of {model} are not the landmarks of {wanted.name} in their order "
            f"({len(named)} named, {count} in the network, {len(wanted.ids)} in the set).",
            "The files of this model do not belong together; get it again.",
        )


def _size(metadata: dict[str, Any], side: str) -> tuple[int, int]:
    """Height and width that the metadata state.

    Raises:
        BundleError: they are not two plain numbers.
    """
    stated = inference_config.data_format(metadata, side).get("spatial_shape")
    if not isinstance(stated, list) or len(stated) != 2 or not all(n in _SIZES for n in stated):
        raise BundleError(
            f"The model does not say which size its {side} have.",
            f"Write spatial_shape (height and width) of the {side} into configs/metadata.json.",
        )
    return stated[0], stated[1]
