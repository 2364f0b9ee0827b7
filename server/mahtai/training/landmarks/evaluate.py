"""Evaluation of a landmark model through the very pipeline that serves readers, beside the human readers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mahtai.inference.landmarks.pipeline import detect
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import LoadedModel
from mahtai.models.landmark_bundle import LandmarkBundle
from mahtai.training.landmarks.dataset import PIXEL_MM, Cephalogram, CephalogramsError
from mahtai.training.metrics import BOOTSTRAP_ROUNDS
from mahtai.volumes.calibration import mm_per_unit_of_pixel
from mahtai.volumes.formats import read_volume
from MahtAILib.cephalometry import isbi_classes

LIMITS_MM = (2.0, 2.5, 3.0, 4.0)
"""Of the successful detection rate, as in the ISBI 2015 challenge."""

REFERENCES = ("senior", "junior", "mean")


def evaluate(
    model: LoadedModel[LandmarkBundle],
    images: Sequence[Cephalogram],
    options: LandmarkOptions,
    on_image: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Place the landmarks in each image and compare them with both readers.

    Returns:
        JSON: one entry an image, and the summary with 95 % bootstrap intervals over the images.

    Raises:
        CephalogramsError: there are no images, or the readers placed other landmarks than the model.
    """
    ids = model.bundle.landmarks.ids
    _check(images, len(ids))
    points, radii, flags, entries = [], [], [], {}
    for image in images:
        volume = read_volume(image.path)
        unit = mm_per_unit_of_pixel(volume, PIXEL_MM)
        asked = LandmarkOptions(repr(unit), options.orientation, options.precision)
        started = time.perf_counter()
        result = detect(volume, model, asked, lambda stage, fraction: None, lambda: False)
        seconds = time.perf_counter() - started
        found = result.summary["landmarks"]
        points.append([found[name]["pixel"] for name in ids])
        radii.append([found[name]["radius"] * unit for name in ids])
        flags.append([bool(found[name]["flag"]) for name in ids])
        entries[image.name] = {
            "pixels": points[-1],
            "radius_mm": radii[-1],
            "flags": {name: found[name]["flag"] for name in ids if found[name]["flag"]},
            "indeterminate": result.summary["indeterminate"],
            "reasons": result.summary["reasons"],
            "warnings": result.summary["warnings"],
            "seconds": round(seconds, 3),
        }
        on_image()
    predicted = np.array(points, float)
    readers = {name: np.array([getattr(image, name) for image in images]) for name in REFERENCES}
    errors = {name: _distances(predicted, reader) for name, reader in readers.items()}
    human = _distances(readers["senior"], readers["junior"])
    return {
        "model": {"id": model.bundle.id, "version": model.bundle.version, "sha256": model.bundle.sha256},
        "device": str(model.device),
        "precision": model.precision,
        "threads": torch.get_num_threads(),
        "options": options.as_json(),
        "reference": "ISBI 2015 challenge, two readers; 'mean' is half way between them",
        "images": entries,
        "summary": {
            "n": len(images),
            **{name: _scores(error, ids) for name, error in errors.items()},
            "junior_against_senior": _scores(human, ids),
            "coverage_90": {name: _coverage(error, np.array(radii), ids) for name, error in errors.items()},
            "flagged": _flagged(np.array(flags), errors["mean"]),
            "indeterminate": [name for name, entry in entries.items() if entry["indeterminate"]],
            "classes": _class_agreement(ids, {"model": predicted, **readers}),
            "seconds": {"median": round(float(np.median([entry["seconds"] for entry in entries.values()])), 3)},
        },
    }


def _check(images: Sequence[Cephalogram], landmarks: int) -> None:
    if not images:
        raise CephalogramsError("There is no image to score the model on.", "Name at least one in --cases.")
    for image in images:
        if not len(image.senior) == len(image.junior) == landmarks:
            raise CephalogramsError(
                f"The readers placed {len(image.senior)} and {len(image.junior)} points in {image.name}; "
                f"the model places {landmarks}.",
                "Score it on images with points of its own landmark set.",
            )


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Images × landmarks, mm."""
    return np.asarray(np.linalg.norm(one - other, axis=2) * PIXEL_MM)


def _interval(per_image: np.ndarray) -> list[float]:
    """95 % percentile bootstrap interval of the mean over images."""
    picks = np.random.default_rng(0).integers(0, len(per_image), (BOOTSTRAP_ROUNDS, len(per_image)))
    low, high = np.percentile(per_image[picks].mean(1), [2.5, 97.5])
    return [round(float(low), 3), round(float(high), 3)]


def _scores(errors: np.ndarray, ids: Sequence[str]) -> dict[str, Any]:
    """Mean radial error, median, and successful detection rates, overall and by landmark."""
    rates = {
        f"sdr_{limit:g}_mm": {
            "percent": round(float((errors <= limit).mean() * 100), 2),
            "interval_95": _interval((errors <= limit).mean(1) * 100),
        }
        for limit in LIMITS_MM
    }
    return {
        "mre_mm": {"mean": round(float(errors.mean()), 3), "interval_95": _interval(errors.mean(1))},
        "median_mm": round(float(np.median(errors)), 3),
        **rates,
        "landmarks": {
            name: {
                "mre_mm": round(float(errors[:, number].mean()), 3),
                "interval_95": _interval(errors[:, number]),
                "median_mm": round(float(np.median(errors[:, number])), 3),
                "sdr_percent": [round(float((errors[:, number] <= limit).mean() * 100), 1) for limit in LIMITS_MM],
            }
            for number, name in enumerate(ids)
        },
    }


def _coverage(errors: np.ndarray, radii: np.ndarray, ids: Sequence[str]) -> dict[str, Any]:
    """Share of reference points inside the 90 % circles."""
    inside = errors <= radii
    return {
        "percent": round(float(inside.mean() * 100), 2),
        "interval_95": _interval(inside.mean(1) * 100),
        "landmarks": {name: round(float(inside[:, number].mean() * 100), 1) for number, name in enumerate(ids)},
        "mean_radius_mm": {name: round(float(radii[:, number].mean()), 2) for number, name in enumerate(ids)},
    }


def _flagged(flags: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    def mean(values: np.ndarray) -> float | None:
        return round(float(values.mean()), 3) if values.size else None

    return {
        "points_percent": round(float(flags.mean() * 100), 2),
        "mre_of_flagged_mm": mean(errors[flags]),
        "mre_of_others_mm": mean(errors[~flags]),
    }


def _class_agreement(ids: Sequence[str], readers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Percent of images in which two of them come to the same class, for each of the eight measurements."""
    classes = {
        name: [isbi_classes(dict(zip(ids, head * PIXEL_MM, strict=True)), 1.0) for head in heads]
        for name, heads in readers.items()
    }
    pairs = (("model", "senior"), ("model", "junior"), ("model", "mean"), ("junior", "senior"))
    table: dict[str, dict[str, float]] = {}
    for number, measured in enumerate(classes["model"][0]):
        table[measured.published_as] = {
            f"{one} and {other}": round(
                100
                * float(
                    np.mean(
                        [
                            a[number].number == b[number].number
                            for a, b in zip(classes[one], classes[other], strict=True)
                        ]
                    )
                ),
                1,
            )
            for one, other in pairs
        }
    return table


def as_table(result: Mapping[str, Any]) -> str:
    """The summary as plain text."""
    summary = result["summary"]
    lines = [
        f"{summary['n']} images",
        f"{'':26}{'MRE mm [95 %]':>26}{'median':>8}" + "".join(f"{f'≤{limit:g} mm':>9}" for limit in LIMITS_MM),
    ]
    titles = {name: f"model against {name}" for name in REFERENCES}
    for name, title in {**titles, "junior_against_senior": "junior against senior"}.items():
        row = summary[name]
        low, high = row["mre_mm"]["interval_95"]
        spread = f"{row['mre_mm']['mean']:.3f} [{low:.3f}, {high:.3f}]"
        rates = "".join(f"{row[f'sdr_{limit:g}_mm']['percent']:>9.1f}" for limit in LIMITS_MM)
        lines.append(f"{title:26}{spread:>26}{row['median_mm']:>8.2f}{rates}")
    covered = summary["coverage_90"]
    lines += [
        "",
        "90 % radii hold the reference in: "
        + ", ".join(f"{covered[name]['percent']:.1f} % ({name})" for name in REFERENCES),
    ]
    flagged = summary["flagged"]
    lines.append(
        f"doubtful points: {flagged['points_percent']} %; their mean error {flagged['mre_of_flagged_mm']} mm, "
        f"of the others {flagged['mre_of_others_mm']} mm; indeterminate images: {len(summary['indeterminate'])}"
    )
    lines += ["", f"{'landmark':10}{'MRE mm':>8}{'≤2 mm %':>9}{'covered %':>11}{'radius mm':>11}{'human mm':>10}"]
    human = summary["junior_against_senior"]["landmarks"]
    for name, row in summary["mean"]["landmarks"].items():
        lines.append(
            f"{name:10}{row['mre_mm']:>8.2f}{row['sdr_percent'][0]:>9.1f}{covered['mean']['landmarks'][name]:>11.1f}"
            f"{covered['mean']['mean_radius_mm'][name]:>11.2f}{human[name]['mre_mm']:>10.2f}"
        )
    pairs = list(next(iter(summary["classes"].values())))
    lines += ["", "same class %   " + "".join(f"{pair:>20}" for pair in pairs)]
    for name, agreement in summary["classes"].items():
        lines.append(f"{name:15}" + "".join(f"{agreement[pair]:>20.1f}" for pair in pairs))
    return "\n".join(lines)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """A picture of the errors by landmark, beside the readers' own disagreement."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    summary = result["summary"]
    rows = summary["mean"]["landmarks"]
    names = sorted(rows, key=lambda name: rows[name]["mre_mm"])
    places = np.arange(len(names))
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    means = [rows[name]["mre_mm"] for name in names]
    spread = np.array(
        [
            [rows[name]["mre_mm"] - rows[name]["interval_95"][0] for name in names],
            [rows[name]["interval_95"][1] - rows[name]["mre_mm"] for name in names],
        ]
    )
    axes.barh(places, means, xerr=spread, color="#4c78a8", ecolor="#1f3a57", label="model against the readers' mean")
    human = summary["junior_against_senior"]["landmarks"]
    axes.plot([human[name]["mre_mm"] for name in names], places, "D", color="#e45756", label="junior against senior")
    radius = summary["coverage_90"]["mean"]["mean_radius_mm"]
    axes.plot([radius[name] for name in names], places, "|", color="black", markersize=14, label="mean 90 % radius")
    axes.axvline(2, color="grey", linewidth=0.8, linestyle="--")
    axes.set_yticks(places, names)
    axes.set_xlabel("mm; bars: mean radial error with 95 % interval; dashed: 2 mm")
    overall = summary["mean"]
    axes.set_title(
        f"{summary['n']} images: {overall['mre_mm']['mean']:.2f} mm, "
        f"{overall['sdr_2_mm']['percent']:.1f} % within 2 mm; "
        f"readers among themselves {summary['junior_against_senior']['mre_mm']['mean']:.2f} mm"
    )
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
