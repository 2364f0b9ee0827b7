"""The work on one job, from its place in the line to the commit of its result."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from mahtai.cases.blob import BlobRecord
from mahtai.cases.blob_check import describe_result
from mahtai.errors import MahtaiError
from mahtai.jobs.engine import Engine
from mahtai.jobs.inference import Inference, Part, Problem, UnknownInference
from mahtai.jobs.line import Line, LineClosed
from mahtai.jobs.progress import ProgressBoard
from mahtai.jobs.records import InferenceRecords
from mahtai.jobs.work import EngineOutput, JobCancelled, Work
from mahtai.models.catalogue import Catalogue
from mahtai.volumes.store import BlobStore

MAX_STARTS = 3
"""How often a job is begun before it is suspected of bringing the server down."""

RETRY_S = 1.0

CORRECTION = -1
"""Rank of a correction: before all jobs."""

_MADE_ROOM = object()

_MEDIA_TYPES = {".nrrd": "application/x-nrrd", ".json": "application/json"}

_log = logging.getLogger(__name__)


class Runner:
    """Performs jobs. Every way out of ``perform`` leaves the job finished, failed or cancelled in the table,
    except the end of the server, after which ``perform`` is called again.

    Args:
        work_dir: where the engine writes results, a folder a job.
        discard_unknown: removes those of the given blobs that no table knows.
    """

    def __init__(
        self,
        records: InferenceRecords,
        store: BlobStore,
        catalogue: Catalogue,
        engine: Engine,
        board: ProgressBoard,
        work_dir: Path,
        discard_unknown: Callable[[Iterable[str]], None],
    ) -> None:
        self._records = records
        self._store = store
        self._catalogue = catalogue
        self._engine = engine
        self._board = board
        self._work_dir = work_dir
        self._discard_unknown = discard_unknown
        self._line = Line(moved=board.all_changed)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._live: set[str] = set()
        self._withdrawn: set[str] = set()
        self._unsettled: dict[str, Problem] = {}
        self._running: Inference | None = None
        self._interrupted: set[str] = set()
        self._corrections = count()

    def is_live(self, job: str) -> bool:
        """Whether a thread of this process works on the job or waits with it."""
        with self._lock:
            return job in self._live

    def unsettled(self, job: str) -> Problem | None:
        """Why a job has failed, while the table cannot be written to say so."""
        with self._lock:
            return self._unsettled.get(job)

    def withdraw(self, job: str) -> None:
        """The table says that the job is cancelled: stop working on it."""
        with self._lock:
            if job in self._live:
                self._withdrawn.add(job)
        self._line.wake()
        self._engine.cancel(job)
        self._board.changed(job)

    def hasten(self, inference: Inference) -> None:
        """A job that waits may have a better rank than when it came."""
        self._line.hasten(inference.number, inference.rank)
        self._make_room(inference.rank)

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
        with self._lock:
            self._live.add(job)
        try:
            self._perform(job)
        finally:
            with self._lock:
                self._live.discard(job)
                self._withdrawn.discard(job)
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
            return self._engine.run(work, lambda stage, fraction: None, lambda: False)
        finally:
            self._line.leave()

    def _perform(self, job: str) -> None:
        while self._performed(job) is _MADE_ROOM:
            pass
        shutil.rmtree(self._work_dir / job, ignore_errors=True)

    def _performed(self, job: str) -> object:
        """Work on a job when its turn comes; ``_MADE_ROOM`` if it has to wait for another one."""
        try:
            inference = self._records.get(job)
        except UnknownInference:
            return None  # the tables were replaced by older ones
        if inference.is_final:
            return None
        self._make_room(inference.rank)
        if not self._line.wait(inference.rank, inference.number, lambda: self._is_withdrawn(job)):
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
                self._interrupted.discard(job)
            self._line.leave()
        # storing and writing down take no engine, so the next job has begun by now
        if isinstance(outcome, EngineOutput):
            self._keep(job, outcome)
        elif isinstance(outcome, Problem):
            self._fail(job, outcome)
        return outcome

    def _make_room(self, rank: int) -> None:
        """Interrupt what runs if it is less urgent; it goes on afterwards, with what it had prepared in memory."""
        with self._lock:
            running = self._running
            if running is None or running.rank <= rank or running.id in self._interrupted:
                return
            self._interrupted.add(running.id)
        self._engine.interrupt(running.id)

    def _run(self, inference: Inference) -> object:
        """Have the engine do it: its output; None if the job was cancelled; ``_MADE_ROOM`` if it is to go on later."""
        if inference.starts >= MAX_STARTS:
            raise _Interrupted(
                f"The server was interrupted {inference.starts} times while it worked on this study, "
                "so it does not try again by itself. The study itself is safe.",
                "Run the model again. If the server stops again, tell the person who looks after it.",
            )
        job = inference.id
        work = Work(
            job=job,
            model_folder=self._catalogue.get(inference.model).folder,
            inputs={channel: self._store.path(sha256) for channel, sha256 in inference.inputs.items()},
            options=inference.options,
            output_folder=self._work_dir / job,
            anew=inference.anew,
        )
        if not self._records.begin(job):
            return None
        self._board.report(job, "loading", 0.0)
        try:
            return self._engine.run(
                work,
                lambda stage, fraction: self._board.report(job, stage, fraction),
                lambda: self._is_withdrawn(job),
                lambda path: self._board.show(job, path),
            )
        except JobCancelled:
            if self._was_interrupted(job):
                self._board.forget(job)
                return _MADE_ROOM if self._records.put_back(job) else None
            return None
        except MahtaiError:
            if self._closing.is_set():
                self._put_back(job)
            raise

    def _keep(self, job: str, output: EngineOutput) -> None:
        """Blobs first, each whole and synced; then one transaction makes all of the result visible."""
        self._board.report(job, "storing", 0.0)
        blobs: dict[str, BlobRecord] = {}
        problem = None
        try:
            for name, path in output.files.items():
                blobs[name] = self._store_file(path)
            parts = {name: _part(output.files[name], blob) for name, blob in blobs.items()}
            if self._records.succeed(job, parts, output.summary, list(blobs.values())):
                return
        except MahtaiError as error:
            problem = Problem(error.kind, error.reason, error.hint)
        with suppress(MahtaiError):  # what cannot be removed now only takes room
            self._discard_unknown(blob.sha256 for blob in blobs.values())
        if problem is not None:
            self._fail(job, problem)

    def _store_file(self, path: Path) -> BlobRecord:
        return describe_result(path, self._store.put_file(path))

    def _fail(self, job: str, problem: Problem) -> None:
        """Write down that the job has failed; a table that cannot be written (disk full) is tried until it can."""
        _log.warning("inference %s failed: %s", job, problem.kind)
        while True:
            try:
                self._records.fail(job, problem)
                return
            except MahtaiError:
                with self._lock:
                    self._unsettled[job] = problem
                self._board.forget(job)
                if self._closing.wait(RETRY_S):
                    raise LineClosed from None

    def _put_back(self, job: str) -> None:
        try:
            self._records.put_back(job)
        except MahtaiError as error:
            _log.warning("inference %s could not be put back in order: %s", job, error.kind)
        raise LineClosed

    def _was_interrupted(self, job: str) -> bool:
        with self._lock:
            return job in self._interrupted and job not in self._withdrawn

    def _is_withdrawn(self, job: str) -> bool:
        with self._lock:
            return job in self._withdrawn


def _part(path: Path, blob: BlobRecord) -> Part:
    return Part(blob.sha256, blob.bytes, _MEDIA_TYPES.get(path.suffix, "application/octet-stream"))


class _Stopping(MahtaiError):
    kind = "busy"
    title = "The server is being stopped"
    status = 503


class _Interrupted(MahtaiError):
    kind = "interrupted"
    title = "The server was interrupted too often"
