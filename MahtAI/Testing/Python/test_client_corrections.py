"""A correction travels as a region with strokes; what comes back is checked before anybody sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from correction_kit import JOB, Corrector, encoded, serve, spread
from scene_kit import GRIDS, tumour
from stand_in_server import Handler, StandIn

from MahtAILib.client import nrrd
from MahtAILib.client.connection import Connection
from MahtAILib.client.corrections import correct, proposal
from MahtAILib.client.errors import (
    BusyError,
    CancelledError,
    ClientError,
    ConnectionLostError,
    NotMahtAIError,
    RefusedError,
    RequestRefusedError,
    ServerFaultError,
    ServerTooOldError,
)
from MahtAILib.client.geometry import Geometry

GRID = GRIDS["left-handed oblique"]


def region() -> tuple[np.ndarray, np.ndarray, Geometry]:
    labels = tumour(GRID).layers[0][5:35, 5:40, 2:11].copy()
    strokes = np.zeros_like(labels)
    strokes[3:5, 4, 2] = 1 + 4
    strokes[20, 20, 5] = 1
    matrix = np.array(GRID.ijk_to_ras)
    matrix[:, 3] = GRID.ijk_to_ras @ [5, 5, 2, 1]
    return labels, strokes, Geometry(labels.shape, matrix)


@pytest.fixture
def corrector(server: StandIn) -> Corrector:
    return serve(server, tumour(GRID))


def test_the_region_and_its_strokes_arrive_as_they_are_and_the_answer_comes_back(
    connection: Connection, corrector: Corrector
) -> None:
    labels, strokes, geometry = region()
    stages: list[str] = []
    found = correct(connection, JOB, labels, strokes, geometry, lambda stage, *_: stages.append(stage))
    seen_labels, seen_strokes, seen_geometry = corrector.asked[0]
    np.testing.assert_array_equal(seen_labels, labels)
    np.testing.assert_array_equal(seen_strokes, strokes)
    assert seen_geometry.same_grid(geometry, 1e-9)
    np.testing.assert_array_equal(found.labels, spread(labels, strokes))
    assert found.seconds == 0.25 and found.changed == np.count_nonzero(found.labels != labels) > 0
    assert stages == ["correcting"]


def test_a_proposal_is_fetched_as_it_was_made(connection: Connection, corrector: Corrector) -> None:
    found = proposal(connection, JOB)
    np.testing.assert_array_equal(found.layers, tumour(GRID).layers)
    assert [segment.id for segment in found.segments] == ["ncr", "ed", "et"]
    with pytest.raises(RequestRefusedError) as refused:
        proposal(connection, "another")
    assert refused.value.problem == "unknown-inference"


def without_strokes(labels: np.ndarray, _strokes: np.ndarray, geometry: Geometry) -> bytes:
    return nrrd.encode(labels, geometry.ijk_to_ras)


def elsewhere(labels: np.ndarray, strokes: np.ndarray, geometry: Geometry) -> bytes:
    matrix = np.array(geometry.ijk_to_ras)
    matrix[0, 3] += 0.5
    return nrrd.encode(spread(labels, strokes), matrix)


def smaller(labels: np.ndarray, strokes: np.ndarray, geometry: Geometry) -> bytes:
    return nrrd.encode(spread(labels, strokes)[1:], geometry.ijk_to_ras)


def wider(labels: np.ndarray, strokes: np.ndarray, geometry: Geometry) -> bytes:
    return nrrd.encode(spread(labels, strokes).astype(np.int16), geometry.ijk_to_ras)


@pytest.mark.parametrize("answer", [without_strokes, elsewhere, smaller, wider])
def test_an_answer_to_another_question_is_not_taken(
    connection: Connection, corrector: Corrector, answer: Callable[..., bytes]
) -> None:
    corrector.answer = answer
    with pytest.raises(ServerFaultError) as fault:
        correct(connection, JOB, *region())
    assert "Nothing was changed" in fault.value.reason


@pytest.mark.parametrize("answer", [b"", b"<html>", encoded(*region())[:-20]])
def test_an_answer_that_cannot_be_read_is_not_taken(
    connection: Connection, corrector: Corrector, answer: bytes
) -> None:
    corrector.answer = lambda *asked: answer
    with pytest.raises(NotMahtAIError) as error:
        correct(connection, JOB, *region())
    assert "Nothing was changed" in error.value.reason


PROBLEMS = [
    (404, "unknown-inference", RequestRefusedError),
    (404, "not-found", ServerTooOldError),
    (405, "method-not-allowed", ServerTooOldError),
    (409, "no-result", RequestRefusedError),
    (422, "not-in-the-result", RequestRefusedError),
    (503, "busy", BusyError),
    (500, "server-fault", ServerFaultError),
]


@pytest.mark.parametrize(("status", "kind", "error"), PROBLEMS)
def test_each_refusal_has_its_own_kind(
    connection: Connection, corrector: Corrector, status: int, kind: str, error: type[ClientError]
) -> None:
    def respond(handler: Handler) -> bool:
        handler.problem(status, kind, "It cannot be.", "Do this.", Retry_After="60")
        return True

    corrector.respond = respond
    with pytest.raises(error) as refused:
        correct(connection, JOB, *region())
    assert type(refused.value) is error
    if error is RequestRefusedError:
        assert (refused.value.reason, refused.value.hint) == ("It cannot be.", "Do this.")


def test_a_server_that_is_busy_for_a_moment_is_asked_again(connection: Connection, corrector: Corrector) -> None:
    answers = iter([True, False])

    def respond(handler: Handler) -> bool:
        is_busy = next(answers)
        if is_busy:
            handler.problem(503, "busy", "Busy.", Retry_After="0")
        return is_busy

    corrector.respond = respond
    assert correct(connection, JOB, *region()).changed > 0


def test_a_server_that_goes_in_the_middle_or_is_gone_is_named(
    connection: Connection, corrector: Corrector, server: StandIn
) -> None:
    def vanish(handler: Handler) -> bool:
        server.stop()
        return True

    corrector.respond = vanish
    with pytest.raises((ConnectionLostError, RefusedError)):
        correct(connection, JOB, *region())
    with pytest.raises(RefusedError):
        correct(connection, JOB, *region())


def test_waiting_can_be_stopped_at_once(connection: Connection, corrector: Corrector) -> None:
    corrector.may_answer.clear()
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        correct(connection, JOB, *region(), cancelled=cancelled)
    assert time.monotonic() - begun < 5
    assert len(corrector.asked) == 1
    corrector.may_answer.set()
