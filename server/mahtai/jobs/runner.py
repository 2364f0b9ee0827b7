"""The work on one job, from its place in the line to the commit of its result."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

from mahtai.cases.blob import BlobRecord
from mahtai.cases.blob_check import describe_result
from mahtai.cases.intake import Intake
from mahtai.db.engine import DatabaseUnavailable
from mahtai.errors import MahtaiError
from mahtai.jobs.engine import Engine
from mahtai.jobs.inference import RANKS, Claim, Inference, Part, Problem, UnknownInference
from mahtai.jobs.line import Line, LineClosed
from mahtai.jobs.progress import ProgressBoard
from mahtai.jobs.records import InferenceRecords
from mahtai.jobs.work import EngineFailure, EngineOutput, JobCancelled, Work
from mahtai.models.catalogue import Catalogue
from mahtai.security.at_rest.keys import UnknownDataKey
from mahtai.security.at_rest.sealed_files import read_file, work_place
from mahtai.volumes.store import BlobStore

MAX_STARTS = 3
"""How often a job is begun before it is suspected of bringing the server down."""

RETRY_S = 1.0

KEY_TRIES = 3

CORRECTION = -1
"""Rank of a correction: before all jobs."""

_MADE_ROOM = object()

_MEDIA_TYPES = {".nrrd": "application/x-nrrd", ".json": "application/json"}

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Runner:
    """Performs jobs. Every way out of ``perform`` leaves the job finished, failed or cancelled in the table,
    except the end of the server, after which ``perform`` is called again, and the loss of the job to another server.

    Args:
        name: of this server, which works on no other's jobs.
        work_dir: where the engine writes results, a folder a claim.
    """

    def __init__(
        self,
        name: str,
        records: InferenceRecords,
        store: BlobStore,
        intake: Intake,
        catalogue: Catalogue,
        engine: Engine,
        board: ProgressBoard,
        work_dir: Path,
    ) -> None:
        self._name = name
        self._records = records
        self._store = store
        self._catalogue = catalogue
        self._engine = engine
        self._board = board
        self._work_dir = work_dir
        self._intake = intake
        self._line = Line(moved=board.all_changed)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[Claim, int] = {}
        self._withdrawn: set[Claim] = set()
        self._unsettled: dict[str, Problem] = {}
        self._running: Inference | None = None
        self._interrupted: set[Claim] = set()
        self._corrections = count()

    def live(self) -> tuple[Claim, ...]:
        """Those on which a thread of this process works, or with which one waits."""
        with self._lock:
            return tuple(self._live)

    def is_live(self, claim: Claim) -> bool:
        """Whether it is one of them."""
        with self._lock:
            return claim in self._live

    @property
    def running(self) -> Claim | None:
        """The one that has the engine."""
        with self._lock:
            return None if self._running is None else self._running.claim

    @property
    def free_for_rank_below(self) -> int:
        """Jobs of a lower rank could start at once: none while one waits, unattended ones make room."""
        with self._lock:
            running = self._running
        if self._line.has_waiting or self._closing.is_set():
            return 0
        if not self._line.is_busy:
            return max(RANKS.values()) + 1
        return 0 if running is None else running.rank

    def unsettled(self, job: str) -> Problem | None:
        """Why a job has failed, while the table cannot be written to say so."""
        with self._lock:
            return self._unsettled.get(job)

    def withdraw(self, claim: Claim) -> bool:
        """The table says that the job is cancelled, or another server's: stop working on it; False if that is known."""
        with self._lock:
            if claim not in self._live or claim in self._withdrawn:
                return False
            self._withdrawn.add(claim)
        self._line.wake()
        self._engine.cancel(claim.name)
        self._board.changed(claim.job)
        return True

    def hasten(self, claim: Claim, rank: int) -> None:
        """A job that waits may have a better rank than when it came."""
        with self._lock:
            number = self._live.get(claim)
            is_running = self._running is not None and self._running.claim == claim
        if number is not None and not is_running:
            self._line.hasten(number, rank)
            self._make_room(rank)

    def close(self) -> None:
        """The server stops: send home all who wait, and put back the job that runs."""
        self._closing.set()
        self._line.close()
        self._engine.stop()

    def perform(self, job: str) -> None:
        """Work on a job until its end is in the table; safe to call again at any time.

        Raises:
            LineClosed: the server stops; the job is to be performed again.
        """
        inference = self._look(job)
        if inference is None:
            return
        claim = inference.claim
        with self._lock:
            if claim in self._live:
                return
            self._live[claim] = inference.number
        try:
            while self._performed(claim) is _MADE_ROOM:
                pass
            shutil.rmtree(self._work_dir / claim.name, ignore_errors=True)
        finally:
            with self._lock:
                self._live.pop(claim, None)
                self._withdrawn.discard(claim)
                self._unsettled.pop(job, None)
            self._board.forget(job)

    def correct(self, work: Work) -> EngineOutput:
        """Have the engine correct a region while somebody waits: before all jobs, though not in the middle of one
        that a reader waits for.

        Raises:
            EngineFailure: it could not.
        """
        try:
            self._make_room(CORRECTION)
            self._line.wait(CORRECTION, next(self._corrections), lambda: False)
        except LineClosed:
            raise _Stopping("The server is being stopped. Nothing was changed.", "Try again when it is back.") from None
        try:
            return _with_known_keys(lambda: self._engine.run(work, lambda stage, fraction: None, lambda: False))
        finally:
            self._line.leave()

    def _look(self, job: str) -> Inference | None:
        """The job, if there is something to do for this server."""
        try:
            inference = self._insist(lambda: self._records.get(job))
        except UnknownInference:
            return None  # the tables were replaced by older ones
        return None if inference.is_final or inference.owner not in (self._name, None) else inference

    def _insist(self, action: Callable[[], T]) -> T:
        """Do something with the tables, as soon as they can be had.

        Raises:
            LineClosed: the server stops before.
        """
        while True:
            try:
                return action()
            except DatabaseUnavailable:
                if self._closing.wait(RETRY_S):
                    raise LineClosed from None

    def _performed(self, claim: Claim) -> object:
        """Work on a job when its turn comes; ``_MADE_ROOM`` if it has to wait for another one."""
        inference = self._look(claim.job)
        if inference is None or inference.claim != claim:
            return None
        self._make_room(inference.rank)
        if not self._line.wait(inference.rank, inference.number, lambda: self._is_withdrawn(claim)):
            return None
        with self._lock:
            self._running = inference
        try:
            outcome = self._run(inference)
        except MahtaiError as error:
            outcome = Problem(error.kind, error.reason, error.hint)
        finally:
            with self._lock:
                self._running = None
                self._interrupted.discard(claim)
            self._line.leave()
        # storing and writing down take no engine, so the next job has begun by now
        if isinstance(outcome, EngineOutput):
            self._keep(claim, outcome)
        elif isinstance(outcome, Problem):
            self._fail(claim, outcome)
        return outcome

    def _make_room(self, rank: int) -> None:
        """Interrupt what runs if it is less urgent; it goes on afterwards, with what it had prepared in memory."""
        with self._lock:
            running = self._running
            if running is None or running.rank <= rank or running.claim in self._interrupted:
                return
            self._interrupted.add(running.claim)
        self._engine.interrupt(running.claim.name)

    def _run(self, inference: Inference) -> object:
        """Have the engine do it: its output; None if the job was cancelled; ``_MADE_ROOM`` if it is to go on later."""
        if inference.starts >= MAX_STARTS:
            raise _Interrupted(
                f"The server was interrupted {inference.starts} times while it worked on this study, "
                "so it does not try again by itself. The study itself is safe.",
                "Run the model again. If the server stops again, tell the person who looks after it.",
            )
        claim, job = inference.claim, inference.id
        work = Work(
            job=claim.name,
            model_folder=self._catalogue.exact(inference.model, inference.model_sha256).folder,
            inputs={channel: self._store.path(sha256) for channel, sha256 in inference.inputs.items()},
            options=inference.options,
            output_folder=self._work_dir / claim.name,
            anew=inference.anew,
            keys=self._store.keys,
        )
        if not self._insist(lambda: self._records.begin(claim)):
            return None
        self._board.report(job, "loading", 0.0)
        try:
            return _with_known_keys(
                lambda: self._engine.run(
                    work,
                    lambda stage, fraction: self._board.report(job, stage, fraction),
                    lambda: self._is_withdrawn(claim),
                    lambda path: self._board.show(job, path),
                )
            )
        except JobCancelled:
            if self._was_interrupted(claim):
                self._board.forget(job)
                return _MADE_ROOM if self._insist(lambda: self._records.put_back(claim)) else None
            return None
        except MahtaiError:
            if self._closing.is_set():
                self._put_back(claim)
            raise

    def _keep(self, claim: Claim, output: EngineOutput) -> None:
        """Blobs first, each whole and synced; then one transaction makes all of the result visible."""
        self._board.report(claim.job, "storing", 0.0)
        blobs: dict[str, BlobRecord] = {}
        problem = None
        try:
            if self._insist(lambda: self._publish(claim, output, blobs)):
                return
            _log.info("the result of inference %s is not wanted any more", claim.job)
        except MahtaiError as error:
            problem = Problem(error.kind, error.reason, error.hint)
        with suppress(MahtaiError):  # what cannot be removed now only takes room
            self._intake.discard_unknown(blob.sha256 for blob in blobs.values())
        if problem is not None:
            self._fail(claim, problem)

    def _publish(self, claim: Claim, output: EngineOutput, blobs: dict[str, BlobRecord]) -> bool:
        """Store what the engine wrote, and say so if the job is still this server's; ``blobs`` is told what was."""
        with self._intake.adding():
            for name, path in output.files.items():
                content = read_file(path, work_place(path), self._store.keys)
                blobs[name] = describe_result(path, content, self._store.put_bytes(content))
            parts = {name: _part(output.files[name], blob) for name, blob in blobs.items()}
            return self._records.succeed(claim, parts, output.summary, list(blobs.values()))

    def _fail(self, claim: Claim, problem: Problem) -> None:
        """Write down that the job has failed; a table that cannot be written (disk full) is tried until it can."""
        _log.warning("inference %s failed: %s", claim.job, problem.kind)
        while True:
            try:
                self._records.fail(claim, problem)
                return
            except MahtaiError:
                with self._lock:
                    self._unsettled[claim.job] = problem
                self._board.forget(claim.job)
                if self._closing.wait(RETRY_S):
                    raise LineClosed from None

    def _put_back(self, claim: Claim) -> None:
        try:
            self._records.put_back(claim)
        except MahtaiError as error:
            _log.warning("inference %s could not be put back in order: %s", claim.job, error.kind)
        raise LineClosed

    def _was_interrupted(self, claim: Claim) -> bool:
        with self._lock:
            return claim in self._interrupted and claim not in self._withdrawn

    def _is_withdrawn(self, claim: Claim) -> bool:
        with self._lock:
            return claim in self._withdrawn


def _with_known_keys(run: Callable[[], EngineOutput]) -> EngineOutput:
    """Run; again where the data were encrypted anew, under another key, between the asking and the reading."""
    for _ in range(KEY_TRIES - 1):
        try:
            return run()
        except EngineFailure as error:
            if error.kind != UnknownDataKey.kind:
                raise
    return run()


def _part(path: Path, blob: BlobRecord) -> Part:
    return Part(blob.sha256, blob.bytes, _MEDIA_TYPES.get(path.suffix, "application/octet-stream"))


class _Stopping(MahtaiError):
    kind = "busy"
    title = "The server is being stopped"
    status = 503


class _Interrupted(MahtaiError):
    kind = "interrupted"
    title = "The server was interrupted too often"
