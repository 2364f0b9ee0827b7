"""What a click of the reader's brush is worth: Dice against the number of clicks, for several ways to carry it on.

    PYTHONPATH=server:MahtAI python server/benchmarks/correction_clicks.py --data CASES --output runs/clicks

The reader is simulated, as the literature does: he clicks into the middle of the largest connected error (a ball of
3 mm, clipped to what is really so; ``--stroke disk``: in one axial slice only), the region of 24 mm around it is
corrected and put back, and so on. Start is the model's own result. Parameters were chosen on train and validation
cases; the default is the held-out test cases. Prints a table, writes clicks.json and clicks.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mahtai.inference.correction import correct, label_probabilities
from mahtai.inference.local_correction import Evidence
from mahtai.inference.options import Options
from mahtai.inference.prediction import load_model
from mahtai.inference.regions import regions_from_outputs
from mahtai.inference.segmentation import Stopwatch, predict_prepared, restore
from mahtai.inference.spatial import resample
from mahtai.inference.study import Record, prepare_study
from mahtai.models.bundle import SegmentationBundle, read_bundle
from mahtai.training.datasets import contiguous_labels, sequence_file, split
from mahtai.training.metrics import bootstrap_mean
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry

MODEL = Path(__file__).resolve().parents[2] / "models" / "brats_segresnet"
REGIONS = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
BALL_MM, MARGIN_MM = 3.0, 24.0
NOTABLE_LOSS = 0.005


@dataclass(frozen=True, eq=False)
class Start:
    """A case as the reader first sees it: all on the reference grid."""

    images: torch.Tensor
    region_ids: tuple[str, ...]
    probabilities: torch.Tensor
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Task:
    """A region around a click."""

    images: torch.Tensor
    region_ids: tuple[str, ...]
    probabilities: torch.Tensor
    labels: NDArray[np.uint8]
    strokes: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


Solver = Callable[[Task, SegmentationBundle], NDArray[np.uint8]]


def paint(task: Task, bundle: SegmentationBundle) -> NDArray[np.uint8]:
    """The stroke alone, as without any help."""
    return np.where(task.strokes > 0, task.strokes - 1, task.labels).astype(np.uint8)


def shift_logits(task: Task, bundle: SegmentationBundle) -> NDArray[np.uint8]:
    """The model's log-probability of the painted label raised near the stroke, fading with the distance."""
    result = paint(task, bundle)
    chances = label_probabilities(task.region_ids, task.probabilities, bundle.labels)
    now = np.select([task.labels == value for value in chances], list(chances.values()), 0.0)
    for value in set(np.unique(task.strokes)) - {0}:
        own = task.strokes == value
        distance = ndimage.distance_transform_edt(~own, sampling=task.spacing_mm)
        margin = np.log(np.clip(chances[int(value) - 1], 1e-4, 1)) - np.log(np.clip(now, 1e-4, 1))
        parts, _ = ndimage.label((margin + 5 * np.exp(-distance / 6) > 0) | own)
        taken = np.isin(parts, np.unique(parts[own])) & (task.strokes == 0)
        result[taken] = value - 1
    return result


def random_walk(task: Task, bundle: SegmentationBundle) -> NDArray[np.uint8]:
    """What the server does."""
    return correct(
        task.images,
        task.region_ids,
        task.probabilities,
        task.labels,
        task.strokes,
        bundle.labels,
        task.spacing_mm,
    )


SOLVERS: dict[str, Solver] = {"stroke alone": paint, "shifted logits": shift_logits, "random walker": random_walk}


def start_of(folder: Path, model: Any) -> Start:
    """The model's result on a case, and what it saw."""
    study = {channel.id: read_volume(sequence_file(folder, channel.id)) for channel in model.bundle.channels}
    truth = contiguous_labels(np.asarray(read_volume(sequence_file(folder, "seg")).array))
    options, record = Options(), Record()
    prepared = prepare_study(study, model.bundle, options, model.device, _nothing, record)
    found = Evidence(prepared, predict_prepared(prepared, model, options, _nothing, lambda: False))
    result = restore(found.probabilities, prepared, model, options, record, _nothing, Stopwatch())
    regions = regions_from_outputs(found.probabilities, model.bundle)
    return Start(
        resample(prepared.image, prepared.grid, result.geometry),
        regions.ids,
        resample(regions.probabilities * prepared.mask, prepared.grid, result.geometry),
        result.labelmap,
        truth.astype(np.uint8),
        result.geometry,
    )


def next_stroke(labels: NDArray, truth: NDArray, spacing: Sequence[float], flat: bool) -> NDArray[np.uint8] | None:
    """A ball (or a disk) in the middle of the largest connected error; None where there is none."""
    largest: tuple[int, int, NDArray] | None = None
    for value in range(4):
        parts, count = ndimage.label((labels != truth) & (truth == value))
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            if largest is None or sizes.max() > largest[0]:
                largest = (int(sizes.max()), value, parts == sizes.argmax())
    if largest is None:
        return None
    _, value, part = largest
    box = ndimage.find_objects(part.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(part[box], 1), sampling=spacing)
    middle = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) - 1 + [axis.start for axis in box]
    grids = np.ogrid[tuple(slice(0, count) for count in labels.shape)]
    away = sum(((grid - at) * mm) ** 2 for grid, at, mm in zip(grids, middle, spacing, strict=True))
    ball = (away <= BALL_MM**2) & (truth == value)
    if flat:
        ball &= grids[2] == middle[2]
    return ball * np.uint8(value + 1)


def simulate(start: Start, solver: Solver, bundle: SegmentationBundle, clicks: int, flat: bool) -> dict[str, Any]:
    """One case, click after click: Dice by region, and seconds a click."""
    labels, spacing = start.labels.copy(), start.geometry.spacing_mm
    strokes = np.zeros_like(labels)
    dice, seconds = [_dice(labels, start.truth)], []
    for _ in range(clicks):
        new = next_stroke(labels, start.truth, spacing, flat)
        if new is not None:
            strokes[new > 0] = new[new > 0]
            box = tuple(
                slice(max(int(at.min() - MARGIN_MM / mm), 0), min(int(at.max() + MARGIN_MM / mm) + 1, count))
                for at, mm, count in zip(np.nonzero(new), spacing, labels.shape, strict=True)
            )
            # as the panel does: strokes that the reader has gone over since are his no more
            kept = np.where(labels[box] + 1 == strokes[box], strokes[box], new[box]).astype(np.uint8)
            part = (slice(None), *box)
            task = Task(start.images[part], start.region_ids, start.probabilities[part], labels[box], kept, spacing)
            began = time.perf_counter()
            labels[box] = solver(task, bundle)
            seconds.append(time.perf_counter() - began)
        dice.append(_dice(labels, start.truth))
    return {"dice": dice, "seconds": seconds}


def _dice(labels: NDArray, truth: NDArray) -> dict[str, float]:
    found = {}
    for name, values in REGIONS.items():
        first, second = np.isin(labels, values), np.isin(truth, values)
        total = int(first.sum() + second.sum())
        found[name] = 2 * int((first & second).sum()) / total if total else 1.0
    return found


def summary(cases: dict[str, dict[str, Any]], clicks: int) -> dict[str, Any]:
    """Mean Dice with its interval after each click, time a click, and how often a click made a region worse."""
    after = {
        name: [bootstrap_mean([case["dice"][count][name] for case in cases.values()]) for count in range(clicks + 1)]
        for name in REGIONS
    }
    steps = [
        min(later[name] - before[name] for name in REGIONS)
        for case in cases.values()
        for before, later in zip(case["dice"], case["dice"][1:], strict=False)
    ]
    times = [second for case in cases.values() for second in case["seconds"]]
    return {
        "dice": after,
        "clicks_that_made_a_region_worse": sum(step < -NOTABLE_LOSS for step in steps),
        "clicks": len(steps),
        "seconds_a_click": {"median": float(np.median(times)), "p95": float(np.percentile(times, 95))},
    }


def table(results: dict[str, Any], clicks: int) -> str:
    """For the screen."""
    shown = [count for count in (0, 1, 2, 3, 5, 10, 20) if count <= clicks]
    lines = [f"{'':18}{'':4}" + "".join(f"{count:>9}" for count in shown) + "  clicks"]
    for solver, result in results.items():
        for name in REGIONS:
            values = "".join(f"{result['dice'][name][count]['mean']:9.3f}" for count in shown)
            lines.append(f"{solver:18}{name.upper():4}{values}")
        worse, times = result["clicks_that_made_a_region_worse"], result["seconds_a_click"]
        lines.append(
            f"{'':22}worse by more than {NOTABLE_LOSS}: {worse} of {result['clicks']}; "
            f"{times['median']:.2f} s a click (95 %: {times['p95']:.2f})"
        )
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """A panel a region."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), sharex=True, layout="constrained")
    for axis, name in zip(axes, REGIONS, strict=True):
        for solver, result in results.items():
            rows = result["dice"][name]
            axis.plot([row["mean"] for row in rows], marker="o", markersize=3, label=solver)
        axis.set(title=name.upper(), xlabel="clicks", ylabel="Dice, mean over cases")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


def _nothing(_stage: str, _fraction: float) -> None:
    pass


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", default="test", help="a list of the split, or names, comma-separated")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--stroke", choices=("ball", "disk"), default="ball")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("clicks"))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model = load_model(read_bundle(MODEL), torch.device("cpu"))
    names = split().get(asked.cases) or asked.cases.split(",")
    cases: dict[str, dict[str, Any]] = {solver: {} for solver in SOLVERS}
    for name in names:
        start = start_of(asked.data / name, model)
        for solver, solve in SOLVERS.items():
            cases[solver][name] = simulate(start, solve, model.bundle, asked.clicks, asked.stroke == "disk")
        print(name, flush=True)
    results = {solver: summary(found, asked.clicks) for solver, found in cases.items()}
    asked.output.mkdir(parents=True, exist_ok=True)
    setting = {"cases": names, "stroke": asked.stroke, "ball_mm": BALL_MM, "threads": asked.threads}
    content = {"setting": setting, "results": results, "by_case": cases}
    (asked.output / "clicks.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    plot(results, asked.output / "clicks.png")
    print(table(results, asked.clicks))


if __name__ == "__main__":
    main()
