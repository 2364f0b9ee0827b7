"""A study that is sent ahead of its run: one volume after the other, and a run that has nothing left to send."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from stand_in_server import Handler, StandIn

from MahtAILib.client.ahead import send_ahead
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import CancelledError, ClientError
from MahtAILib.client.nrrd import decode
from MahtAILib.client.patience import Patience
from MahtAILib.client.study import Identity, StudyVolume, segment_study

PATIENCE = Patience(poll_s=0.01, silence_s=5.0, relisten_s=0.02, gone_s=10.0)
CHANNELS = ("t1c", "t1", "t2", "flair")
MATRIX = np.diag([-1.0, -1.0, 3.0, 1.0])
MODEL = "brats_segresnet"


def study() -> dict[str, StudyVolume]:
    voxels = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10)
    return {channel: StudyVolume(voxels + number, MATRIX) for number, channel in enumerate(CHANNELS)}


def calls(server: StandIn) -> list[str]:
    """What was asked, without what follows a job."""
    return [f"{method} {path.split('/')[2]}" for method, path, _ in server.state.requests if path != "/healthz"]


def finish_jobs(server: StandIn) -> None:
    """Each job that is started has succeeded at once."""

    def finish(handler: Handler) -> bool:
        if handler.command == "GET" and handler.path.endswith("/events"):
            job = handler.path.split("/")[-2]
            server.state.change(job, state="succeeded", place=None)
        return False

    server.misbehaviour = finish


def test_all_volumes_are_sent_one_after_the_other_and_then_prepared(server: StandIn, connection: Connection) -> None:
    at_once: list[int] = []
    under_way: set[str] = set()

    def watch(handler: Handler) -> bool:
        if handler.command == "PUT":
            under_way.add(handler.path)
            at_once.append(len(under_way))
            handler.put_volume(handler.path.rpartition("/")[2])
            under_way.remove(handler.path)
            return True
        return False

    server.misbehaviour = watch
    volumes = study()
    inputs = send_ahead(connection, volumes, MODEL, {"register": "off"})
    assert at_once == [1, 1, 1, 1]
    assert server.state.preparations == [{"model": MODEL, "inputs": inputs, "options": {"register": "off"}}]
    for channel, volume in volumes.items():
        np.testing.assert_array_equal(decode(server.state.volumes[inputs[channel]]).array, volume.array)
        assert volume.identity.sha256 == inputs[channel]


def test_after_it_a_run_sends_nothing_and_does_not_even_look_at_the_voxels(
    server: StandIn, connection: Connection
) -> None:
    volumes = study()
    inputs = send_ahead(connection, volumes, MODEL)
    finish_jobs(server)
    server.state.requests.clear()
    # whoever reads these voxels finds nothing to read
    unread = {name: StudyVolume(np.zeros(0), MATRIX, volume.identity) for name, volume in volumes.items()}
    result = segment_study(connection, unread, MODEL, patience=PATIENCE)
    assert result.inputs == inputs and result.upload.sent == ()
    assert {call for call in calls(server) if not call.endswith("inferences")} == set()


def test_with_known_volumes_another_option_costs_two_small_questions(server: StandIn, connection: Connection) -> None:
    volumes = study()
    send_ahead(connection, volumes, MODEL)
    server.state.requests.clear()
    send_ahead(connection, volumes, MODEL, {"register": "on"})
    assert calls(server) == ["POST volumes", "POST preparations"]
    assert server.state.preparations[-1]["options"] == {"register": "on"}


def test_a_volume_that_the_server_lost_is_sent_again_ahead_and_by_the_run(
    server: StandIn, connection: Connection
) -> None:
    volumes = study()
    inputs = send_ahead(connection, volumes, MODEL)
    del server.state.volumes[inputs["t2"]]
    send_ahead(connection, volumes, MODEL)
    assert set(server.state.volumes) == set(inputs.values())
    finish_jobs(server)
    del server.state.volumes[inputs["t1"]]
    result = segment_study(connection, volumes, MODEL, patience=PATIENCE)
    assert result.upload.sent == (inputs["t1"],)


def test_a_volume_that_is_known_from_another_server_goes_to_this_one_too(
    server: StandIn, connection: Connection
) -> None:
    volumes = study()
    for volume in volumes.values():
        volume.pack()
    finish_jobs(server)
    result = segment_study(connection, volumes, MODEL, patience=PATIENCE)
    assert set(server.state.volumes) == set(result.inputs.values()) == set(result.upload.sent)


def test_a_volume_that_was_changed_after_it_was_hashed_is_sent_as_it_is(
    server: StandIn, connection: Connection
) -> None:
    finish_jobs(server)
    voxels = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10)
    volume = StudyVolume(voxels, MATRIX, Identity("ab" * 32))
    result = segment_study(connection, {"t1": volume}, MODEL, patience=PATIENCE)
    np.testing.assert_array_equal(decode(server.state.volumes[result.inputs["t1"]]).array, voxels)
    assert volume.identity.sha256 == result.inputs["t1"] != "ab" * 32


@pytest.mark.parametrize("status", [404, 422, 500, 503])
def test_a_server_that_does_not_prepare_is_no_error(server: StandIn, connection: Connection, status: int) -> None:
    def refuse(handler: Handler) -> bool:
        if not handler.path.endswith("/preparations"):
            return False
        handler.body()
        handler.problem(status, "not-found", "Nothing of that kind here.")
        return True

    server.misbehaviour = refuse
    assert set(send_ahead(connection, study(), MODEL).values()) == set(server.state.volumes)


def test_a_volume_that_cannot_be_sent_is_told(server: StandIn, connection: Connection) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command != "PUT":
            return False
        handler.body()
        handler.problem(422, "constant", "The volume holds one value only.")
        return True

    server.misbehaviour = refuse
    with pytest.raises(ClientError, match="one value only"):
        send_ahead(connection, study(), MODEL)
    assert server.state.preparations == []


def test_a_cancel_leaves_what_was_sent_and_sends_no_more(server: StandIn, connection: Connection) -> None:
    cancelled, released = threading.Event(), threading.Event()

    def cancel_after_two(handler: Handler) -> bool:
        if handler.command == "PUT" and len(server.state.volumes) == 1:
            cancelled.set()
            released.wait(10)
        return False

    server.misbehaviour = cancel_after_two
    with pytest.raises(CancelledError):
        send_ahead(connection, study(), MODEL, cancelled=cancelled)
    released.set()
    deadline = time.monotonic() + 5
    while len(server.state.volumes) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # for a third, if there were one
    assert server.state.count("PUT") == 2 and server.state.preparations == []


def test_shared_voxels_are_copied_before_they_are_hashed() -> None:
    voxels = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10, order="F")
    own, shared = StudyVolume(voxels, MATRIX).pack(), StudyVolume(voxels, MATRIX, is_shared=True).pack()
    assert own.sha256 == shared.sha256 and own.data == shared.data
    assert np.shares_memory(np.frombuffer(own.pieces[1], np.int16), voxels)
    assert not np.shares_memory(np.frombuffer(shared.pieces[1], np.int16), voxels)
