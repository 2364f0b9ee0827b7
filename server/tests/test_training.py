"""Training and evaluation: held-out cases are refused, runs can be resumed, scores are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from safetensors.torch import load_file

from mahtai.demo.phantom import make_phantom
from mahtai.models.checksums import checksum_file, is_as_made
from mahtai.training.augmentation import AugmentationSettings, drop_sequences, training_patch
from mahtai.training.datasets import (
    SplitError,
    case_folders,
    check_training_cases,
    contiguous_labels,
    load_case,
    regions_of,
    split,
)
from mahtai.training.lesions import implant_lesion, lesion_statistics
from mahtai.training.loop import SegmentationTrainer, region_loss
from mahtai.training.metrics import bootstrap_mean, score_region
from mahtai.training.run import CasesError, evaluate_bundle, train_bundle
from mahtai.training.settings import Phase, TrainingSettings
from tiny_bundle import write_tiny_bundle


def _write_case(folder: Path, seed: int = 0) -> Path:
    phantom = make_phantom(shape=(72, 84, 66), ijk_to_ras=_centred(2.0, (72, 84, 66)), seed=seed)
    folder.mkdir(parents=True)
    for channel, array in phantom.channels.items():
        nibabel.save(nibabel.Nifti1Image(array, phantom.ijk_to_ras), folder / f"{channel}.nii.gz")
    labels = np.where(phantom.labels == 3, 4, phantom.labels).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, phantom.ijk_to_ras), folder / "seg.nii.gz")
    return folder


def _centred(spacing: float, shape: tuple[int, int, int]) -> np.ndarray:
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_case(tmp_path_factory.mktemp("cases") / "phantom_1")


def test_the_split_holds_no_case_twice() -> None:
    lists = split()
    names = [name for cases in lists.values() for name in cases]
    assert len(names) == len(set(names)) == 29


def test_a_held_out_case_is_refused_by_name(tmp_path: Path) -> None:
    folder = _write_case(tmp_path / split()["test"][0])
    with pytest.raises(SplitError, match="held-out case"):
        check_training_cases([folder])


def test_a_held_out_case_is_refused_under_another_name(shared_data: Path, tmp_path: Path) -> None:
    original = shared_data / "brats" / split()["test"][0]
    disguised = tmp_path / "harmless"
    disguised.mkdir()
    image = nibabel.load(original / "t1c.nii.gz")
    # another type, orientation, size and header: the voxels give it away
    voxels = np.pad(np.asanyarray(image.dataobj).astype(np.float32)[::-1].transpose(2, 0, 1), 5)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), disguised / "t1c.nii")
    with pytest.raises(SplitError, match=split()["test"][0]):
        check_training_cases([disguised])


def test_the_training_list_itself_is_accepted(shared_data: Path) -> None:
    check_training_cases(case_folders(shared_data / "brats", split()["train"][:2]))


def test_labels_of_both_conventions_become_contiguous() -> None:
    assert contiguous_labels(np.array([0, 1, 2, 4])).tolist() == [0, 1, 2, 3]
    assert contiguous_labels(np.array([0, 1, 2, 3])).tolist() == [0, 1, 2, 3]


def test_a_case_is_read_with_z_scores_in_the_brain(case_folder: Path) -> None:
    case = load_case(case_folder)
    for channel in case.image.float():
        brain = channel[channel != 0]
        assert abs(float(brain.mean())) < 0.01
        assert abs(float(brain.std()) - 1) < 0.01
    assert case.spacing_mm == (2.0, 2.0, 2.0)
    assert set(case.label.unique().tolist()) == {0, 1, 2, 3}


def test_patches_keep_image_and_label_together(case_folder: Path) -> None:
    case = load_case(case_folder)
    quiet = AugmentationSettings(centre_on_tumour=1.0, synthetic_lesion=0.0, drop_one_sequence=0, drop_two_sequences=0)
    torch.manual_seed(3)
    image, label = training_patch(case, (40, 40, 40), 2.0, quiet, lesion_statistics([case]))
    assert image.shape == (4, 40, 40, 40)
    assert int((label == 3).sum()) > 50
    # the enhancing rim is the brightest thing in T1c wherever the patch was turned to
    assert float(image[0][label == 3].mean()) > float(image[0][(label == 0) & (image[0] != 0)].mean()) + 1


def test_an_implanted_lesion_is_nested_and_stays_in_the_brain(case_folder: Path) -> None:
    case = load_case(case_folder)
    torch.manual_seed(5)
    image, label = case.image.float(), torch.zeros_like(case.label)
    changed, drawn = implant_lesion(image, label, 2.0, lesion_statistics([case]))
    regions = regions_of(drawn)
    assert int((drawn > 0).sum()) > 20
    assert bool((regions[2] <= regions[0]).all())
    assert bool((regions[0] <= regions[1]).all())
    assert int(((drawn > 0) & (image == 0).any(0)).sum()) == 0
    assert not torch.equal(changed, image)


def test_sequences_are_dropped_as_often_as_the_settings_say() -> None:
    torch.manual_seed(0)
    settings = AugmentationSettings(drop_one_sequence=0.3, drop_two_sequences=0.1)
    image = torch.ones(4, 2, 2, 2)
    dropped = [4 - int(drop_sequences(image, settings)[:, 0, 0, 0].sum()) for _ in range(800)]
    assert 0.25 < dropped.count(1) / 800 < 0.35
    assert 0.06 < dropped.count(2) / 800 < 0.14


def test_the_loss_is_small_for_the_truth_and_large_for_its_opposite() -> None:
    label = torch.zeros(1, 16, 16, 16, dtype=torch.uint8)
    label[:, 4:12, 4:12, 4:12] = 2
    label[:, 6:10, 6:10, 6:10] = 3
    truth = (regions_of(label).transpose(0, 1) - 0.5) * 20
    assert float(region_loss(truth, label)) < 0.01
    assert float(region_loss(-truth, label)) > 5


def test_a_run_learns_and_goes_on_where_it_was_stopped(case_folder: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(
        phases=(Phase(1.0, 2.0, (24, 24, 24), 1),),
        learning_rate=3e-3,
        warmup_steps=1,
        ema_decay=0.5,
        augmentation=replace(AugmentationSettings(), centre_on_tumour=1.0, drop_one_sequence=0.0),
    )
    cases = [load_case(case_folder)]

    def trainer() -> SegmentationTrainer:
        torch.manual_seed(0)
        network = SegResNet(init_filters=8, in_channels=4, out_channels=3, blocks_down=(1, 1), blocks_up=(1,))
        return SegmentationTrainer(network, settings, torch.device("cpu"), tmp_path)

    first = trainer()
    first.run(cases, minutes=5, workers=0, step_limit=50)
    assert first.step == 50
    second = trainer()
    assert second.resume()
    assert second.step == 50
    second.run(cases, minutes=5, workers=0, step_limit=100)
    assert second.step == 100
    entries = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < losses[0]
    assert is_as_made(tmp_path / "model.safetensors") and checksum_file(tmp_path / "model.safetensors").exists()


def test_the_unetr_recipe_trains_from_its_bundle(case_folder: Path, tmp_path: Path) -> None:
    recipe = Path(__file__).resolve().parents[2] / "models" / "brats_unetr"
    weights = train_bundle(
        recipe, case_folder.parent, minutes=5, names=[case_folder.name], output=tmp_path, steps=2, device_name="cpu"
    )
    trained = load_file(weights)
    assert sum(value.numel() for value in trained.values()) > 30_000_000
    assert all(bool(torch.isfinite(value).all()) for value in trained.values())


def test_dice_distance_and_volume_of_shifted_cubes_are_as_calculated_by_hand() -> None:
    reference = np.zeros((30, 30, 30), bool)
    reference[5:15, 5:15, 5:15] = True
    predicted = np.roll(reference, 2, axis=0)
    score = score_region(predicted, reference, (1.0, 1.0, 1.0))
    assert score.dice == pytest.approx(0.8)
    assert score.hd95_mm == pytest.approx(2.0)
    assert score.volume_error_ml == 0
    assert score.reference_ml == pytest.approx(1.0)


def test_empty_regions_are_scored_by_the_convention_of_brats() -> None:
    empty, full = np.zeros((5, 5, 5), bool), np.ones((5, 5, 5), bool)
    assert score_region(empty, empty, (1, 1, 1)).dice == 1
    assert score_region(full, empty, (1, 1, 1)).dice == 0
    assert score_region(full, empty, (1, 1, 1)).hd95_mm is None


def test_the_bootstrap_interval_holds_the_mean_and_narrows_with_more_cases() -> None:
    random = np.random.default_rng(1)
    few, many = random.normal(0.8, 0.1, 6).tolist(), random.normal(0.8, 0.1, 200).tolist()
    first, second = bootstrap_mean(few), bootstrap_mean(many)
    assert first["interval_95"][0] <= first["mean"] <= first["interval_95"][1]
    widths = [low_high["interval_95"][1] - low_high["interval_95"][0] for low_high in (first, second)]
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("cases", ["test", "nobody", " , ", "all"])
def test_cases_that_are_not_there_are_said_to_be_missing(tmp_path: Path, cases: str) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(CasesError) as caught:
        evaluate_bundle(str(bundle), tmp_path, cases)
    assert caught.value.hint
