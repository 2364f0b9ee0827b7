"""Cephalograms with two readers' landmarks: where they lie, and which may be learnt from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mahtai.errors import MahtaiError
from mahtai.training.landmarks.films import held_out_film, twins_of_test_images
from mahtai.training.splits import SplitError

PIXEL_MM = 0.1
"""Of the ISBI 2015 images, by the challenge's description."""

FOLDS = 5
"""An image's fold is its number modulo this."""

_LAYOUT = "--data is the folder of the ISBI 2015 images: senior.csv, junior.csv, and images/001.jpg to images/300.jpg."


class CephalogramsError(MahtaiError):
    """The images or readers' points that were asked for are not there."""

    kind = "cephalograms"
    title = "The cephalograms cannot be read"
    status = 422


@dataclass(frozen=True)
class Cephalogram:
    """One image with its reference landmarks.

    Attributes:
        name: the number, ``"001"`` to ``"300"``.
        senior, junior: landmarks × 2, x and y in pixels.
    """

    name: str
    path: Path
    senior: np.ndarray
    junior: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Half way between the readers, which is what most publications score against."""
        return np.asarray((self.senior + self.junior) / 2)

    @property
    def fold(self) -> int:
        """In cross-validation inside the training images."""
        return int(self.name) % FOLDS


def read_cephalograms(root: Path, split: str) -> list[Cephalogram]:
    """The images of ``train`` or ``test1`` in a folder with ``images``, ``senior.csv`` and ``junior.csv``.

    Twenty training images show the same film as a Test1 image. They are left out of ``train``, so that a
    score on Test1 is one on films that were never seen.

    Raises:
        CephalogramsError: a table or an image is not there, or a table cannot be read.
    """
    readers = {reader: _read_points(root / f"{reader}.csv") for reader in ("senior", "junior")}
    wanted = range(1, 151) if split == "train" else range(151, 301)
    twins = twins_of_test_images()
    names = [f"{number:03}" for number in wanted if f"{number:03}" not in twins]
    missing = [
        name
        for name in names
        if any(name not in points for points in readers.values()) or not _image(root, name).is_file()
    ]
    if missing:
        raise CephalogramsError(f"{root} lacks the cephalograms {', '.join(missing[:5])}.", _LAYOUT)
    return [Cephalogram(name, _image(root, name), readers["senior"][name], readers["junior"][name]) for name in names]


def _image(root: Path, name: str) -> Path:
    return root / "images" / f"{name}.jpg"


def _read_points(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            columns = [name for name in rows.fieldnames or () if name.endswith("_mm")]
            return {
                Path(row["image"]).stem: np.array([float(row[name]) / PIXEL_MM for name in columns]).reshape(-1, 2)
                for row in rows
            }
    except OSError as error:
        raise CephalogramsError(f"{path} cannot be read ({error.strerror}).", _LAYOUT) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise CephalogramsError(f"{path} is no table of a reader's points.", _LAYOUT) from error


def read_grey(path: Path) -> np.ndarray:
    """Height × width uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def check_training_images(paths: Iterable[Path]) -> None:
    """Refuse any test image, under its own name or another, mirrored or not.

    Raises:
        SplitError: naming the image.
    """
    for path in paths:
        known_as = held_out_film(read_grey(path))
        if known_as is not None:
            raise SplitError(
                f"{path.name} is the held-out image {known_as} and can never enter training. "
                "Take it out of the list; the split is kept for ever."
            )


def without_fold(images: Sequence[Cephalogram], fold: int) -> list[Cephalogram]:
    """What a member of the ensemble learns from."""
    return [image for image in images if image.fold != fold]
