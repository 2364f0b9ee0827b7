"""What is known of a study already is not computed again, and a second look sees the same as the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mahtai.inference.options import Options
from mahtai.inference.prediction import Cancelled, LoadedModel, load_model
from mahtai.inference.segmentation import SegmentationResult, Stopwatch, segment
from mahtai.inference.studies import Studies
from mahtai.inference.study_cache import MOST_STUDIES
from mahtai.inference.study_files import read_study
from mahtai.models.bundle import read_bundle
from studies import synthetic_study

QUICK = {"register": "off", "brain_mask": "off", "check_sequences": "off"}


@pytest.fixture(scope="module")
def model(models: Path) -> LoadedModel:
    return load_model(read_bundle(models / "tiny_dropout"), torch.device("cpu"), "fp32")


def files(folder: Path, seed: int = 0) -> dict[str, str]:
    """Channel id → file of a study's volume."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for channel, data in synthetic_study(seed).items():
        path = folder / f"{channel}-{seed}.nrrd"
        path.write_bytes(data)
        paths[channel] = str(path)
    return paths


def look(
    studies: Studies, inputs: dict[str, str], model: LoadedModel, anew: bool = False, show: Any = None, **options: str
) -> tuple[SegmentationResult, set[str]]:
    """One run, and the stages that it took."""
    watch = Stopwatch()
    result = studies.segment(
        inputs, model, Options(**QUICK, **options), lambda stage, fraction: None, lambda: False, watch, anew, show
    )
    return result, set(watch.seconds)


def test_the_result_is_that_of_the_plain_pipeline(model: LoadedModel, tmp_path: Path) -> None:
    inputs = files(tmp_path)
    result, stages = look(Studies(), inputs, model)
    plain = segment(read_study(inputs), model, Options(**QUICK), lambda stage, fraction: None, lambda: False)
    assert stages == {"load volumes", "prepare", "network", "restore"}
    assert np.array_equal(result.labelmap, plain.labelmap)
    assert np.array_equal(result.confidence, plain.confidence)
    assert result.summary["steps"] == plain.summary["steps"]
    assert result.summary["reused"] == {}


def test_a_study_that_was_prepared_ahead_is_only_predicted(model: LoadedModel, tmp_path: Path) -> None:
    studies, inputs = Studies(), files(tmp_path)
    studies.prepare(inputs, model, Options(**QUICK), lambda stage, fraction: None, lambda: False, Stopwatch())
    result, stages = look(studies, inputs, model)
    assert stages == {"network", "restore"}
    assert set(result.summary["reused"]) == {"load volumes", "prepare"}
    fresh, _ = look(Studies(), inputs, model)
    assert np.array_equal(result.labelmap, fresh.labelmap)
    assert result.summary["steps"] == fresh.summary["steps"]


@pytest.mark.parametrize(
    ("second", "stages"),
    [
        ({"islands": "keep"}, {"restore"}),
        ({"flips": "on"}, {"network", "restore"}),
        ({"reference": "flair"}, {"load volumes", "prepare", "network", "restore"}),
        ({"resample": "off"}, {"load volumes", "prepare", "network", "restore"}),
    ],
)
def test_another_option_costs_what_depends_on_it(
    model: LoadedModel, tmp_path: Path, second: dict[str, str], stages: set[str]
) -> None:
    studies, inputs = Studies(), files(tmp_path)
    look(studies, inputs, model)
    again, taken = look(studies, inputs, model, **second)
    fresh, _ = look(Studies(), inputs, model, **second)
    assert taken == stages
    assert np.array_equal(again.labelmap, fresh.labelmap)
    assert again.summary["steps"] == fresh.summary["steps"]


def test_a_study_whose_sequences_were_checked_serves_without_the_check_but_not_the_other_way(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahtai.inference.study.check_sequences", lambda image, mask, channels: None)
    unchecked = {key: value for key, value in QUICK.items() if key != "check_sequences"}
    studies, inputs, watch = Studies(), files(tmp_path), Stopwatch()
    for checks, stages in (("off", 2), ("on", 2), ("off", 0)):
        watch.seconds.clear()
        options = Options(**unchecked, check_sequences=checks, islands="keep")
        if checks == "off" and stages == 0:
            studies._cache._kept.popitem(last=False)  # the unchecked one goes
        studies.prepare(inputs, model, options, lambda stage, fraction: None, lambda: False, watch)
        assert len(watch.seconds) == stages


def test_looking_twice_does_not_add_steps_twice(model: LoadedModel, tmp_path: Path) -> None:
    studies, inputs = Studies(), files(tmp_path)
    first, _ = look(studies, inputs, model)
    second, stages = look(studies, inputs, model)
    assert stages == {"restore"}
    assert first.summary["steps"] == second.summary["steps"]
    assert np.array_equal(first.labelmap, second.labelmap)


def test_anew_means_all_of_it(model: LoadedModel, tmp_path: Path) -> None:
    studies, inputs = Studies(), files(tmp_path)
    look(studies, inputs, model)
    _, stages = look(studies, inputs, model, anew=True)
    assert stages == {"load volumes", "prepare", "network", "restore"}


def test_memory_is_bounded_and_given_back(model: LoadedModel, tmp_path: Path) -> None:
    studies = Studies()
    inputs = [files(tmp_path, seed) for seed in range(MOST_STUDIES + 1)]
    for one in inputs:
        look(studies, one, model)
    assert look(studies, inputs[-1], model)[1] == {"restore"}
    assert "prepare" in look(studies, inputs[0], model)[1]
    studies.clear()
    assert "prepare" in look(studies, inputs[-1], model)[1]


def test_a_preparation_that_is_given_up_leaves_nothing_behind(model: LoadedModel, tmp_path: Path) -> None:
    studies, inputs = Studies(), files(tmp_path)
    with pytest.raises(Cancelled):
        studies.prepare(inputs, model, Options(**QUICK), lambda stage, fraction: None, lambda: True, Stopwatch())
    assert "prepare" in look(studies, inputs, model)[1]


def test_a_coarse_result_comes_first_where_the_full_one_takes_long(model: LoadedModel, tmp_path: Path) -> None:
    inputs, shown = files(tmp_path), []
    slow = model.run_by(_Named("slow"), model.logits, 1.0)
    result, stages = look(Studies(), inputs, slow, show=shown.append)
    (coarse,) = shown
    assert "preview" in stages
    # voxels twice as large, in the same place
    assert np.allclose(coarse.geometry.spacing_mm, 2 * np.asarray(result.geometry.spacing_mm), rtol=1e-3)
    grid = coarse.geometry
    edges = [grid.ijk_to_ras @ [*(np.array(grid.shape) * end - 0.5), 1] for end in (0.0, 1.0)]
    inside = [result.geometry.ras_to_ijk @ edge for edge in edges]
    for point in inside:
        assert (point[:3] > -10).all()
        assert (point[:3] < np.array(result.geometry.shape) + 10).all()
    fast = model.run_by(_Named("fast"), model.logits, 1e12)
    assert "preview" not in look(Studies(), inputs, fast, show=shown.append)[1]


class _Named:
    precision = "fp32"

    def __init__(self, name: str) -> None:
        self.id = name
