"""The fastest correct way to run a network: chosen by measurement, remembered, never a wrong one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mahtai.inference import runtimes, tuning, warm
from mahtai.inference.prediction import LoadedModel, load_model, predict, subject_of
from mahtai.inference.runtimes import Forward, Runtime, Subject, candidates, eager, openvino
from mahtai.inference.tuning import Trial, decided, key_of, remembered, trial_volume, trials
from mahtai.models.bundle import read_bundle

CPU = torch.device("cpu")
SIZE = (32, 32, 32)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "SIZE", SIZE)
    warm._loaded.clear()


@pytest.fixture
def tiny(models: Path) -> LoadedModel:
    return load_model(read_bundle(models / "tiny"), CPU, "fp32")


def made_up(change: float, seconds: float = 0.0, fails: str = "") -> Runtime:
    """A way to run that gives PyTorch's logits, but for a change."""

    def build(subject: Subject) -> Forward:
        plain = eager("fp32").build(subject)

        def forward(batch: Tensor) -> Tensor:
            if fails:
                raise RuntimeError(fails)
            for _ in range(round(20 * seconds)):
                plain(batch)
            return plain(batch) + change

        return forward

    return Runtime(f"made up {change} {seconds} {fails}", "fp32", build)


def measured(model: LoadedModel) -> list[Trial]:
    """All that was tried."""
    steps = trials(subject_of(model), model.probabilities, SIZE)
    return [step for step in steps if step is not None]


@pytest.mark.parametrize("runtime", candidates(CPU), ids=lambda runtime: runtime.id)
def test_each_way_to_run_gives_the_same_labels(runtime: Runtime, tiny: LoadedModel, tmp_path: Path) -> None:
    subject = subject_of(tiny, tmp_path)
    forward = runtime.build(subject)
    for size in (SIZE, (48, 32, 16)):  # the same object takes any size
        batch = trial_volume(4, size)
        expected = tiny.network(batch).sigmoid()
        found = forward(batch).sigmoid()
        assert found.dtype == torch.float32
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < (0.05 if runtime.precision != "fp32" else 1e-3)


def test_windows_do_not_share_their_memory(tiny: LoadedModel) -> None:
    forward = openvino("fp32").build(subject_of(tiny))
    first = forward(trial_volume(4, SIZE))
    kept = first.clone()
    forward(torch.zeros(1, 4, *SIZE))
    assert torch.equal(first, kept)


def test_what_is_wrong_or_fails_is_not_chosen_however_fast(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, wrong, broken = made_up(0.0, 1.0), made_up(5.0), made_up(0.0, 0.0, "no such instruction")
    nan = made_up(float("nan"))
    monkeypatch.setattr(tuning, "candidates", lambda device: (slow, wrong, broken, nan, eager("fp32")))
    done = measured(tiny)
    assert [bool(trial.remark) for trial in done] == [False, True, True, True, False]
    assert "no such instruction" in done[2].remark
    assert decided(done, SIZE).chosen == "eager fp32"


def test_what_was_measured_is_remembered_and_used_again(models: Path, tmp_path: Path) -> None:
    bundle = read_bundle(models / "tiny")
    found = warm.speed(bundle, "cpu", tmp_path)
    assert found is not None
    assert found.chosen in {runtime.id for runtime in candidates(CPU)}
    assert found.voxels_per_s > 0
    assert warm.warm_model(bundle, "cpu", "auto", tmp_path).runtime == found.chosen
    warm._loaded.clear()
    again = warm.warm_model(bundle, "cpu", "auto", tmp_path)
    assert (again.runtime, again.voxels_per_s) == (found.chosen, found.voxels_per_s)
    assert list(warm.tune(bundle, "cpu", tmp_path)) == []
    # what the reader asks for is what is done
    assert warm.warm_model(bundle, "cpu", "fp32", tmp_path).runtime == "eager fp32"


def test_a_damaged_memory_is_measured_again(models: Path, tmp_path: Path) -> None:
    bundle = read_bundle(models / "tiny")
    warm.speed(bundle, "cpu", tmp_path)
    (file,) = tmp_path.glob("*.json")
    for damage in ("", "{", json.dumps({"chosen": "eager fp32"}), "[]"):
        file.write_text(damage, encoding="utf-8")
        assert remembered(tmp_path, file.stem) is None
    steps = list(warm.tune(bundle, "cpu", tmp_path))
    assert len([step for step in steps if step is not None]) == len(candidates(CPU))
    assert steps.count(None) >= len(candidates(CPU))  # moments at which a reader is let through


def test_a_converted_network_is_read_from_the_cache_and_made_again_if_half_of_it_is_gone(
    tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(tiny, tmp_path)
    expected = openvino("fp32").build(subject)(trial_volume(4, SIZE))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bin", ".xml"]
    library = runtimes._openvino()
    with monkeypatch.context() as patch:
        patch.setattr(library, "convert_model", lambda *_a, **_k: pytest.fail("converted again"))
        assert torch.equal(openvino("fp32").build(subject)(trial_volume(4, SIZE)), expected)
    next(tmp_path.glob("*.bin")).unlink()
    assert torch.equal(openvino("fp32").build(subject)(trial_volume(4, SIZE)), expected)


def test_a_way_to_run_that_has_gone_is_done_without(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(models / "tiny")
    plain = warm.warm_model(bundle, "cpu", "auto", tmp_path)
    found = decided(measured(plain), SIZE)
    gone = made_up(0.0, 0.0)
    monkeypatch.setattr(warm, "candidates", lambda device: (Runtime(found.chosen, "bf16", _not_there), gone))
    model = warm.tuned(plain, found, tmp_path)
    assert model is plain
    assert predict(model, torch.zeros(4, 16, 16, 16), False, lambda fraction: None, lambda: False).shape[0] == 3


def _not_there(subject: Subject) -> Forward:
    raise ImportError("it was uninstalled")


def test_another_machine_library_or_number_of_threads_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key_of("a", CPU, 2), key_of("b", CPU, 2), key_of("a", CPU, 4)}
    monkeypatch.setattr(tuning, "processor", lambda: "another one")
    keys.add(key_of("a", CPU, 2))
    monkeypatch.setattr(tuning.metadata, "version", lambda name: "1.0")
    keys.add(key_of("a", CPU, 2))
    assert len(keys) == 5


def test_nothing_is_reported_to_the_makers_of_the_converter() -> None:
    runtimes._openvino()
    assert sys.modules["openvino_telemetry"] is None
