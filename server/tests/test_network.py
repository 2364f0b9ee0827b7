"""Networks and weights: allowed classes only, no pickle that runs, differences named; and `models check`."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from safetensors.torch import save_file

from bundle_kit import INFERENCE, small_network, write_bundle
from mahtai.models.bundle import Bundle, BundleError, MissingWeights, read_bundle
from mahtai.models.check import check
from mahtai.models.network import RefusedWeights, build_network, load_weights, trial_forward

OWN_MODELS = Path(__file__).resolve().parents[2] / "models"


def bundle_with(folder: Path, save: Callable[[Path], Any] | None = None) -> Bundle:
    """A bundle whose weights file is written by ``save`` into its models folder."""
    write_bundle(folder, weights=False)
    if save is not None:
        save(folder / "models")
    return read_bundle(folder)


def loaded(bundle: Bundle) -> torch.nn.Module:
    return load_weights(build_network(bundle), bundle)


WEIGHTS = small_network().state_dict()
WAYS_TO_SAVE: dict[str, Callable[[Path], Any]] = {
    "safetensors": lambda folder: save_file(WEIGHTS, folder / "model.safetensors"),
    "bare checkpoint": lambda folder: torch.save(WEIGHTS, folder / "model.pt"),
    "checkpoint under model": lambda folder: torch.save({"model": WEIGHTS, "epoch": 3}, folder / "model.pt"),
    "checkpoint under state_dict": lambda folder: torch.save({"state_dict": WEIGHTS}, folder / "model.pt"),
    "checkpoint of several GPUs": lambda folder: torch.save(
        {f"module.{name}": value for name, value in WEIGHTS.items()}, folder / "model.pt"
    ),
    "old torch format": lambda folder: torch.save(WEIGHTS, folder / "model.pt", _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("way", WAYS_TO_SAVE)
def test_weights_are_loaded_however_they_were_saved(tmp_path: Path, way: str) -> None:
    network = loaded(bundle_with(tmp_path / "m", WAYS_TO_SAVE[way]))
    assert isinstance(network, SegResNet)
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, WEIGHTS[name])


def test_half_precision_weights_are_loaded_as_single_precision(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in WEIGHTS.items()}
    network = loaded(bundle_with(tmp_path / "m", lambda folder: save_file(half, folder / "model.safetensors")))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    name = next(iter(WEIGHTS))
    assert torch.equal(network.state_dict()[name], WEIGHTS[name].half().float())


def test_the_loaded_network_gives_what_the_original_gives(tmp_path: Path) -> None:
    network = loaded(bundle_with(tmp_path / "m", WAYS_TO_SAVE["bare checkpoint"]))
    image = torch.rand(1, 4, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(network(image), small_network().eval()(image))


# --- weights that are refused -----------------------------------------------------------------


class Payload:
    """Runs a command when it is unpickled, as a poisoned checkpoint does."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, new_format: bool) -> None:
    proof = tmp_path / "the code ran"
    payload = Payload(f'echo > "{proof}"')

    def save(folder: Path) -> None:
        torch.save({**WEIGHTS, "extra": payload}, folder / "model.pt", _use_new_zipfile_serialization=new_format)

    bundle = bundle_with(tmp_path / "m", save)
    with pytest.raises(
        RefusedWeights, match=r"asks for code \(\w+\.system\).* refused and nothing of it was run"
    ) as caught:
        loaded(bundle)
    assert "safetensors" in caught.value.hint
    assert not proof.exists()
    # the same file does run its code where nobody takes care
    torch.load(bundle.require_weights(), weights_only=False)
    assert proof.exists()


def test_a_plain_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "the code ran"
    payload = Payload(f'echo > "{proof}"')
    bundle = bundle_with(tmp_path / "m", lambda folder: (folder / "model.pt").write_bytes(pickle.dumps(payload)))
    with pytest.raises(RefusedWeights):
        loaded(bundle)
    assert not proof.exists()


def script(folder: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "model.pt"))


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in WEIGHTS.items() if key != name}


FIRST = next(iter(WEIGHTS))
BAD_WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda folder: None, "are missing"),
    "three input channels": (
        lambda folder: torch.save(small_network(3).state_dict(), folder / "model.pt"),
        "8 × 3 × 3 × 3 × 3 in the file and 8 × 4 × 3 × 3 × 3 in the network",
    ),
    "two output channels": (
        lambda folder: torch.save(small_network(out_channels=2).state_dict(), folder / "model.pt"),
        "2 × 8 × 1 × 1 × 1 in the file and 3 × 8",
    ),
    "a layer missing": (lambda folder: torch.save(without(FIRST), folder / "model.pt"), f"1 missing \\({FIRST}\\)"),
    "another network": (
        lambda folder: torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "model.pt"),
        "missing .* and 2 too many \\(bias, weight\\)",
    ),
    "values that are no numbers": (
        lambda folder: torch.save({**WEIGHTS, FIRST: WEIGHTS[FIRST] * np.nan}, folder / "model.pt"),
        "not numbers",
    ),
    "an empty file": (lambda folder: (folder / "model.pt").write_bytes(b""), "damaged"),
    "text": (lambda folder: (folder / "model.pt").write_text("hello"), "damaged|refused"),
    "a zip of something else": (
        lambda folder: zipfile.ZipFile(folder / "model.pt", "w").writestr("a", "b"),
        "damaged",
    ),
    "cut off": (
        lambda folder: (torch.save(WEIGHTS, folder / "model.pt"), os.truncate(folder / "model.pt", 5000)),
        "damaged",
    ),
    "a script": (script, "damaged|refused"),
    "a list": (lambda folder: torch.save([1, 2], folder / "model.pt"), "holds no weights"),
    "a dictionary of text": (lambda folder: torch.save({"a": "b"}, folder / "model.pt"), "something else than weights"),
    "safetensors cut off": (
        lambda folder: (
            save_file(WEIGHTS, folder / "model.safetensors"),
            os.truncate(folder / "model.safetensors", 5000),
        ),
        "damaged",
    ),
    "a Git LFS pointer": (
        lambda folder: (folder / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        "placeholder",
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_refused_with_what_is_wrong_and_what_to_do(tmp_path: Path, name: str) -> None:
    save, said = BAD_WEIGHTS[name]
    bundle = bundle_with(tmp_path / "m", save)
    with pytest.raises(BundleError, match=said) as caught:
        loaded(bundle)
    assert caught.value.status == 422
    assert caught.value.hint


# --- networks that are refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("NoSuchNet", "no network 'NoSuchNet'"),
        ("monai.networks.nets.NoSuchNet", "no network"),
        ("torch", "no network 'torch'"),
        ("monai.networks.nets.segresnet.partial", "no network"),
        ("mahtai.networks.NoSuchNet", "no network"),
    ],
)
def test_only_network_classes_are_made(tmp_path: Path, target: str, said: str) -> None:
    folder = write_bundle(tmp_path / "m", lambda m, i: i["network_def"].update(_target_=target), weights=False)
    with pytest.raises(BundleError, match=said):
        build_network(read_bundle(folder))


@pytest.mark.parametrize(
    "target", ["SegResNet", "monai.networks.nets.SegResNet", "monai.networks.nets.segresnet.SegResNet"]
)
def test_a_network_may_be_named_short_or_in_full(tmp_path: Path, target: str) -> None:
    folder = write_bundle(tmp_path / "m", lambda m, i: i["network_def"].update(_target_=target), weights=False)
    assert isinstance(build_network(read_bundle(folder)), SegResNet)


@pytest.mark.parametrize("arguments", [{"no_such_argument": 1}, {"blocks_down": "x"}, {"upsample_mode": "sideways"}])
def test_arguments_that_the_network_does_not_take_are_told(tmp_path: Path, arguments: dict[str, Any]) -> None:
    folder = write_bundle(tmp_path / "m", lambda m, i: i["network_def"].update(arguments), weights=False)
    with pytest.raises(BundleError, match="cannot be made: SegResNet says"):
        build_network(read_bundle(folder))


def test_a_network_larger_than_any_computer_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "m", lambda m, i: i["network_def"].update(init_filters=50_000), weights=False)
    with pytest.raises(BundleError, match="thousand million parameters"):
        build_network(read_bundle(folder))


# --- models check -----------------------------------------------------------------------------


def test_a_good_model_is_found_good_with_seconds_device_and_precision(tmp_path: Path) -> None:
    findings = check(bundle_with(tmp_path / "m", WAYS_TO_SAVE["safetensors"]), device="cpu")
    assert {finding.level for finding in findings} == {"ok"}
    assert [finding.subject for finding in findings] == [
        "description",
        "identity",
        "network",
        "weights",
        "forward pass",
    ]
    assert findings[-1].text == "32 × 32 × 32 voxels on cpu in float32"
    assert findings[-1].seconds > 0


@pytest.mark.parametrize("name", ["no file", "three input channels", "cut off"])
def test_a_bad_model_is_found_bad_without_an_exception(tmp_path: Path, name: str) -> None:
    findings = check(bundle_with(tmp_path / "m", BAD_WEIGHTS[name][0]), device="cpu")
    assert findings[-1].level == "error"
    assert not findings[-1].ok
    assert "again" in findings[-1].text


def test_a_network_that_answers_with_another_number_of_regions_is_found(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "m", WAYS_TO_SAVE["bare checkpoint"])
    with pytest.raises(BundleError, match="was expected"):
        trial_forward(small_network(out_channels=2), bundle, "cpu")
    with pytest.raises(BundleError, match="fails on a trial input"):
        trial_forward(small_network(in_channels=3), bundle, "cpu")


def test_a_recipe_is_not_run(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "m", lambda m, i: m.update(mahtai={"recipe": True}), weights=False)
    with pytest.raises(MissingWeights, match="is a recipe"):
        loaded(read_bundle(folder))


def test_a_finding_reads_as_one_line(tmp_path: Path) -> None:
    lines = [str(finding) for finding in check(bundle_with(tmp_path / "m"), device="cpu")]
    assert lines[0] == "ok    description: Glioma regions 9.8.7, t1c, t1, t2, flair → tc, wt, et; Apache-2.0"
    assert lines[-1].startswith("error The model has no weights: The weights of Glioma regions (m) are missing")


@pytest.mark.parametrize(("name", "millions"), [("brats_segresnet", 4.7), ("brats_unetr", 31.0)])
def test_the_networks_of_our_own_bundles_can_be_made(name: str, millions: float) -> None:
    network = build_network(read_bundle(OWN_MODELS / name))
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


# --- MONAI runs our bundle --------------------------------------------------------------------


def test_monai_itself_runs_our_segresnet_bundle(tmp_path: Path) -> None:
    """`python -m monai.bundle run` on a made-up case, with random weights in our own configuration."""
    pytest.importorskip("ignite")
    import nibabel
    from monai.bundle import run

    source = OWN_MODELS / "brats_segresnet"
    folder = tmp_path / "brats_segresnet"
    shutil.copytree(source / "configs", folder / "configs")
    bundle = read_bundle(folder)
    torch.manual_seed(0)
    weights = {name: value.half() for name, value in build_network(bundle).state_dict().items()}
    (folder / "models").mkdir()
    save_file(weights, folder / "models" / "model.safetensors")
    case = tmp_path / "data" / "case"
    case.mkdir(parents=True)
    image = np.random.default_rng(0).random((24, 32, 24)).astype(np.float32)
    for name in ("t1c", "t1", "t2", "flair"):
        nibabel.save(nibabel.Nifti1Image(image, np.diag([-1, -1, 1, 1])), case / f"{name}.nii.gz")
    run(
        config_file=str(folder / "configs" / "inference.json"),
        meta_file=str(folder / "configs" / "metadata.json"),
        bundle_root=str(folder),
        dataset_dir=str(tmp_path / "data"),
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 1, "overlap": 0.25},
        device="$torch.device('cpu')",
    )
    [written] = (folder / "eval").rglob("*.nii.gz")
    labels = np.asanyarray(nibabel.load(written).dataobj)
    assert labels.shape == image.shape
    assert set(np.unique(labels)) <= {0, 1, 2, 3}


def test_the_test_bundle_has_the_layout_of_the_zoo() -> None:
    assert any(str(value).startswith("$") for value in INFERENCE.values())
    assert INFERENCE["network_def"]["in_channels"].startswith("@")
