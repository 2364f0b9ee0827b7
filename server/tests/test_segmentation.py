"""The pipeline on every kind of grid: what comes back lies where the anatomy lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from grids import GRIDS
from mahtai.demo.phantom import make_phantom
from mahtai.inference.options import OptionError, Options, parse_options
from mahtai.inference.prediction import Cancelled, LoadedModel, load_model
from mahtai.inference.segmentation import SegmentationResult, segment
from mahtai.inference.sequences import DoubledSequence, SwappedSequences
from mahtai.inference.study import StudyError
from mahtai.models.bundle import read_bundle
from mahtai.volumes.geometry import Geometry, GeometryError
from mahtai.volumes.volume import Volume

MODEL = Path(__file__).resolve().parents[2] / "models" / "brats_segresnet"
SHAPE = (144, 176, 132)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """The model that is shipped, in full precision, so that grids can be compared to the voxel."""
    torch.set_num_threads(2)
    return load_model(read_bundle(MODEL), torch.device("cpu"), "fp32")


def _study(geometry: Geometry | None = None, **settings: object) -> tuple[dict[str, Volume], np.ndarray, np.ndarray]:
    phantom = make_phantom(
        shape=geometry.shape if geometry else SHAPE,
        ijk_to_ras=np.array(geometry.ijk_to_ras) if geometry else None,
        **settings,  # type: ignore[arg-type]
    )
    grid = geometry or Geometry(SHAPE, phantom.ijk_to_ras)
    volumes = {name: Volume(array, grid, "nrrd") for name, array in phantom.channels.items()}
    return volumes, phantom.labels, phantom.lesion_ras_mm


def _run(study: dict[str, Volume], model: LoadedModel, **options: str) -> SegmentationResult:
    return segment(study, model, Options(**options), lambda stage, fraction: None, lambda: False)


def _reordered(volume: Volume, order: tuple[int, int, int], flips: tuple[int, ...]) -> Volume:
    """The same voxels in another storage order; the anatomy stays where it is in RAS."""
    array, affine = np.asarray(volume.array).transpose(order), np.eye(4)
    affine[:3, :3] = volume.geometry.ijk_to_ras[:3, :3][:, list(order)]
    affine[:3, 3] = volume.geometry.ijk_to_ras[:3, 3]
    for axis in flips:
        array = np.flip(array, axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(array), Geometry(array.shape, affine), "nrrd")


@pytest.fixture(scope="module")
def plain(model: LoadedModel) -> tuple[dict[str, Volume], SegmentationResult]:
    study, _, _ = _study()
    return study, _run(study, model)


@pytest.mark.parametrize(
    ("order", "flips"),
    [((1, 2, 0), ()), ((2, 1, 0), ()), ((0, 1, 2), (0, 1)), ((0, 2, 1), (2,)), ((2, 0, 1), (0, 1, 2))],
    ids=["swapped", "swapped left-handed", "flipped", "swapped and flipped", "all at once"],
)
def test_the_order_of_the_voxels_in_the_file_does_not_change_the_result(
    plain: tuple[dict[str, Volume], SegmentationResult],
    model: LoadedModel,
    order: tuple[int, int, int],
    flips: tuple[int, ...],
) -> None:
    study, expected = plain
    turned = {name: _reordered(volume, order, flips) for name, volume in study.items()}
    result = _run(turned, model)
    judge = _reordered(Volume(expected.labelmap, expected.geometry, "nrrd"), order, flips)
    assert result.geometry.same_grid(judge.geometry)
    assert np.array_equal(result.labelmap, judge.array)
    assert expected.labelmap.any()


@pytest.mark.parametrize("name", ["left-handed LAS", "axes swapped, left-handed", "oblique"])
def test_a_lesion_at_a_known_ras_point_comes_back_at_that_point(model: LoadedModel, name: str) -> None:
    direction = GRIDS[name].direction
    shape = tuple(int(n) for n in np.abs(direction.T @ np.diag([150, 180, 140]) @ direction).max(axis=0).round())
    affine = np.eye(4)
    affine[:3, :3] = direction
    affine[:3, 3] = -direction @ ((np.array(shape) - 1) / 2)
    study, truth, point_ras_mm = _study(Geometry(shape, affine))
    result = _run(study, model)
    # the enhancing rim: where the model is surest, so that only the geometry is judged
    parts, _ = ndimage.label(result.labelmap == 3)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    found = (result.geometry.ijk_to_ras @ [*np.argwhere(largest).mean(0), 1.0])[:3]
    expected = (affine @ [*np.argwhere(truth == 3).mean(0), 1.0])[:3]
    assert np.linalg.norm(expected - point_ras_mm) < 6
    assert np.linalg.norm(found - expected) < 4


def test_thick_slices_are_recorded_and_warned_of(model: LoadedModel) -> None:
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    shape = (144, 176, 27)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    study, truth, _ = _study(Geometry(shape, affine))
    result = _run(study, model)
    assert result.labelmap.shape == shape
    assert any("5.0 mm apart" in warning for warning in result.summary["warnings"])
    step = next(step for step in result.summary["steps"] if step["step"] == "resample")
    assert step["done"]
    assert step["to_mm"] == [1.0, 1.0, 1.0]
    found, drawn = result.labelmap == 3, truth == 3
    assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > 0.6


def test_volumes_in_millilitres_are_counted_on_the_native_grid(
    plain: tuple[dict[str, Volume], SegmentationResult],
) -> None:
    _, result = plain
    whole = result.summary["regions"]["wt"]
    assert whole["volume_ml"] == pytest.approx((result.labelmap > 0).sum() / 1000, abs=1e-3)
    assert whole["volume_interval_ml"][0] <= whole["volume_ml"] <= whole["volume_interval_ml"][1]
    assert sum(result.summary["segments_ml"].values()) == pytest.approx(whole["volume_ml"], abs=5e-3)


def test_confidence_is_a_percentage_and_lowest_at_borders(
    plain: tuple[dict[str, Volume], SegmentationResult],
) -> None:
    _, result = plain
    tumour = result.labelmap > 0
    border = tumour & ~ndimage.binary_erosion(tumour)
    outside = ~ndimage.binary_dilation(tumour, iterations=8)
    assert result.confidence.dtype == np.uint8
    assert result.confidence.max() <= 100
    assert result.confidence[border].mean() < result.confidence[outside].mean() - 10


def test_a_missing_sequence_lowers_the_confidence_and_is_said(
    plain: tuple[dict[str, Volume], SegmentationResult], model: LoadedModel
) -> None:
    study, complete = plain
    result = _run({name: volume for name, volume in study.items() if name != "t2"}, model)
    assert result.summary["missing"] == ["T2"]
    assert any("T2 is missing" in warning for warning in result.summary["warnings"])
    assert result.summary["regions"]["wt"]["confidence"] < complete.summary["regions"]["wt"]["confidence"]


def test_every_step_that_was_taken_or_not_is_recorded(plain: tuple[dict[str, Volume], SegmentationResult]) -> None:
    _, result = plain
    steps = {step["step"]: step for step in result.summary["steps"]}
    assert not steps["register flair to t1c"]["done"]
    assert not steps["brain mask"]["done"]
    assert steps["check sequences"]["done"]
    assert steps["crop to the brain"]["done"]


def test_small_windows_give_nearly_the_same_as_one_pass(
    plain: tuple[dict[str, Volume], SegmentationResult], model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahtai.inference.prediction.ONE_PASS_VOXELS", {"cpu": 1})
    study, expected = plain
    first, second = _run(study, model).labelmap > 0, expected.labelmap > 0
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) > 0.97


def test_an_allocation_that_fails_is_tried_again_with_smaller_windows(
    plain: tuple[dict[str, Volume], SegmentationResult], model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, expected = plain
    seen: list[tuple[int, ...]] = []
    network = model.network

    def short_of_memory(batch: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(batch.shape[2:]))
        if batch[0, 0].numel() > 128**3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return network(batch)

    poor = LoadedModel(model.bundle, torch.nn.Module(), model.device, model.precision)
    monkeypatch.setattr(poor.network, "forward", short_of_memory)
    result = _run(study, poor)
    assert len(seen) > 2
    found, wanted = result.labelmap == 3, expected.labelmap == 3
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.8


def test_cancelling_stops_before_the_network_runs(model: LoadedModel) -> None:
    study, _, _ = _study()
    with pytest.raises(Cancelled):
        segment(study, model, Options(), lambda stage, fraction: None, lambda: True)


def test_swapped_sequences_are_refused_and_named(model: LoadedModel) -> None:
    study, _, _ = _study()
    swapped = {**study, "t2": study["flair"], "flair": study["t2"]}
    with pytest.raises(SwappedSequences, match="the volume in FLAIR looks like T2"):
        _run(swapped, model)
    assert _run(swapped, model, check_sequences="off").labelmap.shape == SHAPE


def test_the_same_picture_in_two_slots_is_refused(model: LoadedModel) -> None:
    study, _, _ = _study()
    copy = Volume(np.asarray(study["t1"].array) * 2, study["t1"].geometry, "nrrd")
    with pytest.raises(DoubledSequence, match="T1c and T1 are the same picture"):
        _run({**study, "t1c": copy}, model)


def test_real_studies_are_not_taken_for_swapped_ones_and_swaps_are_found(shared_data: Path) -> None:
    from mahtai.inference.sequences import check_sequences
    from mahtai.training.datasets import CHANNELS, case_folders, load_case, split

    found = 0
    folders = case_folders(shared_data / "brats", split()["test"])
    for folder in folders:
        image = load_case(folder).image.float()
        mask = (image != 0).any(0)
        check_sequences(image, mask, CHANNELS)
        try:
            check_sequences(image[[0, 1, 3, 2]], mask, CHANNELS)
        except SwappedSequences:
            found += 1
    assert found >= len(folders) - 1


def test_volumes_far_apart_are_refused_with_the_distance(model: LoadedModel) -> None:
    study, _, _ = _study()
    far = np.array(study["t2"].geometry.ijk_to_ras)
    far[0, 3] += 400
    moved = Volume(study["t2"].array, Geometry(SHAPE, far), "nrrd")
    with pytest.raises(StudyError, match="400 mm apart"):
        _run({**study, "t2": moved}, model)


def test_a_sheared_volume_is_refused(model: LoadedModel) -> None:
    study, _, _ = _study()
    sheared = np.array(study["t1"].geometry.ijk_to_ras)
    sheared[0, 2] = 0.3
    with pytest.raises(GeometryError, match="sheared"):
        _run({**study, "t1": Volume(study["t1"].array, Geometry(SHAPE, sheared), "nrrd")}, model)


def test_too_few_sequences_are_refused(model: LoadedModel) -> None:
    study, _, _ = _study()
    with pytest.raises(StudyError, match="Too many sequences are missing"):
        _run({"t1": study["t1"]}, model)


def test_a_channel_that_the_model_has_not_is_refused(model: LoadedModel) -> None:
    study, _, _ = _study()
    with pytest.raises(StudyError, match="has no input ct"):
        _run({**study, "ct": study["t1"]}, model)


def test_unknown_options_and_values_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(OptionError, match="Known options"):
        parse_options({"registration": "on"})
    with pytest.raises(OptionError, match="auto, on, off"):
        parse_options({"register": "yes"})
    assert parse_options({"register": "off"}).register == "off"


def test_bf16_moves_dice_by_less_than_half_a_percent(model: LoadedModel) -> None:
    study, truth, _ = _study()
    fast = LoadedModel(model.bundle, model.network, model.device, "bf16")

    def dice(labels: np.ndarray) -> float:
        return float(2 * ((labels > 0) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()))

    assert abs(dice(_run(study, fast).labelmap) - dice(_run(study, model).labelmap)) < 0.005
