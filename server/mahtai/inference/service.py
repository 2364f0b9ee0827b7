"""One inference from files to files: what the engine process runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mahtai.inference.options import parse_options
from mahtai.inference.prediction import Cancelled, LoadedModel, choose_device, load_model
from mahtai.inference.segmentation import SegmentationResult, Stopwatch, segment
from mahtai.models.bundle import Bundle, read_bundle
from mahtai.volumes.formats import Volume, check_voxels, read_volume
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import SegmentDescription
from MahtAILib.client import nrrd

InferenceCancelled = Cancelled


@dataclass(frozen=True)
class InferenceRequest:
    """What to run, in plain types, so that it can cross to another process."""

    model_folder: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    output_folder: str
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class InferenceOutput:
    """Paths of the files written (``segmentation``, ``confidence``) and the summary."""

    files: dict[str, str]
    summary: dict[str, Any]


_loaded: dict[tuple[str, str, str, str], LoadedModel] = {}
_lock = threading.Lock()


def warm_model(bundle: Bundle, device: str, precision: str) -> LoadedModel:
    """The bundle's network, from memory if its files have not changed. One model is kept at a time."""
    key = (str(bundle.folder), bundle.sha256, device, precision)
    with _lock:
        if key not in _loaded:
            _loaded.clear()
            _loaded[key] = load_model(bundle, choose_device(device), precision)
        return _loaded[key]


def run(
    request: InferenceRequest, report: Callable[[str, float], object], cancelled: Callable[[], bool]
) -> InferenceOutput:
    """Read the volumes, segment them, write the result.

    Raises:
        MahtaiError: with a reason and a hint for the reader.
        InferenceCancelled: nothing was written.
    """
    if request.threads:
        torch.set_num_threads(request.threads)
    options = parse_options(request.options)
    watch = Stopwatch()
    report("loading", 0.0)
    with watch.time("load volumes"):
        study = read_study(request.inputs)
    with watch.time("load model"):
        model = warm_model(read_bundle(Path(request.model_folder)), request.device, options.precision)
    if cancelled():
        raise InferenceCancelled
    result = segment(study, model, options, report, cancelled)
    report("writing", 0.0)
    with watch.time("write"):
        files = write_result(result, model.bundle.labels, Path(request.output_folder))
    timings = {**watch.seconds, **result.summary["timings_s"]}
    summary = {**result.summary, "timings_s": {**timings, "total": round(sum(timings.values()), 4)}}
    return InferenceOutput(files, summary)


def read_study(inputs: Mapping[str, str]) -> dict[str, Volume]:
    """Channel id → path of a volume's file, read and checked."""
    study = {}
    for channel, path in inputs.items():
        volume = read_volume(Path(path))
        check_voxels(volume)
        study[channel] = volume
    return study


def write_result(result: SegmentationResult, segments: Sequence[SegmentDescription], folder: Path) -> dict[str, str]:
    """Write ``segmentation.seg.nrrd`` and ``confidence.nrrd``; returns their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    model = result.summary["model"]
    provenance = {
        "Model": f"{model['id']} {model['version']}",
        "ModelSHA256": model["sha256"],
        "Options": json.dumps(result.summary["options"]),
        "Steps": json.dumps(result.summary["steps"]),
        "Status": "unreviewed AI proposal",
    }
    segmentation = folder / "segmentation.seg.nrrd"
    segmentation.write_bytes(encode_segmentation(result.labelmap, result.geometry, segments, provenance))
    confidence = folder / "confidence.nrrd"
    confidence.write_bytes(
        nrrd.encode(
            result.confidence,
            result.geometry.ijk_to_ras,
            fields={"MahtAI_Content": "confidence in percent, 100 is certain"},
            encoding="gzip",
        )
    )
    return {"segmentation": str(segmentation), "confidence": str(confidence)}
