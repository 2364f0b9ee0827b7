"""The demo for cephalometry: server, image, landmarks, label versions, files, tracing, with the time of each stage."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mahtai.demo.drawn_cephalogram import draw_cephalogram
from mahtai.demo.run import StageClock, prepare_folder, shown_stages
from mahtai.demo.server_process import running_server
from mahtai.landmark_files import CHANNEL, Landmarks, caption, table
from mahtai.pictures.plane import pixels_of
from mahtai.pictures.tracing import tracing_picture
from mahtai.volumes.formats import read_volume
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.landmark_file import LandmarkFile, decode_landmarks
from MahtAILib.client.cases import LabelVersion, NewCase, NewLabel, add_label, create_case, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.markups import encode_markups
from MahtAILib.client.study import LandmarksResult, StudyVolume, detect_landmarks

MODEL = "ceph_mahtnet"
SAMPLE = "151"
"""Of the ISBI 2015 Test1 images, which the model never saw."""

FILES = ("landmarks.mrk.json", "measurements.json", "tracing.png", "summary.json")

_SAMPLE_MM_PER_PIXEL = 0.1


@dataclass(frozen=True, eq=False)
class DemoImage:
    """What the demo looks at.

    Attributes:
        name: of the case.
        origin: where it comes from, one sentence for the reader.
        array: [i, j, 0], bone bright.
        geometry: of it.
        mm_per_unit: true millimetres a unit.
        truth: landmark id → (column, row) where they are known for certain, else empty.
    """

    name: str
    origin: str
    array: NDArray[Any]
    geometry: Geometry
    mm_per_unit: float
    truth: dict[str, tuple[float, float]]


def run_ceph_demo(output: Path, synthetic: bool = False) -> dict[str, Any]:
    """Do the main job once and write what came of it into ``output``.

    Returns:
        The content of ``summary.json``.

    Raises:
        MahtaiError, ClientError: with what to do.
    """
    prepare_folder(output, FILES)
    clock = StageClock()
    clock.enter("sample")
    image = demo_image(synthetic)
    click.echo(image.origin)
    clock.enter("server start")
    with running_server(output / "server") as connection:
        result = _detect(connection, image, clock)
        clock.enter("label versions")
        file = decode_landmarks(result.landmarks)
        versions = _save_versions(connection, image, result, file)
    clock.enter("files and picture")
    made = Landmarks(file, image.geometry, result.summary)
    _write_files(output, image, result, made)
    timings = clock.stop()
    summary = _summary(image, made, versions, result, timings)
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _print(output, made, summary)
    return summary


def demo_image(synthetic: bool) -> DemoImage:
    """A Test1 image from data beside the repository, where there is one; else a drawn cephalogram."""
    path = Path(__file__).resolve().parents[4] / "shared" / "data" / "ceph_isbi2015" / "images" / f"{SAMPLE}.jpg"
    if path.is_file() and not synthetic:
        volume = read_volume(path)
        origin = f"Cephalogram {SAMPLE} of the ISBI 2015 challenge (Test1, research use), from beside this program."
        return DemoImage(f"ISBI 2015 {SAMPLE}", origin, volume.array, volume.geometry, _SAMPLE_MM_PER_PIXEL, {})
    drawn = draw_cephalogram()
    array = np.asfortranarray(drawn.image.T)[:, :, None]
    geometry = Geometry(array.shape, np.diag([-1.0, -1.0, 1.0, 1.0]))
    why = "You asked for it" if synthetic else "No sample image is here"
    origin = f"{why}: this is a drawn cephalogram with known landmarks, no patient. A model trained on films may fail."
    return DemoImage("Drawn cephalogram", origin, array, geometry, drawn.mm_per_pixel, drawn.truth)


def _detect(connection: Connection, image: DemoImage, clock: StageClock) -> LandmarksResult:
    volume = StudyVolume(image.array, image.geometry.ijk_to_ras)
    options = {"mm_per_unit": repr(image.mm_per_unit)}
    with shown_stages(clock) as on_progress:
        return detect_landmarks(connection, volume, MODEL, options, on_progress, rerun=True)


def _save_versions(
    connection: Connection, image: DemoImage, result: LandmarksResult, file: LandmarkFile
) -> list[LabelVersion]:
    """The AI's proposal as version 1; version 2 made from it, with one point moved and the doubtful ones confirmed."""
    case = create_case(connection, NewCase(image.name, "cephalometry", {CHANNEL: result.inputs[CHANNEL]}, _key()))
    first = NewLabel("MahtAI demo", "annotator", inference=result.job_id, comment="the proposal, untouched")
    proposal = add_label(connection, case.id, result.landmarks, first, _key())
    second = NewLabel(
        "MahtAI demo",
        "annotator",
        parent=proposal.id,
        inference=result.job_id,
        verdict="agree",
        comment="Menton moved by 1 mm, doubtful points confirmed",
    )
    add_label(connection, case.id, encode_markups(_corrected(file, 1 / image.mm_per_unit)), second, _key())
    return list_labels(connection, case.id)


def _corrected(file: LandmarkFile, units: float) -> LandmarkFile:
    """What a reader's first correction may be."""
    points = []
    for point in file.points:
        if point.id == "Me" and point.position is not None:
            left, posterior, superior = point.position
            points.append(replace(point, state="moved", position=(left, posterior + units, superior)))
        else:
            points.append(replace(point, state="confirmed") if point.is_doubtful else point)
    return replace(file, points=tuple(points))


def _key() -> str:
    return str(uuid.uuid4())


def _write_files(output: Path, image: DemoImage, result: LandmarksResult, made: Landmarks) -> None:
    (output / "landmarks.mrk.json").write_bytes(result.landmarks)
    if result.measurements is not None:
        (output / "measurements.json").write_bytes(result.measurements)
    lines = [*caption(made), f"{image.name}. {image.origin}"]
    tracing_picture(output / "tracing.png", image.array[:, :, 0], image.geometry, made.file.points, lines)


def _summary(
    image: DemoImage,
    made: Landmarks,
    versions: list[LabelVersion],
    result: LandmarksResult,
    timings: dict[str, float],
) -> dict[str, Any]:
    summary: dict[str, Any] = {"image": image.name, "origin": image.origin, "result": result.summary}
    if image.truth:
        found = pixels_of(made.file.points, image.geometry)
        scale = image.mm_per_unit * image.geometry.spacing_mm[0]
        errors = {
            name: round(scale * float(np.hypot(*np.subtract(found[name], place))), 2)
            for name, place in image.truth.items()
            if name in found
        }
        summary["error_against_known_truth_mm"] = errors
    summary["uploaded_bytes"] = result.upload.wire_bytes
    summary["label_versions"] = [dict(version.document) for version in versions]
    summary["seconds"] = timings
    return summary


def _print(output: Path, made: Landmarks, summary: dict[str, Any]) -> None:
    for line in table(made):
        click.echo(line)
    for warning in made.summary["warnings"]:
        click.secho(warning, fg="yellow")
    if made.summary["indeterminate"]:
        click.secho("INDETERMINATE: " + " ".join(made.summary["reasons"]), fg="red")
    errors = summary.get("error_against_known_truth_mm")
    if errors:
        mean = sum(errors.values()) / len(errors)
        click.echo(f"Mean error against the known truth of the drawing: {mean:.2f} mm")
    for version in summary["label_versions"]:
        change = version["against_proposal"] or {}
        click.echo(
            f"Saved label version {version['number']}: {version['comment']} "
            f"({change.get('points_moved', 0)} points moved, mean {change.get('mean_distance') or 0:.2f} "
            f"{change.get('unit', 'mm')})"
        )
    click.echo("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in summary["seconds"].items()))
    inside = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in summary["result"]["timings_s"].items())
    click.echo(f"Of these on the server: {inside}")
    click.echo(f"In {output}: {', '.join(FILES)}")
