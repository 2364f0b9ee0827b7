"""This server among those that share its tables: it lives, it obeys, it tells, it takes what others leave.

Nobody's clock matters. Who is silent is judged by each server for itself: by how long it has listened, by its own
monotonic clock and only while the database answered, without hearing a sign of life. So a database that was away, a
clock that jumps, and a server that was itself stopped for a while make nobody look dead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from mahtai.errors import MahtaiError
from mahtai.jobs.claims import Claims, Unfinished
from mahtai.jobs.inference import Claim, Inference
from mahtai.jobs.progress import ProgressBoard
from mahtai.jobs.runner import Runner

BEAT_S = 5.0
"""Seconds between two signs of life."""

SILENT_S = 15.0
"""A server that was not heard for so long has left its jobs to the others."""

FORGOTTEN_S = 600.0
"""A server that was not heard for so long, and has no jobs any more, is taken off the table."""

PATIENCE_S = 1.0
"""How long a job waits for the server that it came to before an idle one takes it."""

LOOK_S = 0.5

_log = logging.getLogger(__name__)


class ServerNameInUse(MahtaiError):
    """A server of the same name lives on another computer."""

    kind = "server-name-in-use"
    title = "Another MahtAI server has this name"
    status = 500


class Listener:
    """Who gave a sign of life, and how long ago, as heard here."""

    def __init__(self) -> None:
        self._heard: dict[str, int] = {}
        self._silence: dict[str, float] = {}
        self._looked: float | None = None

    def hear(self, beats: dict[str, int], at_s: float) -> None:
        """Take what the table says now.

        Args:
            at_s: monotonic time; a gap in it, in which nothing could be heard, is nobody's silence.
        """
        listened = 0.0 if self._looked is None else min(at_s - self._looked, 2 * LOOK_S)
        self._looked = at_s
        for name, count in beats.items():
            is_new = self._heard.get(name) != count
            self._silence[name] = 0.0 if is_new else self._silence[name] + listened
        self._silence = {name: silence for name, silence in self._silence.items() if name in beats}
        self._heard = dict(beats)

    def alive(self) -> set[str]:
        """Those who are not silent."""
        return {name for name, silence in self._silence.items() if silence < SILENT_S}

    def long_gone(self) -> dict[str, int]:
        """Those who were not heard for very long, with their last sign."""
        return {name: self._heard[name] for name, silence in self._silence.items() if silence > FORGOTTEN_S}


class Fleet:
    """Two threads: one gives signs of life, the other looks at the table of jobs twice a second.

    Args:
        name: of this server.
        begin: starts the work on a job that was taken.
        look: a job as a client would see it.
        can_run: whether the version of a model, by id and SHA-256, is here.
        can_work: whether the engine is in order.
    """

    def __init__(
        self,
        name: str,
        claims: Claims,
        runner: Runner,
        board: ProgressBoard,
        begin: Callable[[Claim], None],
        look: Callable[[str], Inference],
        can_run: Callable[[str, str], bool],
        can_work: Callable[[], bool],
    ) -> None:
        self._name = name
        self._claims = claims
        self._runner = runner
        self._board = board
        self._begin = begin
        self._look = look
        self._can_run = can_run
        self._can_work = can_work
        self._listener = Listener()
        self._told: tuple[object, ...] = ()
        self._seen: dict[str, Inference] = {}
        self._waiting: dict[Claim, float] = {}
        self._left: dict[Claim, float] = {}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(action, seconds), name=name, daemon=True)
            for action, seconds, name in ((claims.beat, BEAT_S, "fleet-heart"), (self._watch, LOOK_S, "fleet-watch"))
        ]

    def join(self) -> None:
        """Give the first sign of life and take up what an earlier life of this server has left.

        Raises:
            ServerNameInUse: it is not over.
            DatabaseUnavailable: no connection.
        """
        self._require_own_name()
        self._claims.beat()
        for job in self._claims.unfinished():
            if job.owner == self._name:
                self._claims.take(job.claim)
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """The others need not wait for this server."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * BEAT_S)
        try:
            self._claims.forget(self._name)
        except MahtaiError as error:
            _log.warning("the other servers could not be told of the end: %s", error.kind)

    def _require_own_name(self) -> None:
        """The lock in the data folder tells on one computer, and between computers on some file systems only."""
        if not self._claims.is_of_another_host():
            return
        before = self._claims.beats().get(self._name)
        _log.info("a server named %s was on another computer; listening whether it lives", self._name)
        self._stopping.wait(BEAT_S + 1.0)
        if self._claims.beats().get(self._name) not in (None, before):
            raise ServerNameInUse(
                f"A server named {self._name} is running on another computer.",
                "Stop it, or give this one its own name with MAHTAI_SERVER_NAME.",
            )

    def _repeat(self, action: Callable[[], None], seconds: float) -> None:
        is_cut_off = False
        while not self._stopping.wait(seconds):
            try:
                action()
                is_cut_off = False
            except MahtaiError as error:
                if not is_cut_off:  # once, not twice a second
                    _log.warning("the other servers cannot be reached: %s", error.kind)
                is_cut_off = True
            except Exception:
                _log.exception("the other servers could not be looked after")

    def _watch(self) -> None:
        live = self._runner.live()  # before the look, which then holds all of them unless they are over
        jobs = self._claims.unfinished()
        self._obey(live, {job.claim: job for job in jobs})
        self._tell()
        self._listener.hear(self._claims.beats(), time.monotonic())
        if self._can_work():
            self._take_over(jobs)
            self._help(jobs)
        owners = {job.owner for job in jobs}
        for name, beats in self._listener.long_gone().items():
            if name not in owners:
                self._claims.forget(name, beats)
        self._wake()

    def _obey(self, live: Collection[Claim], jobs: dict[Claim, Unfinished]) -> None:
        """Stop what was cancelled or taken elsewhere; hasten what somebody waits for now."""
        for claim in live:
            if claim not in jobs:
                if self._runner.withdraw(claim):
                    _log.info("inference %s was ended elsewhere", claim.job)
            else:
                self._runner.hasten(claim, jobs[claim].rank)

    def _tell(self) -> None:
        """Show the progress of the job that runs here to those who watch elsewhere."""
        claim = self._runner.running
        progress = None if claim is None else self._board.latest(claim.job)
        if claim is None or progress is None:
            return
        preview = len(self._board.previews(claim.job)) or None
        news = (claim, progress.stage, round(progress.fraction, 2), preview)
        if news != self._told:
            self._claims.report(claim, progress.stage, progress.fraction, preview)
            self._told = news

    def _wake(self) -> None:
        """Wake those who watch, here, a job that has news from elsewhere."""
        watched = self._board.watched()
        self._seen = {job: seen for job, seen in self._seen.items() if job in watched}
        for job in watched:
            now = self._look(job)
            if self._seen.get(job) != now:
                self._seen[job] = now
                self._board.changed(job)

    def _take_over(self, jobs: Sequence[Unfinished]) -> None:
        """Take the jobs of those who are silent; once here, they wait like any other, and idle servers help."""
        alive = self._listener.alive() | {self._name}
        left = [job for job in jobs if job.owner not in alive]
        now = time.monotonic()
        self._left = {job.claim: self._left.get(job.claim, now) for job in left}
        for job in left:
            # what nobody wants because its model is gone shall end with a reason, not wait for ever
            if now - self._left[job.claim] < SILENT_S and not self._can_run(job.model, job.model_sha256):
                continue
            claim = self._claims.take(job.claim)
            if claim is not None:
                _log.warning("inference %s was left by %s and is taken over", job.claim.job, job.owner or "nobody")
                self._begin(claim)

    def _help(self, jobs: Sequence[Unfinished]) -> None:
        """Take one job that waits for another server too long, if it could start here at once."""
        below = self._runner.free_for_rank_below
        others = [job for job in jobs if job.state == "queued" and job.owner != self._name and job.rank < below]
        now = time.monotonic()
        self._waiting = {job.claim: self._waiting.get(job.claim, now) for job in others}
        for job in others:
            if now - self._waiting[job.claim] < PATIENCE_S or not self._can_run(job.model, job.model_sha256):
                continue
            claim = self._claims.take(job.claim, ("queued",))
            if claim is not None:
                _log.info("inference %s waited for %s and is done here", job.claim.job, job.owner)
                self._begin(claim)
                return
