"""The pipeline for segmentation: a study in, a labelmap with its confidence on the native grid out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mahtai.inference.confidence import doubtful_slices, region_confidence, voxel_confidence
from mahtai.inference.descriptor import describe_study
from mahtai.inference.options import Options
from mahtai.inference.prediction import LoadedModel, predict
from mahtai.inference.regions import RegionMaps, labels_from_regions, regions_from_outputs, without_islands
from mahtai.inference.sequences import SHORT_NAMES
from mahtai.inference.spatial import crop_grid, resample
from mahtai.inference.study import PreparedStudy, Record, Report, prepare_study
from mahtai.volumes.formats import Volume
from mahtai.volumes.geometry import Geometry

NOTABLE_ISLANDS_ML = 0.5


@dataclass(frozen=True)
class SegmentationResult:
    """A segmentation on the grid of the reference volume.

    Attributes:
        labelmap: I × J × K uint8: 0 background, then the label values of the bundle's segments.
        confidence: I × J × K uint8, percent; 100 is certain.
        geometry: of both.
        summary: volumes, confidence, warnings, steps and timings, ready for JSON.
    """

    labelmap: np.ndarray
    confidence: np.ndarray
    geometry: Geometry
    summary: dict[str, Any]


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``stage``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - started, 4)


def segment(
    study: Mapping[str, Volume],
    model: LoadedModel,
    options: Options,
    report: Report,
    cancelled: Callable[[], bool],
) -> SegmentationResult:
    """Segment a study.

    Args:
        study: channel id (``t1c``, ``t1``, ``t2``, ``flair``) → volume.
        report: called with a stage and the fraction of that stage that is done.
        cancelled: asked between steps.

    Raises:
        MahtaiError: the study cannot be used, with what to do.
        Cancelled: ``cancelled`` said so.
    """
    watch, record = Stopwatch(), Record()
    with watch.time("prepare"):
        prepared = prepare_study(study, model.bundle, options, model.device, report, record)
    with watch.time("network"):
        probabilities = predict_prepared(prepared, model, options, report, cancelled)
    return restore(probabilities, prepared, model, options, record, report, watch)


def predict_prepared(
    prepared: PreparedStudy, model: LoadedModel, options: Options, report: Report, cancelled: Callable[[], bool]
) -> Tensor:
    """The network's probabilities, outputs × X × Y × Z float32 on ``prepared.grid``.

    Raises:
        Cancelled, OutOfMemory: see ``predict``.
    """
    report("predicting", 0.0)
    flips = options.flips == "on"
    found = predict(model, prepared.image, flips, lambda fraction: report("predicting", fraction), cancelled)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return found


def restore(
    probabilities: Tensor,
    prepared: PreparedStudy,
    model: LoadedModel,
    options: Options,
    record: Record,
    report: Report,
    watch: Stopwatch,
) -> SegmentationResult:
    """From the network's probabilities to labels, confidence and figures on the grid of the reference.

    Args:
        record: what was done to the study before; added to.
        watch: with the time that it took so far; added to.
    """
    with watch.time("restore"):
        report("restoring", 0.0)
        regions = regions_from_outputs(probabilities, model.bundle)
        regions = RegionMaps(regions.ids, regions.probabilities * prepared.mask)
        if options.islands == "drop":
            regions = _drop_islands(regions, prepared, record)
        box = covering_box(prepared.grid, prepared.reference)
        part = crop_grid(prepared.reference, box)
        native = RegionMaps(regions.ids, resample(regions.probabilities, prepared.grid, part))
        labelmap = labels_from_regions(native, model.bundle)
        confidence = voxel_confidence(native.probabilities)
        summary = _summary(native, labelmap, confidence, box, prepared, model, options, record)
        summary["descriptor"] = describe_study(prepared.image, prepared.mask, regions, prepared.grid)
        percent = confidence.mul_(100).round_().to(torch.uint8)
        result_labels = _in_its_place(labelmap, box, prepared.reference, 0)
        result_confidence = _in_its_place(percent, box, prepared.reference, 100)
    summary["timings_s"] = watch.seconds
    return SegmentationResult(result_labels, result_confidence, prepared.reference, summary)


def covering_box(grid: Geometry, reference: Geometry) -> tuple[slice, slice, slice]:
    """The voxels of the reference whose centres can lie inside a grid; at least one along each axis."""
    to_reference = reference.ras_to_ijk @ grid.ijk_to_ras
    edges = product(*((-0.5, count - 0.5) for count in grid.shape))
    corners = np.array([(to_reference @ [*corner, 1])[:3] for corner in edges])
    # a thousandth of a voxel more, against rounding
    low = np.clip(np.floor(corners.min(0) - 1e-3).astype(int), 0, np.array(reference.shape) - 1)
    high = np.clip(np.ceil(corners.max(0) + 1e-3).astype(int) + 1, low + 1, reference.shape)
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return first, second, third


def _in_its_place(
    part: Tensor, box: tuple[slice, slice, slice], reference: Geometry, outside: int
) -> NDArray[np.uint8]:
    """A part of the reference's voxels among all of them; the first axis runs fastest, as files want it."""
    whole = np.full(reference.shape, outside, np.uint8, order="F")
    whole[box] = part.cpu().numpy()
    return whole


def _drop_islands(regions: RegionMaps, prepared: PreparedStudy, record: Record) -> RegionMaps:
    kept, voxels = without_islands(regions)
    volume_ml = round(voxels * prepared.grid.voxel_ml, 2)
    record.add("drop islands without tumour core", voxels > 0, volume_ml=volume_ml)
    if volume_ml >= NOTABLE_ISLANDS_ML:
        record.warnings.append(
            f"{volume_ml:.1f} ml in islands without tumour core were left out; they are shown as doubtful."
        )
    return kept


def _summary(
    native: RegionMaps,
    labelmap: Tensor,
    confidence: Tensor,
    box: tuple[slice, slice, slice],
    prepared: PreparedStudy,
    model: LoadedModel,
    options: Options,
    record: Record,
) -> dict[str, Any]:
    bundle, voxel_ml = model.bundle, prepared.reference.voxel_ml
    factor = float(np.prod([bundle.missing_channel_confidence.get(channel, 0.7) for channel in prepared.missing]))
    regions = {}
    known = {region.id: region for region in bundle.regions}
    for name, probability in zip(native.ids, native.probabilities, strict=True):
        found = region_confidence(probability, voxel_ml, factor)
        regions[name] = {
            "name": known[name].name,
            "segments": list(known[name].segments),
            "volume_ml": found.volume_ml,
            "volume_interval_ml": list(found.volume_interval_ml),
            "confidence": found.confidence,
            "indeterminate": found.indeterminate,
        }
    if not any(region["volume_ml"] for region in regions.values()):
        record.warnings.append("Nothing was found. That is not proof that there is nothing.")
    for region in regions.values():
        if region["indeterminate"]:
            record.warnings.append(f"{region['name']} is indeterminate: the model is not sure of its border.")
    through_plane = int(np.argmax(prepared.reference.spacing_mm))
    if np.ptp(prepared.reference.spacing_mm) < 1e-3:
        # isotropic: axial slices are what the reader scrolls through
        through_plane = int(np.argmax(np.abs(prepared.reference.direction[2])))
    doubtful = [box[through_plane].start + index for index in doubtful_slices(confidence, through_plane)]
    return {
        "segments_ml": {
            label.id: round(float(torch.count_nonzero(labelmap == label.label_value)) * voxel_ml, 3)
            for label in bundle.labels
        },
        "labels": [label.as_json() for label in bundle.labels],
        "regions": regions,
        "doubtful_slices": {"axis": through_plane, "indices": doubtful},
        "missing": [SHORT_NAMES.get(channel, channel) for channel in prepared.missing],
        "steps": record.steps,
        "registration": record.registration,
        "warnings": record.warnings,
        "options": options.as_json(),
        "model": bundle.identity,
        "device": str(model.device),
        "precision": model.precision,
        "runtime": model.runtime,
        "geometry": prepared.reference.as_json(),
    }
