"""Jobs are followed through silence, broken streams and restarts of the server, and a cancel never hangs."""

from __future__ import annotations

import threading
import time

import pytest
from stand_in_server import TOKEN, Handler, StandIn, State

from MahtAILib.client import jobs
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CancelledError,
    DamagedTransferError,
    JobFailedError,
    NotMahtAIError,
    RefusedError,
    RequestRefusedError,
    WrongTokenError,
)
from MahtAILib.client.events import ServerSentEvent, server_sent_events
from MahtAILib.client.patience import Patience

PATIENCE = Patience(poll_s=0.01, silence_s=5.0, relisten_s=0.02, gone_s=10.0)
Told = list[tuple[str, float, int | None]]


def _job(server: StandIn, connection: Connection) -> str:
    server.state.volumes["a" * 64] = b""
    return jobs.start(connection, "brats_segresnet", {"t1": "a" * 64}).id


class Follower:
    """Follows a job in a thread, so that the test can play the server meanwhile."""

    def __init__(self, connection: Connection, job: str, patience: Patience = PATIENCE) -> None:
        self.told: Told = []
        self.cancelled = threading.Event()
        self.error: BaseException | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(connection, job, patience), daemon=True)
        self._thread.start()

    def _run(self, connection: Connection, job: str, patience: Patience) -> None:
        try:
            jobs.follow(connection, job, self._hear, self.cancelled, patience)
        except BaseException as error:
            self.error = error

    def _hear(self, stage: str, fraction: float, place: int | None) -> None:
        with self._news:
            self.told.append((stage, fraction, place))
            self._news.notify_all()

    def wait_for(self, stage: str) -> None:
        with self._news:
            heard = self._news.wait_for(lambda: any(told[0] == stage for told in self.told), 5)
        assert heard, f"never heard of {stage}, only {self.told}"

    def end(self, timeout_s: float = 5.0) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()


def test_a_job_starts_in_the_queue(server: StandIn, connection: Connection) -> None:
    server.state.volumes["a" * 64] = b""
    job = jobs.start(connection, "brats_segresnet", {"t1": "a" * 64}, {"precision": "fp32"})
    assert (job.state, job.place, job.is_finished) == ("queued", 1, False)
    assert jobs.get(connection, job.id) == job


def test_an_unknown_model_is_told_in_the_words_of_the_server(connection: Connection) -> None:
    with pytest.raises(RequestRefusedError, match="no model named “unknown”. Choose brats_segresnet."):
        jobs.start(connection, "unknown", {})


def test_progress_is_told_by_place_stage_and_fraction(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    follower.wait_for("queued")
    server.state.change(job, state="running", stage="loading", fraction=0.5, place=None)
    follower.wait_for("loading")
    server.state.change(job, stage="predicting", fraction=0.25)
    follower.wait_for("predicting")
    server.state.change(job, state="succeeded")
    follower.end()
    assert follower.error is None
    heard = list(dict.fromkeys(follower.told))
    assert heard == [("queued", 0.0, 1), ("loading", 0.5, None), ("predicting", 0.25, None)]


def test_a_job_that_goes_back_into_the_queue_is_told_as_queued(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    server.state.change(job, state="running", stage="predicting", fraction=0.5, place=None)
    follower.wait_for("predicting")
    follower.told.clear()
    server.state.change(job, state="queued", stage=None, fraction=None, place=2)
    follower.wait_for("queued")
    # what was true before may be told once more; what counts is the last word
    assert follower.told[-1] == ("queued", 0.0, 2)
    server.state.change(job, state="succeeded")
    follower.end()


def test_events_spare_the_server_from_being_asked(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    for number in range(20):
        server.state.change(job, state="running", stage=f"stage {number}")
        follower.wait_for(f"stage {number}")
    server.state.change(job, state="succeeded")
    follower.end()
    assert server.state.count("GET", job) == 1  # at the beginning; the last event says how it ended


def test_without_events_the_server_is_asked(server: StandIn, connection: Connection) -> None:
    server.events_type = "text/html"
    job = _job(server, connection)
    follower = Follower(connection, job)
    server.state.change(job, state="running", stage="masking")
    follower.wait_for("masking")
    server.state.change(job, state="succeeded")
    follower.end()
    assert follower.error is None


def test_a_proxy_that_holds_events_back_does_not_hold_up_the_job(server: StandIn, connection: Connection) -> None:
    released = threading.Event()

    def hold_back(handler: Handler) -> bool:
        if handler.path.endswith("/events"):
            released.wait(10)
        return False

    server.misbehaviour = hold_back
    job = _job(server, connection)
    follower = Follower(connection, job, Patience(poll_s=0.01, silence_s=0.05, relisten_s=0.02))
    server.state.change(job, state="running", stage="masking")
    follower.wait_for("masking")
    server.state.change(job, state="succeeded")
    follower.end()
    released.set()
    assert follower.error is None


def test_events_that_are_no_json_are_survived(server: StandIn, connection: Connection) -> None:
    def nonsense(handler: Handler) -> bool:
        if not handler.path.endswith("/events"):
            return False
        handler.send(200, b"event: progress\ndata: {half\n\n", "text/event-stream")
        return True

    server.misbehaviour = nonsense
    job = _job(server, connection)
    follower = Follower(connection, job)
    server.state.change(job, state="succeeded")
    follower.end()
    assert follower.error is None


def test_a_server_that_restarts_in_mid_job_is_found_again(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    server.state.change(job, state="running", stage="predicting")
    follower.wait_for("predicting")
    server.stop()
    follower.wait_for("reconnecting")
    with StandIn(server.state, server.port) as restarted:
        restarted.state.change(job, stage="writing")
        follower.wait_for("writing")
        restarted.state.change(job, state="succeeded")
        follower.end()
    assert follower.error is None


def test_a_server_that_stays_away_is_given_up(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job, Patience(poll_s=0.01, relisten_s=0.02, gone_s=0.2))
    follower.wait_for("queued")
    server.stop()
    follower.end()
    assert isinstance(follower.error, RefusedError)


def test_a_job_that_fails_tells_the_reason_and_hint_of_the_server(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    server.state.change(job, state="failed", reason="Out of memory.", hint="Close other programs.", kind="memory")
    with pytest.raises(JobFailedError, match="Out of memory. Close other programs.") as caught:
        jobs.follow(connection, job, patience=PATIENCE)
    assert caught.value.problem == "memory"


def test_a_job_that_someone_else_cancels_is_told_as_such(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    follower.wait_for("queued")
    server.state.change(job, state="cancelled")
    follower.end()
    assert isinstance(follower.error, JobFailedError)
    assert follower.error.problem == "cancelled"


def test_a_job_that_the_server_does_not_know_is_told_at_once(connection: Connection) -> None:
    with pytest.raises(RequestRefusedError, match="no inference of this id"):
        jobs.follow(connection, "no-such-job", patience=PATIENCE)


def test_a_token_that_is_taken_away_ends_the_following(server: StandIn) -> None:
    with pytest.raises(WrongTokenError):
        jobs.follow(Connection(server.url, "wrong"), "job", patience=PATIENCE)


def test_a_cancel_ends_the_waiting_and_the_job(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    server.state.change(job, state="running", stage="predicting")
    follower.wait_for("predicting")
    began = time.monotonic()
    follower.cancelled.set()
    follower.end(2)
    assert time.monotonic() - began < 2
    assert isinstance(follower.error, CancelledError)
    assert server.state.jobs[job]["state"] == "cancelled"


def test_a_cancel_returns_in_time_even_where_the_server_hangs(server: StandIn, connection: Connection) -> None:
    released = threading.Event()
    job = _job(server, connection)
    follower = Follower(connection, job)
    follower.wait_for("queued")

    def hang(handler: Handler) -> bool:
        released.wait(10)
        return False

    server.misbehaviour = hang
    began = time.monotonic()
    follower.cancelled.set()
    follower.end(2)
    assert time.monotonic() - began < 2
    assert isinstance(follower.error, CancelledError)
    released.set()  # the server comes to itself, and the cancel still reaches it
    server.state.wait_for_request("DELETE", job)


def test_a_cancel_while_the_server_is_gone_reaches_it_when_it_is_back(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    follower = Follower(connection, job)
    follower.wait_for("queued")
    server.stop()
    follower.wait_for("reconnecting")
    follower.cancelled.set()
    follower.end(2)
    assert isinstance(follower.error, CancelledError)
    with StandIn(server.state, server.port):
        server.state.wait_for_request("DELETE", job)


def test_a_cancel_may_be_a_function(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    with pytest.raises(CancelledError):
        jobs.follow(connection, job, cancelled=lambda: True, patience=PATIENCE)
    server.state.wait_for_request("DELETE", job)


def test_an_error_in_the_progress_callback_cancels_the_job_and_comes_out(
    server: StandIn, connection: Connection
) -> None:
    job = _job(server, connection)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.follow(connection, job, fail, patience=PATIENCE)
    server.state.wait_for_request("DELETE", job)


def test_progress_comes_in_the_thread_of_the_caller(server: StandIn, connection: Connection) -> None:
    job = _job(server, connection)
    threads: set[int] = set()

    def hear(*_: object) -> None:
        threads.add(threading.get_ident())
        if server.state.jobs[job]["state"] == "queued":
            server.state.change(job, state="succeeded")

    jobs.follow(connection, job, hear, patience=PATIENCE)
    assert threads == {threading.get_ident()}


def test_the_result_comes_with_all_its_files_and_the_summary(server: StandIn, connection: Connection) -> None:
    told: Told = []
    result = jobs.result(connection, _job(server, connection), lambda *report: told.append(report))
    assert result.files == server.state.parts
    assert result.summary == {"volumes_ml": {"WT": 12.5}}
    assert told[-1] == ("downloading", 1.0, None)


def test_what_a_server_keeps_for_itself_is_not_fetched(server: StandIn, connection: Connection) -> None:
    server.state.parts["probabilities"] = bytes(1000)
    result = jobs.result(connection, _job(server, connection))
    assert set(result.files) == {"segmentation", "confidence"}
    assert server.state.count("GET", "/result/probabilities") == 0


def test_a_result_that_does_not_match_its_hash_is_not_taken(server: StandIn, connection: Connection) -> None:
    def damage(handler: Handler) -> bool:
        if not handler.path.endswith("/result/segmentation"):
            return False
        handler.send(200, b"GES" * 1000)
        return True

    server.misbehaviour = damage
    with pytest.raises(DamagedTransferError):
        jobs.result(connection, _job(server, connection))


@pytest.mark.parametrize("answer", [[], None, {"segmentation": {}}, {"segmentation": {"sha256": "a", "bytes": "many"}}])
def test_a_result_described_in_nonsense_is_told(server: StandIn, connection: Connection, answer: object) -> None:
    def nonsense(handler: Handler) -> bool:
        handler.send(200, answer)
        return True

    server.misbehaviour = nonsense
    with pytest.raises(NotMahtAIError):
        jobs.result(connection, "x")


@pytest.mark.parametrize("answer", [[], {"id": "x"}, {"id": "x", "state": "dreaming"}, {"state": "queued"}, "job"])
def test_a_job_described_in_nonsense_is_told(server: StandIn, connection: Connection, answer: object) -> None:
    def nonsense(handler: Handler) -> bool:
        handler.send(200, answer)
        return True

    server.misbehaviour = nonsense
    with pytest.raises(NotMahtAIError):
        jobs.get(connection, "x")


def test_events_are_parsed_however_the_bytes_are_cut() -> None:
    stream = (
        b': hello\n\nevent: progress\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:plain\nid: 7\n\nevent: empty\n\ndata: cut'
    )
    expected = [None, ServerSentEvent("progress", '{"a":\n1}'), ServerSentEvent("message", "plain")]
    for size in (1, 2, 3, 7, 1000):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert list(server_sent_events(pieces)) == expected


def test_an_event_line_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="does not end"):
        list(server_sent_events([b"x" * 1000] * 2000))


def test_the_state_of_the_stand_in_survives_its_restart() -> None:
    state = State()
    with StandIn(state) as first:
        port = first.port
    with StandIn(state, port) as second, Connection(second.url, TOKEN) as connection:
        assert connection.probe().api == 1
