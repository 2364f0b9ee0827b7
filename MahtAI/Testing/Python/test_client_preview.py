"""A coarse result that a server shows before the full one: fetched beside the job, and never in its way."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from stand_in_server import Handler, StandIn

from MahtAILib.client.background import OnProgress
from MahtAILib.client.connection import Connection
from MahtAILib.client.patience import Patience
from MahtAILib.client.preview import OnPreview
from MahtAILib.client.study import StudyVolume, segment_study

PATIENCE = Patience(poll_s=0.01, silence_s=5.0, relisten_s=0.02, gone_s=10.0)


class Showing:
    """An engine that announces previews, and goes on when each was given to the client (or ``seen`` is set)."""

    def __init__(self, server: StandIn, previews: list[bytes]) -> None:
        self.state = server.state
        self.previews = previews
        self.got: list[bytes] = []
        self.seen = threading.Event()

    def take(self, data: bytes) -> None:
        self.got.append(data)
        self.seen.set()

    def play(self) -> None:
        self.state.wait_for_request("GET", "/events")
        (job,) = self.state.jobs
        for number, preview in enumerate(self.previews, start=1):
            self.state.previews[job] = preview
            for fraction in (0.3, 0.4, 0.5):
                self.state.change(job, state="running", stage="predicting", fraction=fraction, preview=number)
            assert self.seen.wait(5)
            self.seen.clear()
        self.state.change(job, state="succeeded", stage=None, preview=None)

    def segment(
        self, connection: Connection, on_preview: OnPreview | None, on_progress: OnProgress | None = None
    ) -> None:
        voxels = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10)
        volumes = {"t1c": StudyVolume(voxels, np.diag([-1.0, -1.0, 3.0, 1.0]))}
        engine = threading.Thread(target=self.play, daemon=True)
        engine.start()
        result = segment_study(
            connection, volumes, "brats_segresnet", None, on_progress, patience=PATIENCE, on_preview=on_preview
        )
        engine.join(5)
        assert result.segmentation == self.state.parts["segmentation"]


def test_each_preview_is_fetched_once(server: StandIn, connection: Connection) -> None:
    showing = Showing(server, [b"coarse", b"less coarse"])
    showing.segment(connection, showing.take)
    assert showing.got == [b"coarse", b"less coarse"]
    assert server.state.count("GET", "/preview") == 2


def test_nobody_asks_for_a_preview_that_nobody_wants(server: StandIn, connection: Connection) -> None:
    showing = Showing(server, [b"coarse"])

    def seen(stage: str, fraction: float, place: int | None) -> None:
        if stage == "predicting":
            showing.seen.set()

    showing.segment(connection, None, seen)
    assert server.state.count("GET", "/preview") == 0


@pytest.mark.parametrize("status", [404, 409, 500])
def test_a_preview_that_cannot_be_had_is_left_unsaid(server: StandIn, connection: Connection, status: int) -> None:
    showing = Showing(server, [b"coarse"])

    def refuse(handler: Handler) -> bool:
        if not handler.path.endswith("/preview"):
            return False
        handler.problem(status, "no-result", "It is gone.")
        showing.seen.set()
        return True

    server.misbehaviour = refuse
    showing.segment(connection, showing.take)
    assert showing.got == []


def test_a_preview_that_hangs_neither_delays_the_result_nor_comes_after_it(
    server: StandIn, connection: Connection
) -> None:
    showing = Showing(server, [b"coarse"])
    released, answered = threading.Event(), threading.Event()

    def hang(handler: Handler) -> bool:
        if handler.path.endswith("/preview"):
            showing.seen.set()
            released.wait(10)
            handler.send(200, b"late")
            answered.set()
            return True
        return False

    server.misbehaviour = hang
    showing.segment(connection, showing.take)
    assert not answered.is_set()
    released.set()
    assert answered.wait(5)
    deadline = time.monotonic() + 5
    while any(thread.name == "MahtAI preview" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert showing.got == []
