"""From a model folder to the bundle that it holds, whatever it is for."""

from __future__ import annotations

from pathlib import Path

from mahtai.models.bundle_base import Bundle, Channel, Description, Kind, MissingWeights
from mahtai.models.config import BundleError, read_config
from mahtai.models.landmark_bundle import LandmarkBundle, landmark_bundle
from mahtai.models.segmentation_bundle import Region, SegmentationBundle, segmentation_bundle

__all__ = [
    "Bundle",
    "BundleError",
    "Channel",
    "Kind",
    "LandmarkBundle",
    "MissingWeights",
    "Region",
    "SegmentationBundle",
    "is_bundle",
    "read_bundle",
]

CONFIG_FILES = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")


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
        description = Description(folder, metadata, config, extras, (metadata_path, config_path))
        return landmark_bundle(description) if "landmark_set" in extras else segmentation_bundle(description)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BundleError(
            f"The description of the model {folder.name} is not complete: {type(error).__name__} {error}.",
            "Compare configs/metadata.json with another bundle's, or get the model again.",
        ) from error
