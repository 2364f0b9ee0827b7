"""Cephalograms with two readers' landmarks: where they lie, and which may be learnt from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mahtai.errors import MahtaiError
from mahtai.training.datasets import SplitError

PIXEL_MM = 0.1
"""Of the ISBI 2015 images, by the challenge's description."""

FOLDS = 5
"""An image's fold is its number modulo this."""

_HELD_OUT = Path(__file__).with_name("held_out_isbi2015.json")
_LAYOUT = "--data is the folder of the ISBI 2015 images: senior.csv, junior.csv, and images/001.jpg to images/300.jpg."
# the same film scanned or stored anew differs by up to 7 bits here, different films by 22 and more
_CLOSE_BITS = 15


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


def fingerprint(grey: np.ndarray) -> int:
    """256 bits that stay nearly the same when an image is resized, compressed anew or made brighter.

    Difference hash (N. Krawetz, 2013): whether each of 16 × 16 cells is brighter than its right neighbour.
    """
    small = np.asarray(Image.fromarray(grey).resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def held_out() -> dict[int, str]:
    """Fingerprint → name of every image that training may never see."""
    return {int(value, 16): name for name, value in _held_out()["fingerprints"].items()}


def twins_of_test_images() -> dict[str, str]:
    """Training image that is left out → the Test1 image that shows the same film."""
    return _held_out()["twins"]


def _held_out() -> dict[str, dict[str, str]]:
    return dict(json.loads(_HELD_OUT.read_text(encoding="utf-8")))


def check_training_images(paths: Iterable[Path]) -> None:
    """Refuse any test image, under its own name or another, mirrored or not.

    Raises:
        SplitError: naming the image.
    """
    known = held_out()
    for path in paths:
        grey = read_grey(path)
        for seen in (fingerprint(grey), fingerprint(np.ascontiguousarray(grey[:, ::-1]))):
            nearest = min(known, key=lambda value: (value ^ seen).bit_count())
            if (nearest ^ seen).bit_count() <= _CLOSE_BITS:
                raise SplitError(
                    f"{path.name} is the held-out image {known[nearest]} and can never enter training. "
                    "Take it out of the list; the split is kept for ever."
                )


def without_fold(images: Sequence[Cephalogram], fold: int) -> list[Cephalogram]:
    """What a member of the ensemble learns from."""
    return [image for image in images if image.fold != fold]
