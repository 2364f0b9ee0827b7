"""The whole way with the shipped model: an image, one button, a correction, two versions, a restart of the server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ceph_kit import drag
from kit.event_loop import StallMeter, spin
from kit.scene_context import SlicerContext
from panel_kit import Reader
from PIL import Image
from scene_kit import add_volume

from mahtai.demo.drawn_cephalogram import DrawnCephalogram, draw_cephalogram
from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.landmarks import positions_ras
from server_process import ServerProcess
from shared_data import shared_data

__all__ = ["shared_data"]

MODELS = Path(__file__).resolve().parents[3] / "models"


@cache
def drawn() -> DrawnCephalogram:
    return draw_cephalogram(1)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the models of the repository."""
    process = ServerProcess(tmp_path_factory.mktemp("shipped"), (MODELS,), {"threads": "2"}).start()
    yield process
    process.kill()


@pytest.fixture
def reader(qt_app: SlicerContext, shipped: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """The panel is open and connected."""
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(shipped.root / "config"))
    reader = Reader(qt_app)
    reader.connect(shipped.url)
    yield reader
    reader.leave()


def open_drawn(reader: Reader, pixels: np.ndarray | None = None) -> Any:
    """Load the drawn cephalogram, or other pixels [row, column] on its grid."""
    pixels = drawn().image if pixels is None else pixels
    step = drawn().mm_per_pixel
    array = np.ascontiguousarray(pixels.T[:, :, None])
    node = add_volume(reader.scene, Geometry(array.shape, np.diag([-step, -step, 1.0, 1.0])), "Cephalogram", array)
    spin(lambda: reader.panel.ceph.image.node is node, 10, "the image to be chosen")
    return node


def test_an_image_one_button_a_correction_two_versions_and_a_restart(reader: Reader, shipped: ServerProcess) -> None:
    open_drawn(reader)
    with StallMeter() as meter:
        reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done"), reader.said("ai", "runStateLabel")
    state = reader.panel.ceph.landmarks
    truth = {key: np.array(place) * drawn().mm_per_pixel for key, place in drawn().truth.items()}
    off_mm = {key: float(np.linalg.norm(place - truth[key])) for key, place in state.plane_points().items()}
    mean_mm = np.mean(list(off_mm.values()))
    print(f"\nlongest stall {1000 * meter.longest_s:.0f} ms; {mean_mm:.1f} mm off the drawn places on average")
    assert len(off_mm) == 19
    assert state.live.evaluation["steiner.sna"].value is not None
    reader.save(comment="the proposal")
    before = positions_ras(state.node)["A"]
    drag(state.node, "A", before + [-3, 0, 0])
    after = positions_ras(state.node)["A"]
    reader.save(comment="A corrected")
    assert [version.number for version in reader.panel.versions.versions] == [2, 1]
    assert reader.said("save", "saveStateLabel") == "Saved. The server has it."
    shipped.stop()
    shipped.start()
    reader.connect(shipped.url)
    spin(lambda: len(reader.panel.versions.versions) == 2 and not reader.panel.versions.is_busy, 60)
    for row, wanted in ((1, before), (0, after)):
        reader.ui("save").versionsTable.setCurrentCell(row, 0)
        reader.ui("save").openButton.click()
        reader.wait_for_versions()
        np.testing.assert_allclose(positions_ras(state.node)["A"], wanted, atol=1e-3)
    box = reader.panel.ceph.measurements_section.ui.earlierComboBox
    box.setCurrentIndex(2)
    spin(lambda: state.live.superimposition is not None, 30)
    laid = state.live.superimposition.points
    np.testing.assert_allclose(laid["A"], state.plane_points()["A"] + [-3, 0], atol=0.01)


def test_what_is_no_cephalogram_is_called_indeterminate(reader: Reader) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1000), dtype=np.uint8)
    open_drawn(reader, noise)
    reader.run()
    label = reader.panel.ceph.landmarks_section.ui.bannerLabel
    said = reader.said("ai", "runStateLabel")
    assert said.startswith("Done"), said
    assert not label.isHidden() and "Indeterminate" in label.text
    placed = reader.panel.ceph.landmarks.plane_points()
    assert set(reader.panel.ceph.landmarks.doubtful()) >= set(placed)


def test_a_mirrored_film_is_recognized_and_measured_as_it_is_shown(reader: Reader, shared_data: Path) -> None:
    film = np.asarray(Image.open(shared_data / "ceph_isbi2015" / "images" / "200.jpg").convert("L"))
    open_drawn(reader, np.ascontiguousarray(film[:, ::-1]))
    reader.run()
    state = reader.panel.ceph.landmarks
    points = state.plane_points()
    assert points["N"][0] < points["S"][0]
    assert state.live.evaluation.facing == "left" and not state.provenance.reasons
    assert 60 < state.live.evaluation["steiner.sna"].value < 100
