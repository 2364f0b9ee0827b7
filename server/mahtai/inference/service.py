"""One inference from files to files: what the engine process runs, whatever the model is for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mahtai.inference.options import parse_landmark_options, parse_options, parse_options_of
from mahtai.inference.prediction import Cancelled, LoadedModel, choose_device, load_model
from mahtai.inference.result_files import write_landmarks, write_segmentation
from mahtai.inference.segmentation import Stopwatch, segment
from mahtai.inference.study import StudyError
from mahtai.models.bundle import Bundle, Kind, read_bundle
from mahtai.volumes.formats import Volume, check_voxels, read_volume
from mahtai.volumes.planar import check_for_landmarks
from mahtai.volumes.volume import check_is_stack

InferenceCancelled = Cancelled
Report = Callable[[str, float], object]


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
    """Paths of the files written, by part (``segmentation``, ``landmarks`` …), and the summary."""

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


@dataclass(frozen=True)
class _Made:
    """What a pipeline made: the summary, and how its files are written into a folder."""

    summary: dict[str, Any]
    write: Callable[[Path], dict[str, str]]


def _segmented(
    study: Mapping[str, Volume],
    model: LoadedModel,
    options: Mapping[str, Any],
    report: Report,
    cancelled: Callable[[], bool],
) -> _Made:
    for volume in study.values():
        check_is_stack(volume.array.shape)
    result = segment(study, model, parse_options(options), report, cancelled)
    return _Made(result.summary, lambda folder: write_segmentation(result, model.bundle.labels, folder))


def _detected(
    study: Mapping[str, Volume],
    model: LoadedModel,
    options: Mapping[str, Any],
    report: Report,
    cancelled: Callable[[], bool],
) -> _Made:
    from mahtai.inference.landmarks.pipeline import detect

    bundle = model.bundle
    if len(study) != 1 or set(study) != {channel.id for channel in bundle.channels}:
        raise StudyError(
            f"The model {bundle.id} looks at one image; {', '.join(study) or 'none'} came.",
            f"Its input is {', '.join(channel.id for channel in bundle.channels)}.",
        )
    (volume,) = study.values()
    check_for_landmarks(volume.geometry)
    result = detect(volume, model, parse_landmark_options(options), report, cancelled)

    def write(folder: Path) -> dict[str, str]:
        return write_landmarks(result.landmarks, result.measurements, result.summary, bundle.landmark_set, folder)

    return _Made(result.summary, write)


_PIPELINES: dict[Kind, Callable[..., _Made]] = {"segmentation": _segmented, "landmarks": _detected}


def run(request: InferenceRequest, report: Report, cancelled: Callable[[], bool]) -> InferenceOutput:
    """Read the volumes, run the model's pipeline on them, write the result.

    Raises:
        MahtaiError: with a reason and a hint for the reader.
        InferenceCancelled: nothing was written.
    """
    if request.threads:
        torch.set_num_threads(request.threads)
    watch = Stopwatch()
    bundle = read_bundle(Path(request.model_folder))
    options = parse_options_of(bundle.kind, request.options)
    report("loading", 0.0)
    with watch.time("load volumes"):
        study = read_study(request.inputs)
    with watch.time("load model"):
        model = warm_model(bundle, request.device, options.precision)
    if cancelled():
        raise InferenceCancelled
    made = _PIPELINES[bundle.kind](study, model, request.options, report, cancelled)
    report("writing", 0.0)
    with watch.time("write"):
        folder = Path(request.output_folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = made.write(folder)
    timings = {**watch.seconds, **made.summary["timings_s"]}
    return InferenceOutput(files, {**made.summary, "timings_s": {**timings, "total": round(sum(timings.values()), 4)}})


def read_study(inputs: Mapping[str, str]) -> dict[str, Volume]:
    """Channel id → path of a volume's file, read and checked."""
    study = {}
    for channel, path in inputs.items():
        volume = read_volume(Path(path))
        check_voxels(volume)
        study[channel] = volume
    return study
