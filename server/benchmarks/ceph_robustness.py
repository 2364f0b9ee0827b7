"""What the cephalogram pipeline makes of turned, mirrored, damaged and foreign images: handled, flagged, or missed.

Handled: not indeterminate, and the mean error is below 3 mm. Flagged: indeterminate. Missed: neither, which
is the one outcome that may not be. Run from the repository's root:

    python server/benchmarks/ceph_robustness.py --data ../shared/data --images 100 -o robustness.json

``--photos`` adds a folder of pictures that are no cephalograms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mahtai.inference.landmarks.pipeline import detect
from mahtai.inference.options import LandmarkOptions
from mahtai.inference.prediction import LoadedModel, load_model
from mahtai.models.bundle import LandmarkBundle, read_bundle
from mahtai.training.landmarks.dataset import PIXEL_MM, read_cephalograms, read_grey
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.volume import Volume

MODEL = Path(__file__).resolve().parents[2] / "models" / "ceph_mahtnet"
HANDLED_MM = 3.0

Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Image (height × width) and points in its pixels → both after the change."""


def _mirrored(grey: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return grey[:, ::-1], np.c_[grey.shape[1] - 1 - points[:, 0], points[:, 1]]


def _clockwise(grey: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.rot90(grey, -1), np.c_[grey.shape[0] - 1 - points[:, 1], points[:, 0]]


def _times(change: Change, count: int) -> Change:
    def changed(grey: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(count):
            grey, points = change(grey, points)
        return grey, points

    return changed


def _cropped(top: float, left: float, bottom: float) -> Change:
    """Without these shares of the height at the top, of the width at the left, of the height at the bottom."""

    def changed(grey: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = grey.shape
        corner = np.array([int(left * width), int(top * height)])
        return grey[corner[1] : int((1 - bottom) * height), corner[0] :], points - corner

    return changed


CHANGES: dict[str, Change] = {
    "as shown": lambda grey, points: (grey, points),
    "mirrored": _mirrored,
    "turned 90° clockwise": _clockwise,
    "turned 90° anticlockwise": _times(_clockwise, 3),
    "upside down": _times(_clockwise, 2),
    "mirrored and turned": lambda grey, points: _clockwise(*_mirrored(grey, points)),
    "negative": lambda grey, points: (255 - grey, points),
    "wide black border": lambda grey, points: (np.pad(grey, 600), points + 600),
    "cropped to the face": _cropped(0.2, 0.15, 0.0),
    "chin cut off": _cropped(0.0, 0.0, 0.25),
    "face cut off": lambda grey, points: (grey[:, : int(0.55 * grey.shape[1])], points),
}


def _no_heads(data: Path, photos: Path | None, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and grey image of what is no cephalogram."""
    random = np.random.default_rng(0)
    for number in range(count):
        size = (int(random.integers(600, 1400)), int(random.integers(500, 1200)))
        kind = number % 4
        y, x = np.mgrid[: size[0], : size[1]]
        if kind == 0:
            yield "noise and patterns", random.integers(0, 255, size, dtype=np.uint8)
        elif kind == 1:
            yield "noise and patterns", np.full(size, number % 255, np.uint8)
        elif kind == 2:
            waves = 127 + 120 * np.sin(x / (10 + number)) * np.cos(y / (7 + number))
            yield "noise and patterns", waves.astype(np.uint8)
        else:
            coarse = random.normal(0, 1, (12, 10)).astype(np.float32)
            cloud = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
            yield "noise and patterns", np.clip(127 + 60 * cloud, 0, 255).astype(np.uint8)
    scans = [data / "tcga_fg_6692" / "t1.nii.gz", *sorted((data / "brats").glob("*/t1.nii.gz"))]
    for number in range(count):
        array = np.asarray(read_volume(scans[number % len(scans)]).array, np.float32)
        axis = number % 3
        slice_ = np.take(array, int(array.shape[axis] * random.uniform(0.35, 0.65)), axis)
        picture = Image.fromarray(np.ascontiguousarray(slice_.T[::-1])).resize((800, 900), Image.Resampling.BICUBIC)
        yield "brain slices", np.asarray(picture)
    pictures = sorted(path for path in photos.iterdir() if path.is_file()) if photos else []
    for number in range(count if pictures else 0):
        with Image.open(pictures[number % len(pictures)]) as image:
            grey = image.convert("L")
        width, height = (int(length * random.uniform(0.5, 1)) for length in grey.size)
        left, top = (int(random.uniform(0, 1) * (a - b)) for a, b in zip(grey.size, (width, height), strict=True))
        yield "photos", np.asarray(grey.crop((left, top, left + width, top + height)).resize((900, 1000)))


def _detected(grey: np.ndarray, model: LoadedModel[LandmarkBundle]) -> tuple[np.ndarray, bool, list[str]]:
    array = np.ascontiguousarray(grey.T)[:, :, None]
    volume = Volume(array, Geometry(array.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), "png")
    summary = detect(volume, model, LandmarkOptions(), lambda stage, fraction: None, lambda: False).summary
    points = np.array([entry["pixel"] for entry in summary["landmarks"].values()])
    return points, summary["indeterminate"], summary["reasons"]


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--split", default="test1", choices=("train", "test1"))
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    bundle = read_bundle(MODEL)
    assert isinstance(bundle, LandmarkBundle)
    model = load_model(bundle, torch.device("cpu"))
    images = read_cephalograms(asked.data / "ceph_isbi2015", asked.split)[: asked.images]
    table: dict[str, dict[str, float]] = {}
    for name, change in CHANGES.items():
        rows = []
        for image in tqdm(images, desc=name, leave=False):
            grey, truth = change(read_grey(image.path), image.mean)
            points, indeterminate, _ = _detected(grey, model)
            rows.append((np.linalg.norm(points - truth, axis=1).mean() * PIXEL_MM, indeterminate))
        flagged = sum(indeterminate for _, indeterminate in rows)
        handled = sum(bool(error < HANDLED_MM) and not indeterminate for error, indeterminate in rows)
        errors = [error for error, _ in rows]
        table[name] = {
            "n": len(rows),
            "handled": handled,
            "flagged": flagged,
            "missed": len(rows) - handled - flagged,
            "mean_error_mm": round(float(np.mean(errors)), 3),
            "largest_error_mm": round(float(np.max(errors)), 2),
        }
        print(f"{name:26}", table[name], flush=True)
    foreign: dict[str, list[bool]] = {}
    for kind, grey in tqdm(_no_heads(asked.data, asked.photos, asked.images), desc="no cephalograms", leave=False):
        foreign.setdefault(kind, []).append(_detected(grey, model)[1])
    for kind, results in foreign.items():
        table[kind] = {"n": len(results), "flagged": sum(results), "missed": len(results) - sum(results)}
        print(f"{kind:26}", table[kind], flush=True)
    if asked.output:
        asked.output.write_text(json.dumps({"model": bundle.sha256, "split": asked.split, "table": table}, indent=1))


if __name__ == "__main__":
    main()
