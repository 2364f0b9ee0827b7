"""From the volumes as they were scanned to one tensor on the model's grid: every step recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mahtai.errors import MahtaiError
from mahtai.inference.brain_mask import brain_mask
from mahtai.inference.foreground import filled_part
from mahtai.inference.intensity import zscore_foreground
from mahtai.inference.options import Options
from mahtai.inference.prediction import Cancelled
from mahtai.inference.registration import register_rigid
from mahtai.inference.sequences import SHORT_NAMES, check_sequences
from mahtai.inference.skull_stripping import is_skull_stripped
from mahtai.inference.spatial import box_of, canonical_grid, crop_grid, resample
from mahtai.models.bundle import SegmentationBundle
from mahtai.models.segmentation_bundle import MOST_MISSING
from mahtai.volumes.formats import Volume
from mahtai.volumes.geometry import Geometry, check_geometry

REFERENCE_ORDER = ("t1c", "t1", "flair", "t2")
LEAST_OVERLAP = 0.5
CROP_MARGIN_VOXELS = 4
LARGEST_MODEL_GRID = 2**27


class StudyError(MahtaiError):
    """The volumes do not make a study that this model can read."""

    kind = "study"
    title = "The study cannot be used"
    status = 422


@dataclass
class Record:
    """What was done to the study, for the result's file and the reader.

    Attributes:
        steps: one entry a step: name, whether it was done, why or with which figures.
        warnings: sentences for the reader.
        registration: channel → 4×4, RAS of the reference → RAS of the channel in mm, for those that were moved.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    registration: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, step: str, done: bool, **details: Any) -> None:
        """Note one step."""
        self.steps.append({"step": step, "done": done, **details})


@dataclass(frozen=True)
class PreparedStudy:
    """A study in the form that the network sees.

    Attributes:
        image: channels × X × Y × Z float32, z-scores inside the brain, 0 outside; missing sequences 0.
        mask: X × Y × Z bool, the brain.
        grid: where image and mask lie.
        reference: grid that the result is restored to.
        missing: channels of the model that the study lacks.
    """

    image: Tensor
    mask: Tensor
    grid: Geometry
    reference: Geometry
    missing: tuple[str, ...]


Report = Callable[[str, float], object]
R = TypeVar("R")


def choose_channels(study: Mapping[str, Volume], bundle: SegmentationBundle) -> tuple[list[str], tuple[str, ...]]:
    """The model's channels that are present, and those missing.

    Raises:
        StudyError: a channel that the model has not, or a missing one that it cannot do without.
    """
    wanted = [channel.id for channel in bundle.channels]
    unknown = sorted(set(study) - set(wanted))
    if unknown:
        raise StudyError(
            f"The model {bundle.id} has no input {', '.join(unknown)}.", f"Its inputs are {', '.join(wanted)}."
        )
    present = [channel for channel in wanted if channel in study]
    missing = tuple(channel for channel in wanted if channel not in study)
    named = ", ".join(SHORT_NAMES.get(channel, channel) for channel in missing)
    if not present:
        raise StudyError("No volume was given.", "Choose at least one sequence and run again.")
    if missing and not bundle.missing_channels_ok:
        raise StudyError(
            f"{named} missing: the model {bundle.id} was not trained to do without.",
            "Load the missing sequence, or choose a model that accepts incomplete studies.",
        )
    if len(missing) > MOST_MISSING:
        raise StudyError(
            f"Too many sequences are missing ({named}).", "At least two of T1, T1c, T2 and FLAIR are needed."
        )
    return present, missing


def prepare_study(
    study: Mapping[str, Volume],
    bundle: SegmentationBundle,
    options: Options,
    device: torch.device,
    report: Report,
    record: Record,
    cancelled: Callable[[], bool] = lambda: False,
) -> PreparedStudy:
    """Align, resample, mask, crop and normalize a study.

    Args:
        study: channel id → volume as scanned.
        record: filled with what was done.
        cancelled: asked between steps.

    Raises:
        StudyError, GeometryError, SwappedSequences, DoubledSequence: with what to do.
        Cancelled: ``cancelled`` said so.
    """
    present, missing = choose_channels(study, bundle)
    report("checking", 0.0)
    reference_name = _reference(options.reference, present)
    reference = study[reference_name].geometry
    for channel in present:
        check_geometry(study[channel].geometry)
    _check_places(study, present, reference_name, options)
    for channel in missing:
        record.warnings.append(
            f"{SHORT_NAMES.get(channel, channel)} is missing: the model did without it, confidence is lowered."
        )
    without_skull = _each(is_skull_stripped, study, present)
    stripped = {channel for channel in present if without_skull[channel]}
    movements = _register(study, present, reference_name, stripped, options, report, record, cancelled)
    report("preparing", 0.0)
    grid = _model_grid(reference, bundle, options, record)
    filled = _each(filled_part, study, present)
    grid = _around([(filled[channel].geometry, movements[channel]) for channel in present], grid)
    aligned = torch.cat(
        [
            resample(_to_tensor(part, device), part.geometry, grid, movements[channel], antialias=True)
            for channel, part in filled.items()
        ]
    )
    if cancelled():
        raise Cancelled
    mask = _brain(present, stripped, aligned, grid, options, report, record)
    if options.check_sequences == "on":
        check_sequences(aligned, mask, present)
    record.add("check sequences", options.check_sequences == "on")
    return _cropped(aligned, mask, grid, reference, present, missing, bundle, record)


def _each(look: Callable[[Volume], R], study: Mapping[str, Volume], present: list[str]) -> dict[str, R]:
    """Look at the sequences side by side: numpy and scipy let other threads run meanwhile."""
    with ThreadPoolExecutor(max(1, min(len(present), torch.get_num_threads()))) as threads:
        return dict(zip(present, threads.map(look, (study[channel] for channel in present)), strict=True))


def _reference(wanted: str, present: list[str]) -> str:
    if wanted == "auto":
        return next((name for name in REFERENCE_ORDER if name in present), present[0])
    if wanted not in present:
        raise StudyError(
            f"The reference {SHORT_NAMES.get(wanted, wanted)} is not in the study.", "Choose a sequence that is loaded."
        )
    return wanted


def _check_places(study: Mapping[str, Volume], present: list[str], reference: str, options: Options) -> None:
    """Volumes that do not overlap are of different patients or positions more often than not."""
    fixed = study[reference].geometry
    for channel in present:
        geometry = study[channel].geometry
        overlap = fixed.overlap_fraction(geometry)
        if overlap >= LEAST_OVERLAP or options.register == "on":
            continue
        distance = float(np.linalg.norm(geometry.center_ras_mm - fixed.center_ras_mm))
        raise StudyError(
            f"{SHORT_NAMES.get(channel, channel)} and {SHORT_NAMES.get(reference, reference)} do not lie in the same "
            f"place: their centres are {distance:.0f} mm apart and they share {overlap:.0%} of their space.",
            "Check that both are of the same patient and examination. If they are, run again with registration "
            "switched on, which also searches far apart.",
        )


def _register(
    study: Mapping[str, Volume],
    present: list[str],
    reference: str,
    stripped: set[str],
    options: Options,
    report: Report,
    record: Record,
    cancelled: Callable[[], bool],
) -> dict[str, np.ndarray | None]:
    """Rigid movement of each channel to the reference; None where none is needed.

    A common grid alone is no proof: scanners plan T1 before and after contrast alike while the patient
    moves. Skull-stripped volumes on a common grid have been registered by whoever stripped them.
    """
    movements: dict[str, np.ndarray | None] = {}
    others = [channel for channel in present if channel != reference]
    movements[reference] = None
    for number, channel in enumerate(others):
        movements[channel] = None
        same = study[channel].geometry.same_grid(study[reference].geometry)
        prepared = same and {channel, reference} <= stripped
        if options.register == "off" or (options.register == "auto" and prepared):
            reason = "switched off" if options.register == "off" else "skull off and on the reference's grid already"
            record.add(f"register {channel} to {reference}", False, reason=reason)
            continue
        if cancelled():
            raise Cancelled
        report("registering", number / len(others))
        found = register_rigid(study[channel], study[reference])
        record.add(
            f"register {channel} to {reference}",
            found.accepted,
            rotation_deg=round(found.rotation_deg, 3),
            translation_mm=round(found.translation_mm, 3),
            metric_before=round(found.metric_before, 5),
            metric_after=round(found.metric_after, 5),
            reason=found.reason,
            seconds=round(found.seconds, 2),
        )
        if found.accepted:
            movements[channel] = found.fixed_to_moving_ras
            record.registration[channel] = found.fixed_to_moving_ras.tolist()
    return movements


def _model_grid(reference: Geometry, bundle: SegmentationBundle, options: Options, record: Record) -> Geometry:
    spacing = bundle.spacing_mm if options.resample == "auto" else None
    grid = canonical_grid(reference, spacing, bundle.orientation)
    if math.prod(grid.shape) > LARGEST_MODEL_GRID:
        raise StudyError(
            f"At the model's voxel size the study would have {math.prod(grid.shape) / 1e6:.0f} million voxels.",
            "Crop the volumes to the head (Slicer: Crop Volume) and run again.",
        )
    old, new = reference.spacing_mm, grid.spacing_mm
    changed = not np.allclose(sorted(old), sorted(new), rtol=1e-3)
    record.add(
        "resample",
        changed,
        from_mm=[round(value, 3) for value in old],
        to_mm=[round(value, 3) for value in new],
        reason="switched off" if options.resample == "off" else "",
    )
    if changed and max(old) > 3.5:
        record.warnings.append(
            f"Slices are {max(old):.1f} mm apart: borders between slices are estimated, small lesions can be missed."
        )
    return grid


def _around(parts: list[tuple[Geometry, np.ndarray | None]], grid: Geometry) -> Geometry:
    """The part of a grid that holds what was scanned, with room for the crop to the brain.

    Args:
        parts: where each sequence lies, and its movement (RAS of the reference → RAS of the sequence).
    """
    corners = []
    for geometry, movement in parts:
        to_grid = grid.ras_to_ijk @ (np.eye(4) if movement is None else np.linalg.inv(movement)) @ geometry.ijk_to_ras
        edges = [(-0.5, count - 0.5) for count in geometry.shape]
        corners += [(to_grid @ [*corner, 1])[:3] for corner in product(*edges)]
    low = np.maximum(np.floor(np.min(corners, axis=0)).astype(int) - CROP_MARGIN_VOXELS - 1, 0)
    high = np.minimum(np.ceil(np.max(corners, axis=0)).astype(int) + CROP_MARGIN_VOXELS + 2, grid.shape)
    if (low >= high).any():
        return grid
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return crop_grid(grid, (first, second, third))


def _to_tensor(volume: Volume, device: torch.device) -> Tensor:
    """1 × I × J × K float32."""
    return torch.from_numpy(volume.array)[None].to(device)


def _brain(
    present: list[str],
    stripped: set[str],
    aligned: Tensor,
    grid: Geometry,
    options: Options,
    report: Report,
    record: Record,
) -> Tensor:
    """The brain on the model's grid, X × Y × Z bool."""
    foreground = (aligned != 0).any(0)
    if options.brain_mask == "off" or (options.brain_mask == "auto" and len(stripped) == len(present)):
        reason = "switched off" if options.brain_mask == "off" else "the skull is off already"
        record.add("brain mask", False, reason=reason)
        return foreground
    report("masking", 0.0)
    if stripped and options.brain_mask == "auto":
        named = [channel for channel in present if channel in stripped]
        indices = [present.index(channel) for channel in named]
        record.add("brain mask", True, method=f"taken from {', '.join(named)}, whose skull is off already")
        return (aligned[indices] != 0).any(0)
    source = next(channel for channel in ("t1", "t1c", *present) if channel in present)
    array = aligned[present.index(source)].cpu().numpy()
    found = brain_mask(Volume(array, grid, "prepared"), device=str(aligned.device))
    record.add("brain mask", True, method=found.method, source=source, volume_ml=round(found.volume_ml, 1))
    record.warnings.extend(warning.text for warning in found.warnings)
    return torch.from_numpy(np.ascontiguousarray(found.array)).to(aligned.device)


def _cropped(
    aligned: Tensor,
    mask: Tensor,
    grid: Geometry,
    reference: Geometry,
    present: list[str],
    missing: tuple[str, ...],
    bundle: SegmentationBundle,
    record: Record,
) -> PreparedStudy:
    if int(mask.sum()) < 1000:
        raise StudyError(
            "No brain was found in the study.",
            "Check that the volumes show a head. If they do, run again with the brain mask switched off.",
        )
    corner = box_of(mask, CROP_MARGIN_VOXELS)
    assert corner is not None
    mask = mask[corner]
    channels = []
    for channel in (item.id for item in bundle.channels):
        if channel in missing:
            channels.append(torch.zeros_like(aligned[0][corner]))
            continue
        source = aligned[present.index(channel)][corner]
        channels.append(zscore_foreground(source[None], mask & (source != 0))[0])
    record.add("crop to the brain", True, shape=[axis.stop - axis.start for axis in corner])
    record.add("z-score in the brain", True)
    return PreparedStudy(torch.stack(channels), mask, crop_grid(grid, corner), reference, missing)
