"""A made-up brain with a nested lesion: known truth where no real case may travel (demo, tests)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

TISSUES = ("background", "csf", "grey", "white", "ncr", "ed", "et")
CONTRAST = {
    "t1": (0, 250, 560, 720, 380, 500, 520),
    "t1c": (0, 280, 600, 730, 360, 520, 1150),
    "t2": (0, 950, 560, 400, 850, 780, 620),
    "flair": (0, 180, 520, 430, 420, 900, 760),
}
"""Mean signal of each tissue in each sequence, in the order that a scanner shows them."""


@dataclass(frozen=True)
class Phantom:
    """A study made by arithmetic.

    Attributes:
        channels: id → I × J × K int16, background 0.
        labels: I × J × K uint8: 1 NCR, 2 ED, 3 ET.
        ijk_to_ras: 4 × 4 in mm.
        lesion_ras_mm: centre of the lesion.
    """

    channels: dict[str, NDArray[np.int16]]
    labels: NDArray[np.uint8]
    ijk_to_ras: NDArray[np.float64]
    lesion_ras_mm: NDArray[np.float64]


def make_phantom(
    shape: tuple[int, int, int] = (160, 192, 144),
    ijk_to_ras: NDArray[np.float64] | None = None,
    lesion_ras_mm: tuple[float, float, float] = (32.0, 20.0, 18.0),
    lesion_radius_mm: float = 26.0,
    seed: int = 0,
) -> Phantom:
    """Draw the brain into any grid; the anatomy is fixed in RAS space around 0, 0, 0.

    Args:
        ijk_to_ras: default: 1 mm, axes LPS as in BraTS files, centred.
        lesion_ras_mm: centre of the lesion, whatever the grid.
    """
    if ijk_to_ras is None:
        ijk_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
        ijk_to_ras[:3, 3] = -ijk_to_ras[:3, :3] @ ((np.array(shape) - 1) / 2)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    ras = indices @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    random = np.random.default_rng(seed)
    fold = _folds(ras)
    brain = _ellipsoid(ras, (0, 0, 0), (66, 82, 62))
    tissue = np.where(brain < 0.97 - 0.05 * fold, 3, np.where(brain < 1.0, 1, 0))
    tissue[(tissue == 3) & ((brain > 0.8 - 0.12 * fold) | (fold > 0.75))] = 2
    for side in (-1, 1):
        tissue[_ellipsoid(ras, (side * 9, 2, 8), (5, 28, 9)) < 1] = 1
        tissue[_ellipsoid(ras, (side * 22, 4, 0), (9, 16, 10)) < 1] = 2
    distance = _ellipsoid(ras, lesion_ras_mm, (lesion_radius_mm,) * 3) + 0.12 * fold
    labels = np.zeros(shape, np.uint8)
    inside = tissue > 0
    for border, label in ((1.0, 2), (0.62, 3), (0.38, 1)):
        labels[inside & (distance < border)] = label
    for label, index in ((1, 4), (2, 5), (3, 6)):
        tissue[labels == label] = index
    channels = {}
    for channel, means in CONTRAST.items():
        signal = np.asarray(means, float)[tissue]
        signal = gaussian_filter(signal, 0.7) + random.normal(0, 18, shape)
        channels[channel] = np.where(inside, np.clip(signal, 1, None), 0).astype(np.int16)
    return Phantom(channels, labels, np.asarray(ijk_to_ras, float), np.asarray(lesion_ras_mm, float))


def _ellipsoid(
    ras: NDArray[np.float64], centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Distance from the centre in units of the radii: 1 on the surface."""
    return np.asarray(np.sqrt((((ras - np.array(centre)) / np.array(radii)) ** 2).sum(-1)))


def _folds(ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pattern like gyri, fixed in space, about -1..1."""
    x, y, z = np.moveaxis(ras, -1, 0)
    waves = np.sin(x / 5 + 2 * np.sin(y / 11)) + np.sin(y / 6 + 2 * np.sin(z / 9)) + np.sin(z / 5 + 2 * np.sin(x / 13))
    return np.asarray(waves / 3)
