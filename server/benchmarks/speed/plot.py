"""The report as a picture: where the time goes, ours beside the peers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  # after the choice of what draws

from speed.stages import STAGES  # noqa: E402

GROUPS = {
    "to the server": ("export", "hash", "upload", "queue"),
    "load, preprocess": ("load", "preprocess", "preview"),
    "network": ("forward",),
    "postprocess, encode": ("postprocess", "encode", "store"),
    "to the scene": ("download", "import"),
    "other": ("other", "remainder"),
}
COLOURS = ("#56b4e9", "#009e73", "#d55e00", "#f0e442", "#0072b2", "#999999")
"""Okabe and Ito's, which all readers can tell apart."""


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Stacked bars: above all together, below ours alone, stage by stage."""
    ours = {f"MahtAI: {kind}": found for kind, found in report["ours"].items()}
    peers = {
        f"{name}: {phase}": found for name, peer in report["peers"].items() for phase, found in peer["phases"].items()
    }
    rows = {**ours, **peers}
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(11, 3.4 + 0.42 * (len(rows) + len(ours))))
    for number, found in enumerate(rows.values()):
        left = 0.0
        for (group, stages), colour in zip(GROUPS.items(), COLOURS, strict=True):
            width = sum(max(found["stages_s"].get(stage, 0.0), 0.0) for stage in stages)
            top.barh(number, width, left=left, color=colour, label=group if number == 0 else None)
            left += width
        top.text(left, number, f" {found['wall_s']['median']:.2f} s", va="center", fontsize=8)
    _finish(top, list(rows), "Seconds, median of rounds run in turn")
    colours = pyplot.get_cmap("tab20")
    for number, found in enumerate(ours.values()):
        left = 0.0
        for index, stage in enumerate((*STAGES, "remainder")):
            width = max(found["stages_s"].get(stage, 0.0), 0.0)
            bottom.barh(number, width, left=left, color=colours(index), label=stage if number == 0 else None)
            left += width
    _finish(bottom, list(ours), "Ours, stage by stage (s)")
    machine = report["machine"]
    figure.suptitle(
        f"{report['model']}, {', '.join(report['cases'])[:60]}; {machine['cores_used']} cores of "
        f"{machine['processor']}, device {report['settings']['device']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _finish(axes: Any, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * axes.get_xlim()[1])
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
