"""What a strategy for the next case is worth: loops of choosing, correcting and learning, on real cases.

    PYTHONPATH=server:MahtAI python server/benchmarks/active_learning.py --data BRATS --output DIR

For every ``--seeds``: draw ``--start`` cases of the train list, train a small network on them (``--spacing`` mm voxels,
so that loops can be repeated), and from there, for each strategy and round: choose ``--take`` cases by the present
model, label them as the reference does (which plays the reader who corrects), go on training on all that is labelled by
then, score on the test list. Test and validation cases are never chosen and never learnt from; the trainer's own check
refuses them. A loop that was interrupted goes on with the round where it stopped. Writes ``rounds.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import spearmanr

from mahtai.cases.strategies import STRATEGIES, Evidence, rank
from mahtai.inference.options import parse_options
from mahtai.inference.prediction import LoadedModel, load_model
from mahtai.inference.segmentation import SegmentationResult, Stopwatch, predict_prepared, restore
from mahtai.inference.study import PreparedStudy, Record, prepare_study
from mahtai.models.bundle import SegmentationBundle, read_bundle
from mahtai.models.network import build_network
from mahtai.training.datasets import CHANNELS, Case, check_training_cases, contiguous_labels, load_case, sequence_file
from mahtai.training.loop import SegmentationTrainer
from mahtai.training.settings import TrainingSettings
from mahtai.training.splits import split
from mahtai.volumes.formats import read_volume

MODEL = Path(__file__).resolve().parents[2] / "models" / "brats_segresnet"
WEIGHTS = "models/model.safetensors"
REGIONS = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
RESAMPLES = 5000


class Steps(SegmentationTrainer):
    """A run of so many steps whose learning rate falls by the step, so that a slow moment changes nothing."""

    steps = 100
    rate = 1e-3

    def _set_learning_rate(self, budget_seconds: float) -> float:
        warmup = min(1.0, (self.step + 1) / 20)
        rate = self.rate * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate


class Reader:
    """Plays the reader: has every case as the network sees it, and its reference; both are read once."""

    def __init__(self, data: Path, bundle: SegmentationBundle) -> None:
        self._data = data
        self._bundle = bundle

    def folder(self, case: str) -> Path:
        """Of a case."""
        return self._data / case

    @cache  # noqa: B019  # lives as long as the program
    def prepared(self, case: str) -> PreparedStudy:
        """The study on the network's grid."""
        study = {name: read_volume(sequence_file(self.folder(case), name)) for name in CHANNELS}
        # the check for swapped sequences was made for voxels of 1 mm
        options = parse_options({"check_sequences": "off"})
        return prepare_study(study, self._bundle, options, torch.device("cpu"), _silent, Record())

    @cache  # noqa: B019
    def reference(self, case: str) -> NDArray[np.uint8]:
        """The expert's labels on the native grid."""
        return contiguous_labels(np.asarray(read_volume(sequence_file(self.folder(case), "seg")).array))

    @cache  # noqa: B019
    def to_learn(self, case: str) -> Case:
        """For the trainer."""
        return load_case(self.folder(case))


def _silent(stage: str, fraction: float) -> None:
    """Nobody watches."""


def compare(labels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[str, float]:
    """Dice by region, and the voxels that a reader would have to change."""
    told = {"voxels_changed": float(np.count_nonzero(labels != reference))}
    return told | {region: _dice(labels, reference, values) for region, values in REGIONS.items()}


def look(model: LoadedModel, reader: Reader, case: str, flips: bool = False) -> tuple[Evidence, dict[str, Any]]:
    """What the model makes of a case, and how that compares with the reference (which no strategy is told)."""
    result = _segmented(model, reader.prepared(case), "off")
    confidence = {name: region["confidence"] for name, region in result.summary["regions"].items()}
    disagreement = None
    if flips:
        mirrored = _segmented(model, reader.prepared(case), "on").labelmap
        disagreement = 1 - float(np.mean([_dice(result.labelmap, mirrored, values) for values in REGIONS.values()]))
    error = 1 - float(np.mean(list(confidence.values())))
    told = {"confidence": confidence, **compare(result.labelmap, reader.reference(case))}
    return Evidence(error, tuple(result.summary["descriptor"]), disagreement), told


def _segmented(model: LoadedModel, prepared: PreparedStudy, flips: str) -> SegmentationResult:
    options = parse_options({"flips": flips})
    probabilities = predict_prepared(prepared, model, options, _silent, lambda: False)
    return restore(probabilities, prepared, model, options, Record(), _silent, Stopwatch())


def _dice(first: NDArray[Any], second: NDArray[Any], values: Sequence[int]) -> float:
    ours, theirs = np.isin(first, values), np.isin(second, values)
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2 * np.count_nonzero(ours & theirs) / total if total else 1.0


def learn(start: Path | None, output: Path, cases: Sequence[str], reader: Reader, seed: int, steps: int) -> None:
    """Train a bundle on the cases.

    Args:
        start: bundle whose weights it goes on from; None to begin. output: bundle that gets the weights.
    """
    check_training_cases([reader.folder(case) for case in cases])
    torch.manual_seed(seed)
    network = build_network(read_bundle(output))
    if start is not None:
        network.load_state_dict({name: value.float() for name, value in load_file(start / WEIGHTS).items()})
    Steps.steps = steps
    Steps.rate = 1e-3 if start is None else 4e-4
    settings = replace(TrainingSettings.from_bundle(output), seed=seed, ema_decay=0.99)
    trainer = Steps(network, settings, torch.device("cpu"), output / "models")
    trainer.run([reader.to_learn(case) for case in cases], minutes=1e6, step_limit=steps)
    trainer.checkpoint.unlink()


def small_bundle(output: Path, spacing_mm: float, filters: int) -> Path:
    """A copy of ``brats_segresnet``'s configuration with a smaller network and larger voxels, without weights."""
    folder = output / "bundle"
    if folder.exists():
        return folder
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("models", "docs"))
    config = json.loads((folder / "configs/inference.json").read_text(encoding="utf-8"))
    config["network_def"]["init_filters"] = filters
    (folder / "configs/inference.json").write_text(json.dumps(config), encoding="utf-8")
    metadata = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    metadata["mahtai"]["spacing_mm"] = [spacing_mm] * 3
    (folder / "configs/metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    train = json.loads((folder / "configs/train.json").read_text(encoding="utf-8"))
    sides = [8 * round(length / spacing_mm / 8) for length in (160, 192, 160)]
    train["phases"] = [{"share": 1.0, "spacing_mm": spacing_mm, "patch": sides, "batch": 2}]
    (folder / "configs/train.json").write_text(json.dumps(train), encoding="utf-8")
    return folder


def one_loop(arguments: argparse.Namespace, bundle: Path, reader: Reader, seed: int, strategy: str, log: Path) -> None:
    """All rounds of one strategy from one start."""
    lists = split()
    drawn = random.Random(seed)
    labelled = sorted(drawn.sample(lists["train"], arguments.start))
    shuffled = drawn.sample(lists["train"], len(lists["train"]))
    done = {row["round"]: row for row in _rows(log) if (row["seed"], row["strategy"]) == (seed, strategy)}
    folder = arguments.output / str(seed) / "start"
    if not (folder / WEIGHTS).exists():
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        learn(None, folder, labelled, reader, seed, arguments.start_steps)
    for number in range(arguments.rounds + 1):
        if number in done:
            labelled = done[number]["labelled"]
            folder = arguments.output / str(seed) / strategy / str(number) if number else folder
            continue
        chosen, costs = [], {}
        if number:
            left = [case for case in lists["train"] if case not in labelled]
            chosen, costs = choose(folder, reader, strategy, left, labelled, shuffled, arguments.take)
            labelled = [*labelled, *chosen]
            new = arguments.output / str(seed) / strategy / str(number)
            shutil.copytree(bundle, new, dirs_exist_ok=True)
            learn(folder, new, labelled, reader, 100 * seed + number, arguments.steps)
            folder = new
        model = load_model(read_bundle(folder), torch.device("cpu"), "auto")
        scores = {case: look(model, reader, case)[1] for case in lists["test"]}
        row = {"seed": seed, "strategy": strategy, "round": number, "chosen": chosen, "labelled": labelled}
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**row, "costs": costs, "scores": scores, "at": time.time()}) + "\n")


def choose(
    folder: Path,
    reader: Reader,
    strategy: str,
    left: Sequence[str],
    labelled: Sequence[str],
    shuffled: Sequence[str],
    take: int,
) -> tuple[list[str], dict[str, Any]]:
    """The next cases by a strategy, and what correcting the model's result of each case of the pool would take."""
    model = load_model(read_bundle(folder), torch.device("cpu"), "auto")
    looked = {case: look(model, reader, case, strategy == "disagreement") for case in left}
    if strategy == "random":
        chosen = [case for case in shuffled if case in left][:take]
    else:
        around = [look(model, reader, case)[0].descriptor for case in labelled] if strategy == "diverse" else []
        evidence = {case: seen[0] for case, seen in looked.items()}
        ranked = rank(strategy, left, evidence, [each for each in around if each is not None])
        chosen = [case for case, _, _ in ranked[:take]]
    costs = {
        case: {**told, "error": seen.error, "disagreement": seen.disagreement} for case, (seen, told) in looked.items()
    }
    return chosen, costs


def _rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and bootstrap interval over cases."""
    array = np.array(values)
    draws = np.random.default_rng(0).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(array.mean()), float(low), float(high)


def table(log: Path) -> str:
    """Scores on the test list over the rounds, by case and seed, and the paired difference from random."""
    rows = {(row["strategy"], row["round"], row["seed"]): row for row in _rows(log)}
    seeds = sorted({seed for _, _, seed in rows})
    heads = (f"{'mean Dice [95 %]':>26}", *(f"{region.upper():>7}" for region in REGIONS), f"{'− random [95 %]':>28}")
    lines = [f"{'strategy':14}{'round':>6}{'labelled':>9}{'seeds':>6}{''.join(heads)}{'chosen: Dice, voxels':>24}"]
    for strategy, number in sorted({key[:2] for key in rows}, key=lambda key: (key[1], key[0])):
        here = [seed for seed in seeds if (strategy, number, seed) in rows]
        own = [rows[strategy, number, seed] for seed in here]
        cells = "".join(f"{np.mean([_mean(row, (region,)) for row in own]):7.3f}" for region in REGIONS)
        mean, low, high = interval(np.concatenate([_by_case(row) for row in own]))
        both = [seed for seed in here if ("random", number, seed) in rows and strategy != "random" and number]
        against = ""
        if both:
            pairs = [_by_case(rows[strategy, number, s]) - _by_case(rows["random", number, s]) for s in both]
            against = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(np.concatenate(pairs)))
        taken = [row["costs"][case] for row in own for case in row["chosen"]]
        cost = ""
        if taken:
            dice = np.mean([[told[region] for region in REGIONS] for told in taken])
            cost = f"{dice:.3f} {np.mean([told['voxels_changed'] for told in taken]):,.0f}"
        spread = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
        count = len(own[0]["labelled"])
        lines.append(f"{strategy:14}{number:6}{count:9}{len(own):6}{spread:>26}{cells}{against:>28}{cost:>24}")
    return "\n".join(lines)


def _mean(row: dict[str, Any], regions: Sequence[str]) -> float:
    return float(np.mean([[told[region] for region in regions] for told in row["scores"].values()]))


def _by_case(row: dict[str, Any]) -> NDArray[np.float64]:
    """Mean Dice of each test case, by the case's name."""
    scores = row["scores"]
    return np.array([np.mean([scores[case][region] for region in REGIONS]) for case in sorted(scores)])


def efficiency(log: Path) -> str:
    """How well the scores find what a reader would have to correct: rank correlation with the true error."""
    lines = [f"{'score':14}{'looks':>7}{'Spearman with 1 − Dice [95 %]':>34}"]
    for name in ("error", "disagreement"):
        found = []
        for row in _rows(log):
            told = [each for each in row["costs"].values() if each[name] is not None]
            if len(told) > 5 and row["strategy"] == {"error": "uncertain"}.get(name, name):
                errors = [1 - float(np.mean([each[region] for region in REGIONS])) for each in told]
                found.append(float(spearmanr([each[name] for each in told], errors).statistic))
        if found:
            lines.append(f"{name:14}{len(found):7}{'{:.2f} [{:.2f}, {:.2f}]'.format(*interval(found)):>34}")
    return "\n".join(lines)


def main() -> None:
    """Run the loops that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--strategies", default=",".join(each.id for each in STRATEGIES))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--start", type=int, default=4, help="cases of the first model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--take", type=int, default=2)
    parser.add_argument("--start-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--spacing", type=float, default=4.0)
    parser.add_argument("--filters", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(arguments).items() if not isinstance(value, Path)}
    (arguments.output / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    bundle = small_bundle(arguments.output, arguments.spacing, arguments.filters)
    reader = Reader(arguments.data, cast(SegmentationBundle, read_bundle(bundle)))
    log = arguments.output / "rounds.jsonl"
    for seed in arguments.seeds.split(","):
        for strategy in arguments.strategies.split(","):
            one_loop(arguments, bundle, reader, int(seed), strategy, log)
            print(f"{table(log)}\n\n{efficiency(log)}\n", flush=True)


if __name__ == "__main__":
    main()
