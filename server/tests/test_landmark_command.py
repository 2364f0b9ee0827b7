"""``mahtai landmarks`` and ``mahtai demo --task ceph``, the drawn cephalogram, and the picture of a tracing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import torch
from PIL import Image

from image_kit import grey, picture, radiograph
from mahtai.cli import main
from mahtai.demo.drawn_cephalogram import HEIGHT, MM_PER_PIXEL, TRUTH_MM, WIDTH, draw_cephalogram
from mahtai.inference.prediction import choose_device
from mahtai.landmark_files import Landmarks, caption, table
from mahtai.models.network import DeviceError, best_device
from mahtai.pictures.plane import pixels_of, units_of
from mahtai.pictures.tracing import _reduced, tracing_picture
from mahtai.volumes.geometry import Geometry
from MahtAILib.cephalometry import evaluate, landmark_set
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, State, decode_markups, encode_markups
from tiny_bundle import write_tiny_bundle
from tiny_landmark_bundle import write_landmark_bundle

IMAGE = picture(grey("uint8", 480, 384), "PNG")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_landmark_bundle(folder / "points")
    write_tiny_bundle(folder / "tiny")
    # the demo asks for it by this name
    write_landmark_bundle(folder / "ceph_mahtnet")
    return folder


@pytest.fixture(autouse=True)
def folders(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAHTAI_MODELS_PATH", str(models))
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MAHTAI_THREADS", "1")


def mahtai(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, arguments)


def landmarks(image: bytes, folder: Path, *more: str) -> click.testing.Result:
    (folder / "image").write_bytes(image)
    return mahtai("landmarks", str(folder / "image"), "-o", str(folder / "out.mrk.json"), "--model", "points", *more)


def test_an_image_becomes_points_a_tracing_and_measurements(tmp_path: Path) -> None:
    done = landmarks(
        IMAGE,
        tmp_path,
        *("--spacing", "0.3"),
        *("--tracing", str(tmp_path / "a" / "tracing.png")),
        *("--measurements", str(tmp_path / "b" / "values.json")),
    )
    assert done.exit_code == 0, done.output
    file = decode_markups((tmp_path / "out.mrk.json").read_bytes())
    assert (len(file.points), file.mm_per_unit) == (19, 0.3)
    assert json.loads((tmp_path / "b" / "values.json").read_bytes())["mm_per_unit"] == 0.3
    with Image.open(tmp_path / "a" / "tracing.png") as drawn:
        assert min(drawn.size) > 800
    assert "S    Sella" in done.output
    assert "INDETERMINATE: not to be used." in done.output
    assert "Calibration: 0.3 mm a unit (given by the reader)." in done.output
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".mahtai")) == []


def test_without_a_scale_radii_are_in_pixels(tmp_path: Path) -> None:
    done = landmarks(IMAGE, tmp_path)
    assert " px" in done.output
    assert "Calibration: none: angles and ratios only (a PNG file does not say" in done.output


def test_the_size_of_a_pixel_is_that_of_the_file_not_of_its_grid(tmp_path: Path) -> None:
    data = radiograph(grey("uint16", 1000, 800) >> 4, ImagerPixelSpacing=[0.2, 0.2])
    landmarks(data, tmp_path, "--spacing", "0.18")
    assert decode_markups((tmp_path / "out.mrk.json").read_bytes()).mm_per_unit == pytest.approx(0.9)
    landmarks(data, tmp_path, "--spacing", "unknown")
    assert decode_markups((tmp_path / "out.mrk.json").read_bytes()).mm_per_unit is None


@pytest.mark.parametrize(
    ("image", "more", "said"),
    [
        (IMAGE, ("--spacing", "5"), "A pixel of 5 mm is not believed"),
        (IMAGE, ("--spacing", "nan"), "no length"),
        (IMAGE, ("--spacing", "-0.1"), "no length"),
        (IMAGE, ("--spacing", "a tenth"), "no number"),
        (IMAGE, ("--model", "tiny"), "segments; it places no landmarks"),
        (IMAGE, ("--model", "nothing"), "no model 'nothing'"),
        (IMAGE, ("-o", "out.fcsv"), "does not end in .mrk.json"),
        (IMAGE, ("--tracing", "out.jpg"), "does not end in .png"),
        (IMAGE[:-300], (), "damaged or cut off"),
        (b"%PDF-1.7", (), "of no kind that is read here"),
        (picture(grey("uint8", 32, 32), "PNG"), (), "too few to place landmarks"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tmp_path: Path, image: bytes, more: Sequence[str], said: str
) -> None:
    done = landmarks(image, tmp_path, *more)
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "What to do:" in done.output
    assert not (tmp_path / "out.mrk.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--tracing", "image.png"), "The image and --tracing are the same file"),
        (("--measurements", "image.png"), "The image and --measurements are the same file"),
        (("--measurements", "linked.json"), "The image and --measurements are the same file"),
        (("--measurements", "pointer.json"), "The image and --measurements are the same file"),
        (("--measurements", "folder/../out.mrk.json"), "-o and --measurements are the same file"),
        (("--measurements", "t.png", "--tracing", "t.png"), "--tracing and --measurements are the same file"),
    ],
)
def test_no_file_is_written_over_another_one_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: Sequence[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    image = tmp_path / "image.png"
    image.write_bytes(IMAGE)
    (tmp_path / "linked.json").hardlink_to(image)
    (tmp_path / "pointer.json").symlink_to(image)
    before = sorted(tmp_path.iterdir())
    done = mahtai("landmarks", "image.png", "-o", "out.mrk.json", "--model", "points", *more)
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "What to do:" in done.output
    assert image.read_bytes() == IMAGE
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("state", ["moved", "confirmed", "manual"])
def test_a_readers_points_are_written_over_only_when_told_to(tmp_path: Path, state: State) -> None:
    out = tmp_path / "out.mrk.json"
    assert landmarks(IMAGE, tmp_path).exit_code == 0
    assert landmarks(IMAGE, tmp_path).exit_code == 0, "a plain result may be written over"
    first, *rest = decode_markups(out.read_bytes()).points
    out.write_bytes(encode_markups(LandmarkFile((replace(first, state=state), *rest), "isbi19")))
    work = out.read_bytes()
    done = landmarks(IMAGE, tmp_path)
    assert done.exit_code == 1
    assert "1 points that a reader moved, confirmed or placed" in done.output
    assert "--again" in done.output
    assert out.read_bytes() == work
    assert landmarks(IMAGE, tmp_path, "--again").exit_code == 0
    assert {point.state for point in decode_markups(out.read_bytes()).points} <= {"ai", "missing"}


def test_what_cannot_be_read_may_be_work_too(tmp_path: Path) -> None:
    out = tmp_path / "out.mrk.json"
    out.write_text('{"markups": [{"type": "Curve"}]}')
    assert "no list of landmarks that can be read" in landmarks(IMAGE, tmp_path).output
    assert "Curve" in out.read_text()
    out.write_text("")
    assert landmarks(IMAGE, tmp_path).exit_code == 0


def no_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr("mahtai.in_process.run", refuse)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-o", "folder.mrk.json"), "is a folder, not a file"),
        (("-o", "a" * 300 + ".mrk.json"), "cannot be written (File name too long)"),
        (("-o", "file/out.mrk.json"), "is a file, not a folder"),
        (("-o", "file/deeper/out.mrk.json"), "Nothing can be written into"),
        (("--tracing", "folder.png"), "is a folder, not a file"),
        (("--tracing", "file/t.png"), "is a file, not a folder"),
        (("--tracing", "a" * 300 + ".png"), "cannot be written (File name too long)"),
        (("--tracing", "/proc/t.png"), "Nothing can be written into /proc"),
        (("--measurements", "folder.png"), "is a folder, not a file"),
        (("--measurements", "file/m.json"), "is a file, not a folder"),
        (("--measurements", "/proc/m.json"), "Nothing can be written into /proc"),
        (("--measurements", "/dev/null"), "is a device, not a file"),
        (("--device", "nix"), "There is no device 'nix'"),
        (("--device", "meta"), "There is no device 'meta'"),
        (("--device", "cuda:99"), "NVIDIA card"),
    ],
)
def test_outputs_and_device_are_looked_at_before_the_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: Sequence[str], said: str
) -> None:
    if any(value.startswith(("/proc", "/dev")) and not Path(value).parent.is_dir() for value in more):
        pytest.skip("this system has no such folder")
    no_model_runs(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.mrk.json").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    done = landmarks(IMAGE, tmp_path, *more)
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "What to do:" in done.output
    assert not (tmp_path / "out.mrk.json").exists()


def test_a_graphics_card_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device("auto") == choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    for choose in (best_device, choose_device):
        with pytest.raises(DeviceError, match="no NVIDIA card that can be used"):
            choose("cuda")
        with pytest.raises(DeviceError, match="no GPU of Apple's"):
            choose("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert best_device("auto") == torch.device("cuda")
    assert best_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="counted 0 to 1"):
        best_device("cuda:2")


@pytest.mark.parametrize(
    ("what", "broken"), [("tracing", "pictures.tracing.tracing_picture"), ("measurements", "landmark_files._move")]
)
def test_points_are_kept_when_what_follows_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, broken: str
) -> None:
    def fail(first: Any, second: Any, *_: object) -> None:
        if what == "measurements" and Path(second).name == "out.mrk.json":
            Path(second).write_bytes(Path(first).read_bytes())
            return
        if what == "tracing":
            Path(first).write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    old = tmp_path / "old.png"
    old.write_bytes(b"an earlier one")
    monkeypatch.setattr(f"mahtai.{broken}", fail)
    done = landmarks(IMAGE, tmp_path, f"--{what}", str(old))
    assert done.exit_code == 1, done.output
    assert f"The {what} could not be written" in done.output
    assert "No space left on device" in done.output
    assert "The points were kept" in done.output
    assert len(decode_markups((tmp_path / "out.mrk.json").read_bytes()).points) == 19
    assert old.read_bytes() == b"an earlier one"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".mahtai")] == []


def test_a_spacing_is_understood_or_the_way_to_write_it_said(tmp_path: Path) -> None:
    done = landmarks(IMAGE, tmp_path, "--spacing", "0,1")
    assert done.exit_code == 1
    assert "Write it with a decimal point: 0.1" in done.output
    assert landmarks(IMAGE, tmp_path, "--spacing", "AUTO").exit_code == 0
    assert "not calibrated, as asked" in landmarks(IMAGE, tmp_path, "--spacing", "Unknown").output


@pytest.mark.parametrize("task", ["ceph", "brain"])
@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file", "is a file, not a folder"),
        ("file/deeper", "Nothing can be written into"),
        ("/proc/demo", "Nothing can be written into"),
        ("taken", "summary.json is a folder, not a file"),
    ],
)
def test_a_demo_that_cannot_write_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, output: str, said: str
) -> None:
    if output.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("this system has no such folder")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "taken" / "summary.json").mkdir(parents=True)
    done = mahtai("demo", "--task", task, "--synthetic", "-o", output)
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "What to do:" in done.output


def test_a_model_for_landmarks_does_not_segment(tmp_path: Path) -> None:
    (tmp_path / "t1.nii").write_bytes(b"")
    done = mahtai("segment", "--t1", str(tmp_path / "t1.nii"), "-o", str(tmp_path / "o.seg.nrrd"), "--model", "points")
    assert done.exit_code == 1
    assert "it does not segment" in done.output


def test_the_demo_does_the_whole_job_and_says_that_the_picture_is_drawn(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = mahtai("demo", "--task", "ceph", "--synthetic", "-o", str(out))
    assert done.exit_code == 0, done.output
    assert "this is a drawn cephalogram with known landmarks, no patient" in done.output
    names = {path.name for path in out.iterdir()}
    assert {"landmarks.mrk.json", "measurements.json", "tracing.png", "summary.json"} <= names
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["error_against_known_truth_mm"]) == 19
    assert [version["number"] for version in summary["label_versions"]] == [1, 2]
    assert summary["label_versions"][0]["against_proposal"]["points_moved"] == 0
    assert summary["label_versions"][1]["against_parent"]["points_moved"] == 1
    assert summary["label_versions"][1]["against_parent"]["distance"]["Me"] == pytest.approx(1.0)


def test_the_drawn_cephalogram_is_the_same_every_time_and_knows_its_landmarks() -> None:
    drawn = draw_cephalogram()
    assert drawn.image.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(drawn.image, draw_cephalogram().image)
    assert list(drawn.truth) == list(landmark_set("isbi19").ids)
    for x, y in drawn.truth.values():
        assert 0 <= x < WIDTH
        assert 0 <= y < HEIGHT


def test_the_drawn_head_is_an_ordinary_one() -> None:
    values = evaluate(TRUTH_MM, mm_per_unit=1.0)
    assert values.facing == "right"
    by_name = {result.measurement.name: result.value for result in values.results}
    assert by_name["SNA"] == pytest.approx(82, abs=6)
    assert by_name["SNB"] == pytest.approx(80, abs=6)


def points(**changes: Any) -> list[LandmarkPoint]:
    made = []
    for name, (x, y) in TRUTH_MM.items():
        place = (x / MM_PER_PIXEL, y / MM_PER_PIXEL, 0.0)
        made.append(LandmarkPoint(name, name, place, "ai", confidence=0.9, radius=15.0, flag=changes.get(name, "")))
    return made


def test_a_tracing_is_drawn_over_any_image(tmp_path: Path) -> None:
    image = np.asfortranarray(draw_cephalogram().image.T)
    geometry = Geometry((*image.shape, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    tracing_picture(tmp_path / "whole.png", image, geometry, points(Go="unsure"), ["one line", "another"])
    tracing_picture(tmp_path / "blank.png", np.zeros_like(image), geometry, [], [])
    lonely = [LandmarkPoint("S", "Sella", (5.0, 5.0, 0.0), "manual"), LandmarkPoint("N", "Nasion", None, "missing")]
    tracing_picture(tmp_path / "lonely.png", image, geometry, lonely, [])
    with Image.open(tmp_path / "whole.png") as whole, Image.open(tmp_path / "blank.png") as blank:
        assert whole.size[0] == blank.size[0]
        assert len(whole.convert("RGB").getcolors(1 << 24) or ()) > 300


@pytest.mark.parametrize(("shape", "smaller"), [((2400, 9), (2400, 9)), ((2401, 9), (1201, 9)), ((7, 5000), (7, 1667))])
def test_a_large_image_is_made_smaller_before_it_is_drawn(shape: tuple[int, int], smaller: tuple[int, int]) -> None:
    image = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    shown, covered = _reduced(image)
    assert shown.shape == smaller
    assert all(0 <= reach - length < 3 for reach, length in zip(covered, shape, strict=True))
    blocks = [-(-length // count) for length, count in zip(shape, smaller, strict=True)]
    assert shown[1, 1] == pytest.approx(image[blocks[0] : 2 * blocks[0], blocks[1] : 2 * blocks[1]].mean())
    last = image[(smaller[0] - 1) * blocks[0] :, (smaller[1] - 1) * blocks[1] :]
    assert shown[-1, -1] == pytest.approx(last.mean())


def test_a_large_image_keeps_its_place_under_the_points(tmp_path: Path) -> None:
    small, large = np.zeros((1000, 800), np.uint8), np.zeros((3001, 2401), np.uint8)
    small[600:, 200:] = large[1800:, 600:] = 200
    pictures = []
    for image in (small, large):
        shape = (*image.shape, 1)
        tracing_picture(tmp_path / "t.png", image, Geometry(shape, np.diag([-1.0, -1.0, 1.0, 1.0])), [], [])
        with Image.open(tmp_path / "t.png") as drawn:
            pictures.append(np.asarray(drawn.convert("L").resize((300, 300)), int))
    assert np.mean(np.abs(pictures[0] - pictures[1])) < 1


def test_positions_are_turned_into_pixels_and_units_whatever_the_grid() -> None:
    matrix = np.diag([-0.5, -0.25, 1.0, 1.0])
    matrix[:3, 3] = (3, 4, 0)
    geometry = Geometry((400, 500, 1), matrix)
    file = [LandmarkPoint("S", "Sella", (-3 + 0.5 * 10, -4 + 0.25 * 20, 0.0), "ai")]
    assert pixels_of(file, geometry) == {"S": pytest.approx((10, 20))}
    assert units_of(file, geometry) == {"S": pytest.approx((5, 5))}


def made(mm_per_unit: float | None, indeterminate: bool = False) -> Landmarks:
    listed = (
        LandmarkPoint("S", "Sella", (1.0, 2.0, 0.0), "ai", 0.95, 12.0),
        LandmarkPoint("Go", "Gonion", (1.0, 9.0, 0.0), "ai", 0.2, 40.0, flag="The model is not sure of it."),
        LandmarkPoint("PNS", "Posterior nasal spine", None, "missing"),
    )
    summary = {
        "model": {"id": "points", "version": "1"},
        "indeterminate": indeterminate,
        "reasons": ["It may be a chest film. " * 8],
        "spacing": {"mm_per_unit": mm_per_unit, "source": "typed"},
    }
    return Landmarks(LandmarkFile(listed, "isbi19", mm_per_unit), Geometry((300, 300, 1), np.eye(4)), summary)


def test_the_table_names_missing_and_doubtful_points() -> None:
    lines = table(made(0.1))
    assert lines[1].split() == ["S", "Sella", "0.95", "1.2", "mm"]
    assert lines[2].endswith("The model is not sure of it.")
    assert lines[3].split() == ["PNS", "Posterior", "nasal", "spine", "missing"]
    assert "12.0 px" in table(made(None))[1]


def test_a_picture_of_an_indeterminate_result_says_so_in_lines_that_fit() -> None:
    lines = caption(made(None, indeterminate=True))
    assert lines[0].startswith("INDETERMINATE")
    assert max(map(len, lines)) <= 120
    assert "angles and ratios only" in " ".join(lines)
    assert "90 %" not in " ".join(lines)
    assert "hold the true point in 90 % of cases" in " ".join(caption(made(None)))
    assert "not for diagnosis" in caption(made(0.1))[0]
