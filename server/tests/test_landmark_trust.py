"""An indeterminate result says so wherever it goes, and radii belong to the weights that they were measured on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mahtai.inference.landmarks.calibration import read_calibration
from mahtai.inference.landmarks.pipeline import LandmarkResult, detect
from mahtai.inference.landmarks.search import grey_image
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import LoadedModel, load_model
from mahtai.inference.result_files import write_landmarks
from mahtai.inference.study import StudyError
from mahtai.models.bundle import LandmarkBundle, read_bundle
from mahtai.models.config import BundleError
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume
from MahtAILib.client.markups import decode_markups

MODEL = Path(__file__).resolve().parents[2] / "models" / "ceph_mahtnet"


@pytest.fixture(scope="module")
def model() -> LoadedModel[LandmarkBundle]:
    bundle = read_bundle(MODEL)
    assert isinstance(bundle, LandmarkBundle)
    return load_model(bundle, torch.device("cpu"))


def _noise(dtype: str = "uint8", spacing: float = 0.2) -> Volume:
    array = np.random.default_rng(0).integers(0, 255, (400, 500, 1)).astype(dtype)
    return Volume(array, Geometry(array.shape, np.diag([-spacing, -spacing, 1.0, 1.0])), "nrrd")


def _detect(volume: Volume, model: LoadedModel[LandmarkBundle]) -> LandmarkResult:
    return detect(volume, model, LandmarkOptions(mm_per_unit="unknown"), lambda stage, part: None, lambda: False)


def test_the_files_of_an_indeterminate_result_say_so(model: LoadedModel[LandmarkBundle], tmp_path: Path) -> None:
    result = _detect(_noise(), model)
    files = write_landmarks(result.landmarks, result.measurements, result.summary, "isbi19", tmp_path)
    points = decode_markups(Path(files["landmarks"]).read_bytes())
    assert points.provenance["Indeterminate"] == " ".join(result.summary["reasons"])
    assert all(point.is_doubtful for point in points.points)
    measured = json.loads(Path(files["measurements"]).read_text(encoding="utf-8"))
    assert measured["indeterminate"] and measured["reasons"] == result.summary["reasons"]
    assert any(entry["value"] is not None for entry in measured["measurements"])
    assert not any(entry["classification"] or entry["possible_classes"] for entry in measured["measurements"])


def test_values_that_no_float32_holds_are_read_all_the_same() -> None:
    array = np.linspace(0, 1, 300 * 300).reshape(300, 300, 1)
    huge = grey_image(array * 1e307)
    assert torch.isfinite(huge).all()
    assert torch.allclose(huge / huge.max(), grey_image(array) / grey_image(array).max())


def test_huge_values_end_in_an_answer(model: LoadedModel[LandmarkBundle]) -> None:
    volume = _noise("float64")
    assert _detect(Volume(volume.array * 1e305, volume.geometry, "nrrd"), model).summary["indeterminate"]


def test_a_grid_beyond_all_bounds_is_explained(model: LoadedModel[LandmarkBundle]) -> None:
    with pytest.raises(StudyError, match="farther from the origin"):
        _detect(_noise(spacing=3000.0), model)


@pytest.mark.parametrize("change", ["other weights", "other landmarks", "damaged"])
def test_radii_of_other_weights_are_refused(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "ceph_mahtnet"
    shutil.copytree(MODEL, folder)
    path = folder / "configs" / "calibration.json"
    content = json.loads(path.read_text())
    if change == "other weights":
        content["weights_sha256"] = "0" * 64
    elif change == "other landmarks":
        content["radius_factor"] = content["radius_factor"][:-1]
    else:
        del content["shape"]
    path.write_text(json.dumps(content))
    bundle = read_bundle(folder)
    assert isinstance(bundle, LandmarkBundle)
    with pytest.raises(BundleError, match="cannot be read" if change == "damaged" else "other weights"):
        read_calibration(bundle)
