"""From an image to landmarks with the shipped model: right places on every grid, and doubt where doubt is due."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from mahtai.inference.landmarks.pipeline import LandmarkResult, detect
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import LoadedModel, load_model
from mahtai.models.bundle import LandmarkBundle, read_bundle
from mahtai.training.landmarks.dataset import Cephalogram, read_cephalograms, read_grey
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume
from MahtAILib.client import nrrd

MODEL = Path(__file__).resolve().parents[2] / "models" / "ceph_mahtnet"
CLOSE_MM = 2.0
"""Mean error that an image known from training stays below however it is turned."""


@pytest.fixture(scope="module")
def model() -> LoadedModel[LandmarkBundle]:
    bundle = read_bundle(MODEL)
    assert isinstance(bundle, LandmarkBundle)
    return load_model(bundle, torch.device("cpu"))


@pytest.fixture(scope="module")
def head(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """A real image at half its size (height × width, 0.2 mm), and the readers' mean in its pixels."""
    image: Cephalogram = read_cephalograms(shared_data / "ceph_isbi2015", "train")[20]
    grey = read_grey(image.path)[: 2400 // 2 * 2, : 1935 // 2 * 2]
    halved = grey.reshape(grey.shape[0] // 2, 2, grey.shape[1] // 2, 2).mean((1, 3)).astype(np.uint8)
    return halved, (image.mean + 0.5) / 2 - 0.5


def _volume(grey: np.ndarray, ijk_to_ras: np.ndarray | None = None) -> Volume:
    array = np.ascontiguousarray(grey.T)[:, :, None]
    matrix = np.diag([-0.2, -0.2, 1.0, 1.0]) if ijk_to_ras is None else ijk_to_ras
    return Volume(array, Geometry(array.shape, matrix), "nrrd")


def _found(volume: Volume, model: LoadedModel[LandmarkBundle], **options: str) -> LandmarkResult:
    return detect(volume, model, LandmarkOptions(**options), lambda stage, fraction: None, lambda: False)


def _pixels(result: LandmarkResult) -> np.ndarray:
    return np.array([entry["pixel"] for entry in result.summary["landmarks"].values()])


TURNS = {
    "as shown": (lambda grey: grey, lambda p, h, w: p, 0, "right"),
    "facing left": (lambda grey: grey[:, ::-1], lambda p, h, w: np.c_[w - 1 - p[:, 0], p[:, 1]], 0, "left"),
    "upside down": (lambda grey: grey[::-1, ::-1], lambda p, h, w: np.array([w - 1, h - 1]) - p, 180, "right"),
    "clockwise": (lambda grey: np.rot90(grey, -1), lambda p, h, w: np.c_[h - 1 - p[:, 1], p[:, 0]], 90, "right"),
    "anticlockwise": (lambda grey: np.rot90(grey), lambda p, h, w: np.c_[p[:, 1], w - 1 - p[:, 0]], 270, "right"),
    "mirrored on its head": (lambda grey: grey[::-1], lambda p, h, w: np.c_[p[:, 0], h - 1 - p[:, 1]], 180, "left"),
}


@pytest.mark.parametrize("turn", TURNS)
def test_the_points_lie_in_the_image_as_it_is_shown(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle], turn: str
) -> None:
    grey, truth = head
    turned, places, degrees, facing = TURNS[turn]
    result = _found(_volume(np.ascontiguousarray(turned(grey))), model)
    wanted = places(truth, *grey.shape)
    assert np.linalg.norm(_pixels(result) - wanted, axis=1).mean() * 0.2 < CLOSE_MM
    assert result.summary["image"]["rotation_deg"] == degrees
    assert result.summary["image"]["facing"] == facing
    assert not result.summary["indeterminate"]
    assert any("The image was taken as" in text for text in result.summary["warnings"]) == (turn != "as shown")


GRIDS = {
    "as Slicer loads a PNG": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "fine, shifted": np.array([[-0.2, 0, 0, 40], [0, -0.2, 0, -15], [0, 0, 1, 7], [0, 0, 0, 1.0]]),
    "left-handed": np.array([[0.2, 0, 0, 5], [0, -0.2, 0, 5], [0, 0, 1, 5], [0, 0, 0, 1.0]]),
    "standing in space": np.array([[0, 0, 1, -30], [-0.2, 0, 0, 100], [0, -0.2, 0, 90], [0, 0, 0, 1.0]]),
    "oblique": np.array([[-0.16, 0.12, 0, 3], [-0.12, -0.16, 0, 2], [0, 0, 1, 1], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_positions_are_those_that_simpleitk_gives_the_pixels(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle], grid: str, tmp_path: Path
) -> None:
    """An independent reader of the same file finds every point at its pixel."""
    volume = _volume(head[0], GRIDS[grid])
    path = tmp_path / "image.nrrd"
    path.write_bytes(nrrd.encode(volume.array, volume.geometry.ijk_to_ras))
    image = SimpleITK.ReadImage(str(path))
    result = _found(read_volume(path), model, mm_per_unit="unknown")
    for point in result.summary["landmarks"].values():
        x, y = point["pixel"]
        wanted = image.TransformContinuousIndexToPhysicalPoint((x, y, 0))
        assert point["position_lps"] == pytest.approx(wanted, abs=0.01)
    assert np.linalg.norm(_pixels(result) - head[1], axis=1).mean() * 0.2 < CLOSE_MM


def test_pixels_that_are_not_square(head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle]) -> None:
    grey, truth = head
    flat = grey[: grey.shape[0] // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(1)
    result = _found(_volume(flat, np.diag([-0.2, -0.4, 1.0, 1.0])), model)
    off = (_pixels(result) - np.c_[truth[:, 0], (truth[:, 1] + 0.5) / 2 - 0.5]) * [0.2, 0.4]
    assert np.linalg.norm(off, axis=1).mean() < CLOSE_MM


@pytest.mark.parametrize("change", ["16 bit", "negative", "wide border", "cropped to the face", "half exposure"])
def test_the_head_is_found_however_it_was_stored(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle], change: str
) -> None:
    grey, truth = head
    shift = np.zeros(2)
    if change == "16 bit":
        grey = grey.astype(np.uint16) * 200 + 1000
    elif change == "negative":
        grey = 255 - grey
    elif change == "wide border":
        grey, shift = np.pad(grey, 400), np.array([400, 400])
    elif change == "cropped to the face":
        grey, shift = grey[250:, 150:], np.array([-150, -250])
    else:
        grey = grey // 2
    result = _found(_volume(grey), model)
    assert np.linalg.norm(_pixels(result) - truth - shift, axis=1).mean() * 0.2 < CLOSE_MM
    assert not result.summary["indeterminate"]


def _no_heads() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:900, :800]
    lungs = np.clip(200 - 150 * (((x - 250) / 130) ** 2 + ((y - 450) / 300) ** 2 < 1), 0, 255)
    lungs = np.where(((x - 560) / 130) ** 2 + ((y - 450) / 300) ** 2 < 1, 50, lungs)
    return {
        "blank": np.full((900, 800), 90, np.uint8),
        "black": np.zeros((900, 800), np.uint8),
        "noise": random.integers(0, 255, (900, 800), dtype=np.uint8),
        "slope": (x * 255 / 800).astype(np.uint8),
        "chest-like": lungs.astype(np.uint8),
        "checkerboard": (((x // 50 + y // 50) % 2) * 255).astype(np.uint8),
    }


@pytest.mark.parametrize("kind", _no_heads())
def test_what_is_no_cephalogram_is_indeterminate_and_says_why(model: LoadedModel[LandmarkBundle], kind: str) -> None:
    result = _found(_volume(_no_heads()[kind]), model)
    assert result.summary["indeterminate"]
    assert all(result.summary["reasons"])
    # shown, never hidden: every point is there, with finite numbers
    assert len(result.landmarks) == 19
    assert np.isfinite(_pixels(result)).all()
    assert all(np.isfinite([point.radius, point.confidence]).all() for point in result.landmarks)


def test_points_of_a_head_without_a_chin_stay_near_the_image(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle]
) -> None:
    grey = head[0][:850]
    result = _found(_volume(grey), model)
    size = np.array(grey.shape[::-1])
    assert (_pixels(result) > -0.2 * size).all() and (_pixels(result) < 1.2 * size).all()


def test_a_brain_slice_is_no_cephalogram(shared_data: Path, model: LoadedModel[LandmarkBundle]) -> None:
    scan = read_volume(shared_data / "tcga_fg_6692" / "t1.nii.gz").array
    for slice_ in (scan[:, :, scan.shape[2] // 2], scan[:, scan.shape[1] // 2, :]):
        grey = np.kron(slice_.T[::-1].astype(np.float32), np.ones((4, 4 if slice_.shape[1] > 100 else 24)).T)
        assert _found(_volume(grey), model).summary["indeterminate"]


def test_without_a_calibration_there_are_angles_but_no_millimetres(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle]
) -> None:
    unknown = _found(_volume(head[0]), model, mm_per_unit="unknown")
    known = _found(_volume(head[0]), model, mm_per_unit="1.0")
    values = {entry["id"]: entry for entry in unknown.measurements["measurements"]}
    in_mm = {entry["id"]: entry for entry in known.measurements["measurements"]}
    assert unknown.summary["spacing"]["mm_per_unit"] is None
    lengths = [name for name, entry in in_mm.items() if entry["unit"] == "mm" and entry["value"] is not None]
    assert lengths
    assert all(values[name]["value"] is None for name in lengths)
    angles = [name for name, entry in in_mm.items() if entry["unit"] == "deg" and entry["value"] is not None]
    assert all(values[name]["value"] == pytest.approx(in_mm[name]["value"]) for name in angles)


def test_radii_are_in_units_of_the_grid(
    head: tuple[np.ndarray, np.ndarray], model: LoadedModel[LandmarkBundle]
) -> None:
    fine = _found(_volume(head[0]), model, mm_per_unit="unknown")
    coarse = _found(_volume(head[0], np.diag([-1.0, -1.0, 1.0, 1.0])), model, mm_per_unit="unknown")
    for small, large in zip(fine.landmarks, coarse.landmarks, strict=True):
        assert large.radius == pytest.approx(5 * small.radius, rel=0.01)
        # the confidence speaks of millimetres at the size of an average head, so the grid does not matter
        assert large.confidence == pytest.approx(small.confidence, abs=0.01)
