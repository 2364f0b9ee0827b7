"""The images are on the server before Run is pressed: when they may go, when they go again, what Run then sends."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader, pick
from stand_in_server import TOKEN, Handler, StandIn

from server_process import ServerProcess
from studies import FAST, synthetic_study
from tiny_bundle import write_tiny_bundle

MODEL = {"id": "toy", "name": "Toy", "version": "1", "task": "brain-tumour", "state": "ready", "intended_use": "tests"}
READY = "The images are on the server."


@pytest.fixture
def reader(qt_app: SlicerContext, server: StandIn) -> Iterator[Reader]:
    """The panel is open and connected to a stand-in that counts."""
    server.state.models = [MODEL]
    reader = Reader(qt_app)
    reader.connect(server.url, TOKEN)
    yield reader
    reader.leave()


def wait_until_ready(reader: Reader) -> None:
    spin(lambda: reader.panel.ahead.is_ready, 20, "the images to be on the server")
    assert reader.said("ai", "aheadLabel") == READY


def test_a_study_goes_to_the_server_when_it_is_chosen_and_is_prepared_with_the_options(
    reader: Reader, server: StandIn
) -> None:
    assert reader.said("ai", "aheadLabel") == ""
    reader.load_study(synthetic_study(1))
    wait_until_ready(reader)
    assert len(server.state.volumes) == 4
    (asked,) = server.state.preparations
    assert asked["model"] == "toy" and set(asked["inputs"].values()) == set(server.state.volumes)
    assert asked["options"] == {"register": "auto", "brain_mask": "auto", "check_sequences": "on"}
    assert not server.state.jobs


def test_another_option_is_prepared_and_nothing_is_sent_again(reader: Reader, server: StandIn) -> None:
    reader.load_study(synthetic_study(1))
    wait_until_ready(reader)
    box = reader.ui("ai").brainMaskComboBox
    box.setCurrentIndex(box.findData("off"))
    spin(lambda: len(server.state.preparations) == 2, 20)
    assert server.state.preparations[1]["options"]["brain_mask"] == "off"
    assert server.state.count("PUT") == 4


def test_what_is_chosen_anew_is_sent_and_what_stays_is_not(reader: Reader, server: StandIn) -> None:
    volumes = reader.load_study(synthetic_study(1))
    wait_until_ready(reader)
    pick(reader.ui("study").t2Selector, volumes["t1"])
    spin(lambda: len(server.state.preparations) == 2, 20)
    assert server.state.preparations[1]["inputs"]["t2"] == server.state.preparations[0]["inputs"]["t1"]
    assert server.state.count("PUT") == 4
    volumes["flair"].GetImageData().Modified()
    volumes["flair"].GetImageData().GetPointData().GetScalars().SetTuple1(0, 123.0)
    volumes["flair"].GetImageData().Modified()
    held, released = threading.Event(), threading.Event()

    def hold(handler: Handler) -> bool:
        if handler.command == "PUT":
            held.set()
            released.wait(20)
        return False

    server.misbehaviour = hold
    reader.panel.study.changed.publish()
    spin(held.is_set, 20)
    assert reader.said("ai", "aheadLabel") == ""
    released.set()
    spin(lambda: len(server.state.preparations) == 3, 20)
    wait_until_ready(reader)
    assert server.state.count("PUT") == 5


def test_a_server_elsewhere_gets_nothing_before_the_reader_agreed(reader: Reader, server: StandIn) -> None:
    connection = reader.panel.server.connection
    connection.is_local = False
    reader.load_study(synthetic_study(1))
    reader.panel.ahead._send()
    spin(lambda: not reader.panel.background.is_busy, 20)
    assert server.state.count("PUT") == server.state.count("POST", "/missing") == 0
    assert reader.said("ai", "aheadLabel") == ""
    reader.panel.settings.remember_consent(connection.url)
    reader.panel.study.changed.publish()
    wait_until_ready(reader)
    assert len(server.state.volumes) == 4


def test_a_failure_is_not_told_and_the_line_stays_away(reader: Reader, server: StandIn) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command != "PUT":
            return False
        handler.body()
        handler.problem(422, "constant", "The volume holds one value only.")
        return True

    server.misbehaviour = refuse
    reader.load_study(synthetic_study(1))
    spin(lambda: server.state.count("PUT") == 1 and not reader.panel.background.is_busy, 20)
    assert reader.said("ai", "aheadLabel") == "" and reader.said("ai", "runStateLabel") == ""


def test_without_the_server_or_the_scene_nothing_is_said_to_be_there(reader: Reader, server: StandIn) -> None:
    reader.load_study(synthetic_study(1))
    wait_until_ready(reader)
    reader.panel.server.disconnect()
    assert reader.said("ai", "aheadLabel") == ""
    reader.connect(server.url, TOKEN)
    wait_until_ready(reader)
    assert server.state.count("PUT") == 4
    reader.context.close_scene()
    assert reader.said("ai", "aheadLabel") == ""


def test_a_study_that_cannot_be_used_is_not_sent(reader: Reader, server: StandIn) -> None:
    from scene_kit import GRIDS, add_volume

    reader.panel.study.choose("t1", add_volume(reader.scene, GRIDS["LPS"], "T1"))
    reader.panel.ahead._send()
    spin(lambda: not reader.panel.background.is_busy, 20)
    assert server.state.count("PUT") == 0 and not reader.panel.ahead.is_ready


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that this process sends by HTTP, headers and bodies."""
    sizes: list[int] = []
    send = http.client.HTTPConnection.send

    def counting(connection: Any, data: Any) -> None:
        sizes.append(len(data))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", counting)
    return sizes


def test_after_it_run_sends_a_few_kilobytes_and_a_second_run_with_another_option_as_few(
    qt_app: SlicerContext, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, counted: list[int]
) -> None:
    write_tiny_bundle(tmp_path / "models" / "tiny", missing_channels_ok=True)
    process = ServerProcess(tmp_path / "server", (tmp_path / "models",)).start()
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(process.root / "config"))
    reader = Reader(qt_app)
    try:
        reader.connect(process.url)
        for name in ("register", "brain_mask", "check_sequences"):
            reader.panel.parameters().set(name, FAST[name])
        reader.load_study(synthetic_study(1))
        wait_until_ready(reader)
        assert sum(counted) > 4 * 2 * 48 * 48 * 40
        for option in ("off", "on"):
            reader.panel.parameters().set("register", option)
            spin(lambda: not reader.panel.background.is_busy, 20)
            counted.clear()
            reader.run()
            spin(lambda: not reader.panel.background.is_busy, 20)
            assert reader.said("ai", "runStateLabel").startswith("Done"), reader.said("ai", "runStateLabel")
            assert sum(counted) < 10_000
    finally:
        reader.leave()
        process.kill()
