"""Jobs as the API uses them: ask for an inference, look at it, watch it, cancel it, get its result."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mahtai.cases.intake import Intake
from mahtai.data_folder import require_room
from mahtai.db.engine import Database
from mahtai.errors import MahtaiError
from mahtai.jobs.claims import Claims
from mahtai.jobs.corrections import check_region
from mahtai.jobs.durable import DurableWork
from mahtai.jobs.engine import Engine, EngineState
from mahtai.jobs.fleet import Fleet
from mahtai.jobs.inference import RANKS, Claim, Inference, NoResult, Part, Priority, Problem
from mahtai.jobs.orders import OrderDesk
from mahtai.jobs.progress import ProgressBoard, Watcher
from mahtai.jobs.records import InferenceRecords, Share
from mahtai.jobs.runner import Runner
from mahtai.jobs.threads import Threads
from mahtai.jobs.work import Work
from mahtai.models.catalogue import Catalogue
from mahtai.security.at_rest.sealed_files import read_file, work_place, write_file
from mahtai.settings import Settings, host_name
from mahtai.volumes.store import BlobStore, StoredBlob

LOOK_AFTER_S = 15.0
"""Seconds between two looks for accepted jobs that nobody works on."""

PREVIEW_FILE = "preview.seg.nrrd"
"""What the engine writes beside the result, see ``mahtai.inference.result_files``."""

_ABANDONED = Problem(
    "interrupted",
    "The server met an unexpected error while it worked on this study. The study itself is safe.",
    "Run the model again. If it happens again, send the server's log to those who look after MahtAI.",
)

_log = logging.getLogger(__name__)


class Jobs:
    """All inferences of this server. Accepted means kept: the row is committed before ``submit`` returns."""

    def __init__(
        self, settings: Settings, database: Database, store: BlobStore, intake: Intake, catalogue: Catalogue
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._records = InferenceRecords(database, settings.server_name)
        self._desk = OrderDesk(database, store, catalogue)
        self._board = ProgressBoard()
        self._engine = Engine(settings.machine, settings.engine_stall_s, self._first_model)
        self._runner = Runner(
            name=settings.server_name,
            records=self._records,
            store=store,
            intake=intake,
            catalogue=catalogue,
            engine=self._engine,
            board=self._board,
            work_dir=settings.work_dir,
        )
        self._durable: DurableWork | Threads
        self._fleet: Fleet | None = None
        if settings.is_sqlite:
            self._durable = DurableWork(settings.jobs_url, settings.server_name, self._runner.perform)
        else:
            self._durable = Threads(self._runner.perform)
            self._fleet = self._make_fleet(database)
        self._stopping = threading.Event()
        self._caretaker = threading.Thread(target=self._look_after, name="jobs-caretaker", daemon=True)

    def start(self) -> None:
        """Take up what was accepted before; its first job starts the engine, if ``warm_up`` did not."""
        shutil.rmtree(self._settings.work_dir, ignore_errors=True)
        self._durable.start()
        if self._fleet is not None:
            self._fleet.join()
        self._engine.start()
        self._caretaker.start()

    def warm_up(self) -> None:
        """Begin to load, in the background, what the first request would otherwise wait for."""
        self._engine.warm_up()

    def stop(self) -> None:
        """End the engine and leave unfinished jobs for the next start."""
        self._stopping.set()
        self._runner.close()
        self._caretaker.join()
        self._durable.stop()
        if self._fleet is not None:
            self._fleet.leave()

    @property
    def engine_state(self) -> tuple[EngineState, str]:
        """What the engine does, and the reason where it cannot."""
        return self._engine.state

    @property
    def engine_pid(self) -> int | None:
        """Process id of the engine, for those who look after the server."""
        return self._engine.pid

    def submit(
        self,
        model: str,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
        rerun: bool,
        priority: Priority = "reader",
        requested_by: str | None = None,
    ) -> tuple[Inference, bool]:
        """Accept an inference; the same request again gives the job that there is, unless ``rerun``.

        Args:
            priority: ``unattended`` jobs make room for readers.
            requested_by: name of the account, whose unfinished jobs are counted; None where nobody signs in.

        Returns:
            the job, and whether it is new.

        Raises:
            MahtaiError: see ``OrderDesk.check``; or no room on the disk, or too many jobs.
        """
        version = self._catalogue.for_reader(model, inputs) if priority == "reader" else model
        order = self._desk.check(version, inputs, options)
        require_room(self._settings.data_dir, self._settings.min_free_bytes)
        limit, rank = self._settings.max_waiting_jobs, RANKS[priority]
        share = None if requested_by is None else Share(requested_by, self._settings.jobs_per_user)
        inference, is_new = self._records.accept(order, rerun, limit, rank, share)
        if not is_new and not self._has_files(inference):
            inference, is_new = self._records.accept(order, True, limit, rank, share)
        if is_new:
            self._begin(inference.claim)
        elif inference.state == "queued":
            self._runner.hasten(inference.claim, inference.rank)
        return self._present(inference), is_new

    def submit_unattended(self, model: str, inputs: Mapping[str, str], options: Mapping[str, Any]) -> str:
        """Accept what nobody waits for; the id of the job, see ``submit``."""
        return self.submit(model, inputs, options, False, "unattended")[0].id

    def prepare(self, model: str, inputs: Mapping[str, str], options: Mapping[str, Any]) -> None:
        """Have a study prepared before a reader asks for it; forgotten if the server stops.

        Raises:
            MahtaiError: it could not be run, see ``OrderDesk.check``.
        """
        order = self._desk.check(self._catalogue.for_reader(model, inputs), inputs, options)
        folder = self._catalogue.exact(order.model, order.model_sha256).folder
        work_dir = self._settings.work_dir
        self._engine.prepare(
            Work("", folder, self._paths(order.inputs), order.options, work_dir, keys=self._store.keys)
        )

    def get(self, job: str) -> Inference:
        """One job as it is now.

        Raises:
            UnknownInference: there is none of that id.
        """
        return self._present(self._records.get(job))

    def cancel(self, job: str, requested_by: str | None = None) -> Inference:
        """Cancel a job; one that is finished stays as it is.

        Args:
            requested_by: who cancels it; None where nobody signs in.

        Raises:
            UnknownInference: there is none of that id.
            NotYourJob: somebody else asked for it.
        """
        inference, before = self._records.cancel(job, requested_by)
        if inference.state != before:
            self._runner.withdraw(inference.claim)
            self._board.changed(job)
        return inference

    @contextmanager
    def watch(self, job: str) -> Iterator[Watcher]:
        """Be woken when the job has news; call it from a task of the event loop."""
        with self._board.watch(job) as watcher:
            yield watcher

    def result(self, job: str) -> Inference:
        """A job that has a result.

        Raises:
            UnknownInference: there is none of that id.
            NoResult: it is not finished, or has failed.
        """
        inference = self.get(job)
        if inference.state == "succeeded":
            return inference
        if inference.problem is not None:
            raise NoResult(f"The inference has failed: {inference.problem.reason}", inference.problem.hint)
        if inference.state == "cancelled":
            raise NoResult("The inference was cancelled.", "Run the model again.")
        raise NoResult("The inference is not finished yet.", "Wait until its state is succeeded.")

    def result_file(self, job: str, name: str) -> tuple[Part, StoredBlob]:
        """A part of a result and its file.

        Raises:
            UnknownInference, NoResult: there is no result, or none of that name.
            UnknownBlob: the file is gone from the store.
        """
        parts = self.result(job).parts or {}
        if name not in parts:
            raise NoResult(f"The result has no part {name[:50]!r}.", f"It has: {', '.join(sorted(parts))}.")
        return parts[name], self._store.get(parts[name].sha256)

    def preview(self, job: str) -> bytes:
        """The newest coarse result of a job that runs.

        Raises:
            UnknownInference, NoResult: there is none, or none any more.
        """
        inference = self._records.get(job)
        paths = [*self._board.previews(job)]
        if not paths and inference.preview is not None and inference.owner is not None:
            paths = [self._settings.work_dir.with_name(inference.owner) / inference.claim.name / PREVIEW_FILE]
        for path in reversed(paths):
            with suppress(OSError):
                return read_file(path, work_place(path), self._store.keys)
        raise NoResult("There is no preview of this inference.", "Wait for its result.")

    def correct(self, job: str, region: bytes) -> bytes:
        """Correct a region of a result around what a reader painted; see ``jobs.corrections``.

        Raises:
            UnknownInference, NoResult, CorrectionError: it cannot be done.
            EngineFailure: the engine could not.
        """
        inference = self.result(job)
        check_region(inference, region)
        with tempfile.TemporaryDirectory(dir=self._work_dir(), prefix="correction-") as folder:
            given = Path(folder) / "region.nrrd"
            write_file(given, region, work_place(given), self._store.keys)
            work = Work(
                job=f"correction {Path(folder).name}",
                model_folder=self._catalogue.exact(inference.model, inference.model_sha256).folder,
                inputs=self._paths(inference.inputs),
                options=inference.options,
                output_folder=Path(folder),
                region=given,
                keys=self._store.keys,
            )
            made = self._runner.correct(work).files["region"]
            return read_file(made, work_place(made), self._store.keys)

    def _work_dir(self) -> Path:
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        return self._settings.work_dir

    def _paths(self, inputs: Mapping[str, str]) -> dict[str, Path]:
        return {channel: self._store.path(sha256) for channel, sha256 in inputs.items()}

    def _present(self, inference: Inference) -> Inference:
        """Add what is not in the table: progress, or a failure that could not be written down yet."""
        problem = self._runner.unsettled(inference.id)
        if problem is not None and not inference.is_final:
            return replace(inference, state="failed", place=None, problem=problem)
        progress = self._board.latest(inference.id)
        if inference.state == "running" and progress is not None:
            shown = len(self._board.previews(inference.id)) or None
            return replace(inference, stage=progress.stage, fraction=progress.fraction, preview=shown)
        return inference

    def _has_files(self, inference: Inference) -> bool:
        return all(self._store.has(part.sha256) for part in (inference.parts or {}).values())

    def _begin(self, claim: Claim) -> None:
        """Start to work on a job. It is accepted already, so a failure here is only a delay."""
        try:
            self._durable.begin(claim)
        except Exception:
            _log.exception("inference %s could not be begun; it will be at the next look", claim.job)

    def _look_after(self) -> None:
        """Find accepted jobs that nobody works on: after a crash, a full disk, or an unexpected error."""
        while True:
            try:
                for claim in self._records.own():
                    self._take_up(claim)
            except MahtaiError as error:
                _log.warning("the jobs could not be looked after: %s", error.kind)
            except Exception:
                _log.exception("the jobs could not be looked after")
            if self._stopping.wait(LOOK_AFTER_S):
                return

    def _take_up(self, claim: Claim) -> None:
        if self._runner.is_live(claim) or self._stopping.is_set():
            return
        is_open = self._durable.is_open(claim)
        if is_open is None:
            self._begin(claim)
        elif not is_open:
            self._records.fail(claim, _ABANDONED)
            self._board.changed(claim.job)

    def _make_fleet(self, database: Database) -> Fleet:
        return Fleet(
            name=self._settings.server_name,
            claims=Claims(database, self._settings.server_name, host_name()),
            runner=self._runner,
            board=self._board,
            begin=self._begin,
            look=self.get,
            can_run=self._can_run,
            can_work=lambda: self._engine.state[0] not in ("broken", "stopped"),
        )

    def _can_run(self, model: str, sha256: str) -> bool:
        try:
            return self._catalogue.exact(model, sha256).weights_path is not None
        except MahtaiError:
            return False

    def _first_model(self) -> Path | None:
        """The folder of the model that will most likely be asked for: the last one, else the first that can run."""
        try:
            ready = {bundle.id: bundle.folder for bundle in self._catalogue.list() if bundle.weights_path is not None}
            wanted = self._records.last_model()
        except (MahtaiError, OSError):
            return None
        return ready.get(wanted or "", next(iter(ready.values()), None))
