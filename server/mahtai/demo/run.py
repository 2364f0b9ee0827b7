"""The demo itself: server, study, segmentation, label versions, files and picture, with the time of each stage."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import ndimage

from mahtai.demo.pictures import four_up
from mahtai.demo.sample import DemoStudy, demo_study
from mahtai.demo.server_process import running_server
from mahtai.progress import StageBar
from mahtai.volumes.segmentation_file import decode_segmentation
from MahtAILib.client import segmentation as files
from MahtAILib.client.background import OnProgress
from MahtAILib.client.cases import LabelVersion, NewCase, NewLabel, add_label, create_case, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.study import StudyResult, StudyVolume, segment_study

MODEL = "brats_segresnet"
SMALL_ISLAND_ML = 0.1
FILES = ("segmentation.seg.nrrd", "confidence.nrrd", "picture.png", "summary.json")


class StageClock:
    """Seconds of each stage, in the order of their first call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage = ""
        self._since = time.perf_counter()

    def enter(self, stage: str) -> None:
        """The stage before ends, this one begins."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def stop(self) -> dict[str, float]:
        """All stages, rounded to milliseconds."""
        self.enter("")
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}


def prepare_folder(output: Path, names: Iterable[str]) -> None:
    """Make the folder of a demo and make sure that its server and all files can be written there.

    Raises:
        OutputError: it is a file, or cannot be written.
    """
    from mahtai.in_process import check_folder, check_output  # torch takes a moment to load

    check_folder(output)
    check_folder(output / "server")
    for name in names:
        check_output(output / name)


def run_demo(output: Path, synthetic: bool = False) -> dict[str, Any]:
    """Do the main job once and write what came of it into ``output``.

    Returns:
        The content of ``summary.json``.

    Raises:
        MahtaiError, ClientError: with what to do.
    """
    prepare_folder(output, FILES)
    clock = StageClock()
    clock.enter("sample")
    study = demo_study(synthetic, click.echo)
    click.echo(study.origin)
    clock.enter("server start")
    with running_server(output / "server") as connection:
        result = _segment(connection, study, clock)
        clock.enter("label versions")
        versions = _save_versions(connection, study, result)
    clock.enter("files and picture")
    segmentation = decode_segmentation(result.segmentation)
    _write_files(output, study, result, segmentation)
    timings = clock.stop()
    summary = _summary(study, result, segmentation, versions, timings)
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _print(output, summary)
    return summary


@contextmanager
def shown_stages(clock: StageClock) -> Iterator[OnProgress]:
    """A bar for the stages of a run, each of them timed; inside it is what the run reports to."""
    with StageBar() as bar:

        def on_progress(stage: str, fraction: float, place: int | None) -> None:
            if bar.show(stage, fraction):
                clock.enter(stage)

        yield on_progress


def _segment(connection: Connection, study: DemoStudy, clock: StageClock) -> StudyResult:
    volumes = {channel: StudyVolume(array, affine) for channel, (array, affine) in study.volumes.items()}
    with shown_stages(clock) as on_progress:
        return segment_study(connection, volumes, MODEL, on_progress=on_progress, rerun=True)


def _without_islands(segmentation: Segmentation) -> np.ndarray:
    """What a reader's first correction often is: specks of the labelmap wiped away."""
    labelmap = segmentation.layers[0]
    parts, count = ndimage.label(labelmap > 0)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    small = sizes * segmentation.geometry.voxel_ml < SMALL_ISLAND_ML
    return np.where(small[parts], 0, labelmap).astype(np.uint8)


def _save_versions(connection: Connection, study: DemoStudy, result: StudyResult) -> list[LabelVersion]:
    """The AI's proposal as version 1, a corrected one as version 2 made from it."""
    case = create_case(connection, NewCase(study.name, "brain-tumour", result.inputs, str(uuid.uuid4())))
    first = NewLabel("MahtAI demo", "annotator", inference=result.job_id, comment="the proposal, untouched")
    proposal = add_label(connection, case.id, result.segmentation, first, str(uuid.uuid4()))
    segmentation = decode_segmentation(result.segmentation)
    corrected = files.encode(replace(segmentation, layers=_without_islands(segmentation)[None]))
    second = NewLabel(
        "MahtAI demo",
        "annotator",
        parent=proposal.id,
        inference=result.job_id,
        verdict="agree",
        comment=f"islands smaller than {SMALL_ISLAND_ML} ml removed",
    )
    add_label(connection, case.id, corrected, second, str(uuid.uuid4()))
    return list_labels(connection, case.id)


def _write_files(output: Path, study: DemoStudy, result: StudyResult, segmentation: Segmentation) -> None:
    (output / "segmentation.seg.nrrd").write_bytes(result.segmentation)
    if result.confidence is not None:
        (output / "confidence.nrrd").write_bytes(result.confidence)
    four_up(
        output / "picture.png",
        study.volumes,
        segmentation.layers[0],
        segmentation.geometry.ijk_to_ras,
        [(segment.label_value, segment.name, segment.color_rgb) for segment in segmentation.segments],
        f"{study.name}: unreviewed proposal of {result.summary['model']['id']}, not for diagnosis",
    )


def _summary(
    study: DemoStudy,
    result: StudyResult,
    segmentation: Segmentation,
    versions: list[LabelVersion],
    timings: dict[str, float],
) -> dict[str, Any]:
    summary: dict[str, Any] = {"study": study.name, "origin": study.origin, "result": result.summary}
    if study.truth is not None:
        labels = segmentation.layers[0]
        regions = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
        summary["dice_against_known_truth"] = {
            name: round(_dice(np.isin(labels, values), np.isin(study.truth, values)), 4)
            for name, values in regions.items()
        }
    summary["uploaded_bytes"] = result.upload.wire_bytes
    summary["label_versions"] = [dict(version.document) for version in versions]
    summary["seconds"] = timings
    return summary


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = int(first.sum() + second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def _print(output: Path, summary: dict[str, Any]) -> None:
    for region in summary["result"]["regions"].values():
        low, high = region["volume_interval_ml"]
        doubt = "   INDETERMINATE" if region["indeterminate"] else ""
        click.echo(
            f"{region['name']:18}{region['volume_ml']:8.1f} ml ({low:.1f}-{high:.1f})"
            f"   confidence {region['confidence']:.2f}{doubt}"
        )
    for warning in summary["result"]["warnings"]:
        click.secho(warning, fg="yellow")
    for region, dice in summary.get("dice_against_known_truth", {}).items():
        click.echo(f"Dice {region.upper()} against the known truth: {dice:.3f}")
    for version in summary["label_versions"]:
        click.echo(f"Saved label version {version['number']}: {version['comment']}")
    click.echo("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in summary["seconds"].items()))
    inside = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in summary["result"]["timings_s"].items())
    click.echo(f"Of these on the server: {inside}")
    click.echo(f"In {output}: {', '.join(FILES)}")
