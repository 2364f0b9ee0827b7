"""A 4-up picture: the four sequences with the segmentation over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

TITLES = {"t1": "T1", "t1c": "T1 with contrast", "t2": "T2", "flair": "FLAIR"}


def _axial(array: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """Axes so that [:, :, k] seen as rows × columns is an axial slice as a radiologist expects it."""
    turn = ornt_transform(io_orientation(ijk_to_ras), axcodes2ornt(("P", "L", "S")))
    return np.asarray(apply_orientation(array, turn))


def four_up(
    path: Path,
    volumes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labelmap: np.ndarray,
    ijk_to_ras: np.ndarray,
    segments: Sequence[tuple[int, str, tuple[float, float, float]]],
    caption: str,
) -> None:
    """Write the axial slice with most tumour as PNG.

    Args:
        volumes: channel id → (array, IJK-to-RAS), all on the grid of the labelmap.
        segments: label value, name and RGB 0..1 of each segment.
    """
    labels = _axial(labelmap, ijk_to_ras)
    index = int((labels > 0).sum(axis=(0, 1)).argmax()) if labels.any() else labels.shape[2] // 2
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    order = np.abs(np.linalg.inv(ijk_to_ras[:3, :3])).argmax(axis=0)
    aspect = float(spacing[order[1]] / spacing[order[0]])
    figure = Figure(figsize=(9, 10), facecolor="black", layout=ConstrainedLayoutEngine(rect=(0, 0.03, 1, 0.97)))
    axes = figure.subplots(2, 2)
    for axis, (channel, (array, affine)) in zip(axes.flat, sorted(volumes.items(), key=_panel_order), strict=False):
        picture = _axial(array, affine)[:, :, index].astype(float)
        low, high = np.percentile(picture[picture > 0], [1, 99.5]) if (picture > 0).any() else (0, 1)
        axis.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        for value, _, color in segments:
            mask = labels[:, :, index] == value
            if mask.any():
                rgb = np.array(color)
                axis.imshow(np.dstack([np.broadcast_to(rgb, (*mask.shape, 3)), mask * 0.25]), aspect=aspect)
                axis.contour(mask, levels=[0.5], colors=[to_rgb(tuple(rgb))], linewidths=1.0)
        axis.set_title(TITLES.get(channel, channel), color="white")
    for axis in axes.flat:
        axis.axis("off")
    for number, (_, name, color) in enumerate(segments):
        figure.text(0.03 + 0.22 * number, 0.012, f"■ {name}", color=color, fontsize=11)
    figure.suptitle(caption, color="white", fontsize=11)
    figure.savefig(path, dpi=100, facecolor="black")


def _panel_order(item: tuple[str, object]) -> int:
    return ["t1", "t1c", "t2", "flair"].index(item[0]) if item[0] in TITLES else 9
