"""The main job in one call, against a server on real sockets that can vanish, hang and lose volumes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from stand_in_server import Handler, StandIn, free_port

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CancelledError,
    JobFailedError,
    NotMahtAIError,
    RefusedError,
    RequestRefusedError,
    ServerTooOldError,
)
from MahtAILib.client.nrrd import NrrdError, decode
from MahtAILib.client.patience import Patience
from MahtAILib.client.study import StudyResult, StudyVolume, detect_landmarks, segment_study

PATIENCE = Patience(poll_s=0.01, silence_s=5.0, relisten_s=0.02, gone_s=10.0)
CHANNELS = ("t1c", "t1", "t2", "flair")


def _study() -> dict[str, StudyVolume]:
    voxels = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    return {channel: StudyVolume(voxels + number, affine) for number, channel in enumerate(CHANNELS)}


class Engine:
    """Plays the engine: runs each job that comes through its stages."""

    def __init__(self, server: StandIn, outcome: str = "succeeded", stages: tuple[str, ...] = ("predicting",)) -> None:
        self.state = server.state
        self._outcome = outcome
        self._stages = stages

    def hear(self, stage: str, fraction: float, place: int | None) -> None:
        """As a progress callback, so that every stage is seen before the next one begins."""
        for job, described in list(self.state.jobs.items()):
            if described["state"] not in ("queued", "running"):
                continue
            passed = ("queued", *self._stages).index(stage) if stage in ("queued", *self._stages) else -1
            if passed == len(self._stages):
                self.state.change(job, state=self._outcome, reason="Out of memory.", hint="Close other programs.")
            elif passed >= 0:
                self.state.change(job, state="running", place=None, stage=self._stages[passed], fraction=0.5)


def _segment(connection: Connection, engine: Engine, told: list[str] | None = None, **options: object) -> StudyResult:
    def hear(stage: str, fraction: float, place: int | None) -> None:
        if told is not None and (not told or told[-1] != stage):
            told.append(stage)
        assert 0 <= fraction <= 1
        engine.hear(stage, fraction, place)

    return segment_study(connection, _study(), "brats_segresnet", None, hear, patience=PATIENCE, **options)  # type: ignore[arg-type]


def test_a_study_goes_in_and_a_segmentation_comes_out(server: StandIn, connection: Connection) -> None:
    told: list[str] = []
    result = _segment(connection, Engine(server, stages=("loading", "predicting")), told)
    assert told == ["hashing", "uploading", "queued", "loading", "predicting", "downloading"]
    assert result.segmentation == server.state.parts["segmentation"]
    assert result.confidence == server.state.parts["confidence"]
    assert result.summary["volumes_ml"] == {"WT": 12.5}
    assert result.job_id in server.state.jobs
    for channel, volume in _study().items():
        stored = decode(server.state.volumes[result.inputs[channel]])
        np.testing.assert_array_equal(stored.array, volume.array)
        np.testing.assert_array_equal(stored.ijk_to_ras, volume.ijk_to_ras)


def test_the_second_run_uploads_nothing(server: StandIn, connection: Connection) -> None:
    first = _segment(connection, Engine(server))
    second = _segment(connection, Engine(server))
    assert len(first.upload.sent) == 4
    assert second.upload.sent == ()
    assert second.upload.wire_bytes == 0


def test_a_volume_that_the_server_loses_before_the_start_is_sent_again(server: StandIn, connection: Connection) -> None:
    lost: list[str] = []

    def lose_one(handler: Handler) -> bool:
        if handler.path == "/v1/inferences" and not lost:
            lost.append(server.state.volumes.popitem()[0])
        return False

    server.misbehaviour = lose_one
    result = _segment(connection, Engine(server))
    assert result.upload.sent[-1] == lost[0]
    assert len(result.upload.sent) == 5


def test_a_model_without_confidence_gives_none(server: StandIn, connection: Connection) -> None:
    del server.state.parts["confidence"]
    assert _segment(connection, Engine(server)).confidence is None


def test_a_result_without_segmentation_is_told(server: StandIn, connection: Connection) -> None:
    del server.state.parts["segmentation"]
    with pytest.raises(NotMahtAIError, match="no segmentation"):
        _segment(connection, Engine(server))


def test_a_cephalogram_goes_in_and_landmarks_come_out(server: StandIn, connection: Connection) -> None:
    server.state.parts = {"landmarks": b'{"markups": []}', "measurements": b"{}"}
    image = StudyVolume(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    engine = Engine(server)
    result = detect_landmarks(connection, image, "ceph_mahtnet", None, engine.hear, patience=PATIENCE)
    assert (result.landmarks, result.measurements) == (b'{"markups": []}', b"{}")
    np.testing.assert_array_equal(decode(server.state.volumes[result.inputs["ceph"]]).array, image.array)


def test_a_result_without_landmarks_is_told(server: StandIn, connection: Connection) -> None:
    image = StudyVolume(np.zeros((40, 50, 1), np.uint8), np.eye(4))
    with pytest.raises(NotMahtAIError, match="no landmarks"):
        detect_landmarks(connection, image, "ceph_mahtnet", None, Engine(server).hear, patience=PATIENCE)


def test_a_job_that_fails_says_why(server: StandIn, connection: Connection) -> None:
    with pytest.raises(JobFailedError, match="Out of memory. Close other programs."):
        _segment(connection, Engine(server, outcome="failed"))


def test_an_unknown_model_is_told_in_the_words_of_the_server(connection: Connection) -> None:
    with pytest.raises(RequestRefusedError, match="no model named “unknown”"):
        segment_study(connection, _study(), "unknown", patience=PATIENCE)


def test_a_matrix_that_places_nothing_is_told_before_anything_is_sent(server: StandIn, connection: Connection) -> None:
    study = {"t1": StudyVolume(np.zeros((2, 2, 2), np.int16), np.zeros((4, 4)))}
    with pytest.raises(NrrdError):
        segment_study(connection, study, "brats_segresnet", patience=PATIENCE)
    assert not server.state.requests


def test_no_voxel_leaves_for_a_server_that_is_none_or_too_old(server: StandIn, connection: Connection) -> None:
    server.info["api"] = 0
    with pytest.raises(ServerTooOldError):
        segment_study(connection, _study(), "brats_segresnet", patience=PATIENCE)
    assert [path for _, path, _ in server.state.requests] == ["/healthz"]


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(RefusedError):
        segment_study(Connection(f"127.0.0.1:{free_port()}"), _study(), "brats_segresnet", patience=PATIENCE)


def test_a_restart_of_the_server_in_mid_job_does_not_lose_the_job(server: StandIn, connection: Connection) -> None:
    restarted: list[StandIn] = []
    engine = Engine(server)

    def hear(stage: str, fraction: float, place: int | None) -> None:
        if stage == "predicting" and not restarted:
            server.stop()
            restarted.append(StandIn(server.state, server.port))
        elif restarted or stage == "queued":
            engine.hear(stage, fraction, place)

    result = segment_study(connection, _study(), "brats_segresnet", None, hear, patience=PATIENCE)
    restarted[0].stop()
    assert result.segmentation == server.state.parts["segmentation"]
    assert server.state.count("POST", "/inferences") == 1


def _cancel_at(server: StandIn, connection: Connection, method: str, path_end: str) -> float:
    """Cancel while the server hangs in this request; how long the cancel took in seconds."""
    hanging, cancelled, released = threading.Event(), threading.Event(), threading.Event()

    def hang(handler: Handler) -> bool:
        if handler.command == method and handler.path.endswith(path_end):
            hanging.set()
            released.wait(10)
        return False

    server.misbehaviour = hang
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            segment_study(connection, _study(), "brats_segresnet", cancelled=cancelled, patience=PATIENCE)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert hanging.wait(5)
    began = time.monotonic()
    cancelled.set()
    thread.join(5)
    took = time.monotonic() - began
    released.set()
    assert isinstance(outcome[0], CancelledError)
    return took


@pytest.mark.parametrize(
    ("method", "path_end"),
    [("GET", "/healthz"), ("POST", "/missing"), ("PUT", ""), ("POST", "/inferences"), ("GET", "/events")],
)
def test_a_cancel_in_any_request_returns_within_two_seconds(
    server: StandIn, connection: Connection, method: str, path_end: str
) -> None:
    assert _cancel_at(server, connection, method, path_end) < 2


def test_a_cancel_while_the_job_is_being_accepted_still_cancels_it(server: StandIn, connection: Connection) -> None:
    _cancel_at(server, connection, "POST", "/inferences")
    path = server.state.wait_for_request("DELETE", "")
    assert path.rpartition("/")[2] in server.state.jobs
