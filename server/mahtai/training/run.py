"""``mahtai train`` and ``mahtai evaluate``: from a command line to a run and its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tqdm import tqdm

from mahtai.errors import MahtaiError
from mahtai.inference.options import parse_landmark_options, parse_options
from mahtai.inference.prediction import choose_device, load_model
from mahtai.models.bundle import Bundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.landmark_bundle import LandmarkBundle
from mahtai.models.network import build_network
from mahtai.settings import Settings
from mahtai.training.datasets import case_folders, check_training_cases, load_case
from mahtai.training.evaluate import as_table, evaluate
from mahtai.training.loop import SegmentationTrainer
from mahtai.training.settings import TrainingSettings
from mahtai.training.splits import split


class CasesError(MahtaiError):
    """Cases were asked for that the data folder does not hold."""

    kind = "cases"
    title = "The cases are not there"
    status = 422


def _case_folders(data: Path, names: Sequence[str] | None) -> list[Path]:
    """The folders of the cases.

    Raises:
        CasesError: one is not there, or there is none.
    """
    try:
        folders = case_folders(data, names)
    except FileNotFoundError as error:
        hint = "--data is the folder that holds one folder a case; --cases names them."
        raise CasesError(f"{str(error).rstrip('.')}.", hint) from error
    if not folders:
        raise CasesError("No case was named.", "Name at least one in --cases.")
    return folders


def train_bundle(
    folder: Path,
    data: Path,
    minutes: float,
    names: list[str] | None = None,
    output: Path | None = None,
    steps: int | None = None,
    threads: int | None = None,
    device_name: str = "auto",
    start_from: Path | None = None,
    member: int | None = None,
) -> Path:
    """Train the network of a bundle; goes on where an interrupted run in the same output folder stopped.

    Args:
        names, start_from: of segmentation only. member: of landmark models only.

    Returns:
        The weights file.

    Raises:
        SplitError: a validation or test case was named.
    """
    if threads:
        torch.set_num_threads(threads)
    bundle = read_bundle(folder)
    if isinstance(bundle, LandmarkBundle):
        from mahtai.training.landmarks.run import train_landmarks

        return train_landmarks(bundle, data, minutes, output, steps, device_name, member)
    settings = TrainingSettings.from_bundle(folder)
    torch.manual_seed(settings.seed)
    folders = _case_folders(data, names if names is not None else split()["train"])
    check_training_cases(folders)
    cases = [load_case(path) for path in tqdm(folders, desc="reading cases", unit="case")]
    network = build_network(bundle)
    if start_from:
        network.load_state_dict({name: value.float() for name, value in load_file(start_from).items()})
    trainer = SegmentationTrainer(network, settings, choose_device(device_name), output or folder / "models")
    trainer.resume()
    with tqdm(total=1.0, desc="training", bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def on_progress(fraction: float, text: str) -> None:
            bar.update(min(fraction, 1.0) - bar.n)
            bar.set_postfix_str(text)

        trainer.run(cases, minutes, on_progress=on_progress, step_limit=steps)
    return trainer.weights


def _find_bundle(model: str) -> Bundle:
    folder = Path(model)
    if (folder / "configs").is_dir():
        return read_bundle(folder)
    settings = Settings.from_environment()
    return Catalogue(settings.models_path, settings.versions_dir).get(model)


def evaluate_bundle(
    model: str,
    data: Path,
    cases: str,
    drop: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    device_name: str = "auto",
    picture: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Evaluate a bundle (its id or folder) on a list of the split, on all cases, or on those named.

    Returns:
        The JSON and the table.
    """
    bundle = _find_bundle(model)
    if isinstance(bundle, LandmarkBundle):
        from mahtai.training.landmarks.run import evaluate_landmarks

        asked = parse_landmark_options(options or {})
        return evaluate_landmarks(bundle, data, cases, asked, device_name, picture)
    lists = split()
    names = None if cases == "all" else lists.get(cases, [name for part in cases.split(",") if (name := part.strip())])
    folders = _case_folders(data, names)
    parsed = parse_options(options or {})
    loaded = load_model(bundle, choose_device(device_name), parsed.precision)
    with tqdm(total=len(folders), desc="evaluating", unit="case") as bar:
        result = evaluate(loaded, folders, parsed, drop, lambda name, scores: bar.update())
    result["split"] = cases
    result["seen_in_training"] = sorted({folder.name for folder in folders} & set(lists["train"]))
    return result, as_table(result)
