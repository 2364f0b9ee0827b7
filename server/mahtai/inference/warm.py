"""Models kept ready in this process: loaded once, run in the fastest way that was measured on this machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from mahtai.inference.prediction import LoadedModel, choose_device, load_model, subject_of
from mahtai.inference.runtimes import candidates
from mahtai.inference.tuning import SIZE, Trial, Tuning, decided, key_of, remember, remembered, trials
from mahtai.models.bundle import Bundle, SegmentationBundle

_loaded: dict[tuple[str, str, str, str], LoadedModel] = {}
_lock = threading.Lock()
_log = logging.getLogger(__name__)


def warm_model(bundle: Bundle, device: str, precision: str = "auto", cache: Path | None = None) -> LoadedModel:
    """The bundle's network, from memory if its files have not changed. One model is kept at a time.

    Args:
        precision: ``auto`` runs it in the way that was found fastest, where that was measured.
        cache: folder that remembers the measurements.
    """
    key = (str(bundle.folder), bundle.sha256, device, precision)
    with _lock:
        if key not in _loaded:
            _loaded.clear()
            model = load_model(bundle, choose_device(device), precision)
            known = tuning_of(model, cache) if precision == "auto" else None
            _loaded[key] = model if known is None else tuned(model, known, cache)
        return _loaded[key]


def tune(bundle: Bundle, device: str, cache: Path | None = None) -> Iterator[Trial | None]:
    """Find the fastest correct way to run a model, a step at a time; from the last step on it is run so.

    See ``tuning.trials``. Nothing is measured, and nothing comes, where it is known already or where there is
    nothing to choose.
    """
    model = warm_model(bundle, device, "auto", cache)
    if not can_be_tuned(bundle) or tuning_of(model, cache) is not None:
        return
    done: list[Trial] = []
    size = trial_size(bundle)
    for trial in trials(subject_of(model, cache), model.probabilities, size):
        done += [] if trial is None else [trial]
        yield trial
    found = decided(done, size)
    remember(cache, key_of(bundle.sha256, model.device, torch.get_num_threads()), found)
    with _lock:
        key = (str(bundle.folder), bundle.sha256, device, "auto")
        if _loaded.get(key) is model:  # not if another model has taken its place meanwhile
            _loaded[key] = tuned(model, found, cache)


def speed(bundle: Bundle, device: str, cache: Path | None = None) -> Tuning | None:
    """What is fastest on this machine, measured now if it was not before; None where there is nothing to choose."""
    for _ in tune(bundle, device, cache):
        pass
    return tuning_of(warm_model(bundle, device, "auto", cache), cache) if can_be_tuned(bundle) else None


def can_be_tuned(bundle: Bundle) -> bool:
    """Whether there is more than one way to run it: true of 3-D networks."""
    return isinstance(bundle, SegmentationBundle)


def trial_size(bundle: Bundle) -> tuple[int, ...]:
    """Of the volume on which a model is measured."""
    fixed = bundle.fixed_input_size if isinstance(bundle, SegmentationBundle) else None
    return fixed or SIZE


def tuning_of(model: LoadedModel, cache: Path | None) -> Tuning | None:
    """What was measured for a model on this machine, if anything."""
    return remembered(cache, key_of(model.bundle.sha256, model.device, torch.get_num_threads()))


def tuned(model: LoadedModel, found: Tuning, cache: Path | None) -> LoadedModel:
    """The model as the measurement says; as PyTorch runs it, where that does not work any more."""
    for runtime in candidates(model.device):
        if runtime.id == found.chosen:
            try:
                return model.run_by(runtime, runtime.build(subject_of(model, cache)), found.voxels_per_s)
            except Exception as error:  # of a library that was there when it was measured
                _log.warning("%s cannot be run by %s any more: %s", model.bundle.id, runtime.id, error)
    return model
