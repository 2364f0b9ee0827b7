"""One inference from files to files: what the engine process runs, whatever the model is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mahtai.inference.local_correction import correct_region, encode_region, read_region
from mahtai.inference.options import parse_landmark_options, parse_options, parse_options_of
from mahtai.inference.prediction import Cancelled, LoadedModel
from mahtai.inference.result_files import write_landmarks, write_preview, write_segmentation
from mahtai.inference.segmentation import SegmentationResult, Stopwatch
from mahtai.inference.studies import Studies
from mahtai.inference.study import StudyError
from mahtai.inference.study_files import read_study
from mahtai.inference.warm import tune, warm_model
from mahtai.models.bundle import Kind, LandmarkBundle, SegmentationBundle, read_bundle
from mahtai.security.at_rest.keys import GivenKeys
from mahtai.security.at_rest.sealed_files import read_file, work_place, write_file
from mahtai.volumes.planar import check_for_landmarks

InferenceCancelled = Cancelled
Report = Callable[[str, float], object]


@dataclass(frozen=True)
class InferenceRequest:
    """What to run, in plain types, so that it can cross to another process.

    Attributes:
        inputs: channel id → path of a volume's file, whose content never changes.
        device: ``auto``, ``cpu``, ``cuda`` …
        threads: of the CPU; None leaves it to PyTorch.
        cache_folder: remembers what is fastest on this machine; None for nothing.
        measure: find that out after ``load``.
        anew: do all of it again, though part of it may be in memory.
        keys: ``GivenKeys`` as JSON, where the server's files are encrypted.
    """

    model_folder: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    output_folder: str
    device: str = "auto"
    threads: int | None = None
    cache_folder: str | None = None
    measure: bool = True
    anew: bool = False
    keys: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def given_keys(self) -> GivenKeys | None:
        """To read the inputs and to write the results with."""
        return None if self.keys is None else GivenKeys.from_json(self.keys)


@dataclass(frozen=True)
class CorrectionRequest:
    """What to correct, in plain types.

    Attributes:
        inference: fields of the ``InferenceRequest`` whose result it is; ``output_folder`` is the correction's own.
        region: path of a file with labels and strokes, see ``local_correction``.
    """

    inference: Mapping[str, Any]
    region: str


@dataclass(frozen=True)
class InferenceOutput:
    """Paths of the files written, by part (``segmentation``, ``landmarks`` …), and the summary."""

    files: dict[str, str]
    summary: dict[str, Any]


_studies = Studies()


@dataclass(frozen=True)
class _Made:
    """What a pipeline made: the summary, and how its files are written into a folder."""

    summary: dict[str, Any]
    write: Callable[[Path], dict[str, str]]


def run(
    request: InferenceRequest,
    report: Report,
    cancelled: Callable[[], bool],
    preview: Callable[[str], object] | None = None,
) -> InferenceOutput:
    """Read the volumes, run the model's pipeline on them, write the result.

    Args:
        report: told the stage and the fraction of it that is done.
        preview: told the path of a coarse result, where the full one takes long; None for none.

    Raises:
        MahtaiError: with a reason and a hint for the reader.
        InferenceCancelled: nothing was written.
    """
    watch = Stopwatch()
    model = _model(request, watch, report)
    if cancelled():
        raise InferenceCancelled
    made = _PIPELINES[model.bundle.kind](request, model, report, cancelled, watch, preview)
    report("writing", 0.0)
    with watch.time("write"):
        folder = Path(request.output_folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = made.write(folder)
    timings = {**made.summary["timings_s"], **watch.seconds}
    return InferenceOutput(files, {**made.summary, "timings_s": {**timings, "total": round(sum(timings.values()), 4)}})


def perform(
    do: str,
    request: Mapping[str, Any],
    report: Report,
    cancelled: Callable[[], bool],
    preview: Callable[[str], object],
) -> InferenceOutput:
    """``run`` or ``correct``, with the request in plain types.

    Args:
        preview: told the path of a coarse result, if there is one before the full one.

    Raises:
        MahtaiError, InferenceCancelled: as those.
    """
    if do == "correct":
        return correct(CorrectionRequest(**request), report, cancelled)
    return run(InferenceRequest(**request), report, cancelled, preview)


def load(request: InferenceRequest) -> Iterator[object]:
    """Load a model, then measure how it runs fastest, a step at a time; see ``warm.tune``."""
    model = _model(request, Stopwatch(), _nothing)
    asked = parse_options_of(model.bundle.kind, request.options).precision
    return tune(model.bundle, request.device, _cache(request)) if request.measure and asked == "auto" else iter(())


def prepare(request: InferenceRequest, cancelled: Callable[[], bool]) -> None:
    """Read and prepare a study, so that a run of it only has to predict.

    Raises:
        MahtaiError, InferenceCancelled: as ``run``; nothing is kept.
    """
    model = _model(request, Stopwatch(), _nothing)
    if isinstance(model.bundle, SegmentationBundle):
        options = parse_options(request.options)
        keys = request.given_keys
        _studies.prepare(request.inputs, model, options, _nothing, cancelled, Stopwatch(), keys=keys)


def correct(request: CorrectionRequest, report: Report, cancelled: Callable[[], bool]) -> InferenceOutput:
    """Correct a region of a study's segmentation around what the reader painted.

    What the network saw and said is taken from memory, or computed again where it is not there any more.

    Raises:
        MahtaiError: with a reason and a hint for the reader.
    """
    inference = InferenceRequest(**request.inference)
    watch = Stopwatch()
    model = _model(inference, watch, report)
    options, keys, given = parse_options(inference.options), inference.given_keys, Path(request.region)
    evidence = _studies.evidence(inference.inputs, model, options, report, cancelled, watch, keys)
    with watch.time("correct"):
        region = read_region(read_file(given, work_place(given), keys))
        labels = correct_region(region, evidence, model.bundle)
    folder = Path(inference.output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "corrected.nrrd"
    write_file(path, encode_region(labels, region, watch.seconds["correct"]), work_place(path), keys)
    return InferenceOutput({"region": str(path)}, {"timings_s": watch.seconds})


def forget() -> None:
    """Give back the memory of the studies that were looked at."""
    _studies.clear()


def _nothing(_stage: str, _fraction: float) -> None:
    pass


def _model(request: InferenceRequest, watch: Stopwatch, report: Report) -> LoadedModel:
    if request.threads:
        torch.set_num_threads(request.threads)
    bundle = read_bundle(Path(request.model_folder))
    options = parse_options_of(bundle.kind, request.options)
    report("loading", 0.0)
    with watch.time("load model"):
        return warm_model(bundle, request.device, options.precision, _cache(request))


def _cache(request: InferenceRequest) -> Path | None:
    return None if request.cache_folder is None else Path(request.cache_folder)


def _segmented(
    request: InferenceRequest,
    model: LoadedModel[SegmentationBundle],
    report: Report,
    cancelled: Callable[[], bool],
    watch: Stopwatch,
    preview: Callable[[str], object] | None,
) -> _Made:
    options, keys = parse_options(request.options), request.given_keys

    def show(coarse: SegmentationResult) -> None:
        if preview is not None:
            preview(write_preview(coarse, model.bundle.labels, Path(request.output_folder), keys))

    ahead = show if preview is not None else None
    result = _studies.segment(request.inputs, model, options, report, cancelled, watch, request.anew, ahead, keys)
    return _Made(result.summary, lambda folder: write_segmentation(result, model.bundle.labels, folder, keys))


def _detected(
    request: InferenceRequest,
    model: LoadedModel[LandmarkBundle],
    report: Report,
    cancelled: Callable[[], bool],
    watch: Stopwatch,
    _preview: Callable[[str], object] | None,
) -> _Made:
    from mahtai.inference.landmarks.pipeline import detect

    bundle, keys = model.bundle, request.given_keys
    with watch.time("load volumes"):
        study = read_study(request.inputs, keys)
    if len(study) != 1 or set(study) != {channel.id for channel in bundle.channels}:
        raise StudyError(
            f"The model {bundle.id} looks at one image; {', '.join(study) or 'none'} came.",
            f"Its input is {', '.join(channel.id for channel in bundle.channels)}.",
        )
    (volume,) = study.values()
    check_for_landmarks(volume.geometry)
    result = detect(volume, model, parse_landmark_options(request.options), report, cancelled)

    def write(folder: Path) -> dict[str, str]:
        return write_landmarks(result.landmarks, result.measurements, result.summary, bundle.landmark_set, folder, keys)

    return _Made(result.summary, write)


_PIPELINES: dict[Kind, Callable[..., _Made]] = {"segmentation": _segmented, "landmarks": _detected}
