"""Inferences on the server: start one, follow it through thick and thin, fetch what it made, cancel it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable, run_parallel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import JobFailedError, NotMahtAIError
from MahtAILib.client.job_events import JobEvents
from MahtAILib.client.patience import DEFAULT_PATIENCE, Patience
from MahtAILib.client.volumes import fetch

PARTS = ("segmentation", "confidence", "landmarks", "measurements")
"""Of a result, those that a client has a use for; a server may keep more for its own later use."""

_AT_ONCE = 2

OnJob = Callable[["Job"], None]
"""Called with a job whenever there is news of it."""


@dataclass(frozen=True)
class Job:
    """A job as the server last described it.

    Attributes:
        id: the server's name for it.
        state: ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        place: unfinished jobs before this one while it is queued; None otherwise.
        stage: what is being done.
        fraction: how much of the stage is done, 0 to 1.
        reason: why it failed.
        hint: what to do about that.
        problem: the server's slug for the cause.
        preview: number of the coarse result that can be fetched while the job runs, from 1; None where there is none.
    """

    id: str
    state: str
    place: int | None = None
    stage: str = ""
    fraction: float = 0.0
    reason: str = ""
    hint: str = ""
    problem: str = ""
    preview: int | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobResult:
    """What a job made.

    Attributes:
        files: part (``segmentation``, ``confidence``, ``landmarks``, ``measurements``) → file, hash checked.
        summary: volumes in ml or landmarks, confidence, warnings, steps, timings, model; plain JSON.
    """

    files: dict[str, bytes]
    summary: dict[str, Any] = field(default_factory=dict)


def start(
    connection: Connection,
    model: str,
    inputs: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
    *,
    rerun: bool = False,
    task: Task | None = None,
) -> Job:
    """Ask for an inference; the same inputs, model and options give the same job unless ``rerun``.

    Args:
        connection: to the server.
        model: its id in the catalogue.
        inputs: channel → SHA-256 of a volume that the server has.
        options: of the pipeline.
        rerun: do the work again even if the server has the result.
        task: stops waiting when it is stopped.

    Raises:
        RequestRefusedError: unknown model, channel or option, or a volume that the server lacks
            (``problem == "volume-missing"``).
    """
    body = {"model": model, "inputs": dict(inputs), "options": dict(options or {}), "rerun": rerun}
    return _job(connection.json("POST", "/v1/inferences", body, retry=not rerun, task=task))


def get(connection: Connection, job_id: str, task: Task | None = None) -> Job:
    """How a job stands."""
    return _job(connection.json("GET", _path(job_id), task=task))


def summary(connection: Connection, job_id: str) -> dict[str, Any]:
    """What is known of a job's result: volumes in ml, confidence, warnings, model; plain JSON."""
    return _parts_and_summary(connection.json("GET", f"{_path(job_id)}/result"))[1]


def cancel(connection: Connection, job_id: str) -> None:
    """Ask the server to stop a job; one that has ended stays as it is."""
    connection.json("DELETE", _path(job_id))


def follow(
    connection: Connection,
    job_id: str,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Job:
    """Wait for a job to succeed, through restarts of the server.

    Args:
        connection: to the server.
        job_id: the job.
        on_progress: called in this thread with stage, fraction and jobs before this one; stage is
            ``reconnecting`` while the server is gone.
        cancelled: says when to stop; the job is then cancelled on the server as well.
        patience: how it is followed.

    Raises:
        JobFailedError: it failed, or someone else cancelled it.
        CancelledError: ``cancelled`` said so; raised within two seconds.
        ClientError: the server stayed away too long. The job goes on by itself; ask for it again later.
    """

    def work(task: Task) -> Job:
        cancel_if_cancelled(connection, job_id, task, patience)
        return follow_as_task(connection, get_through(connection, job_id, task, patience), task, patience)

    return run_cancellable(work, on_progress, cancelled)


def result(
    connection: Connection,
    job_id: str,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> JobResult:
    """Fetch the files (``PARTS``) and the summary of a job that succeeded; arguments as for :func:`follow`.

    Raises:
        DamagedTransferError: a file arrived twice with another hash than the server states.
        ClientError: the server could not be reached, or has no result of that job.
    """
    return run_cancellable(
        lambda task: result_as_task(connection, job_id, task, patience), on_progress=on_progress, cancelled=cancelled
    )


def cancel_if_cancelled(connection: Connection, job_id: str, task: Task, patience: Patience) -> None:
    """Have the job cancelled on the server if the task is stopped before it ends."""
    task.undo_if_cancelled(lambda: patience.persist(Task(), lambda: cancel(connection, job_id)))


def get_through(connection: Connection, job_id: str, task: Task, patience: Patience) -> Job:
    """How a job stands, asked until the server is there to answer."""
    return patience.persist(task, lambda: get(connection, job_id, task))


def follow_as_task(
    connection: Connection, job: Job, task: Task, patience: Patience, on_job: OnJob = lambda job: None
) -> Job:
    """Report the job's progress to the task until it has succeeded; see :func:`follow`.

    Args:
        on_job: called in the task's thread; must not block.
    """
    events = JobEvents(connection, f"{_path(job.id)}/events", task.stopped, patience)
    try:
        while not job.is_finished:
            on_job(job)
            running = job.state == "running" and job.stage
            task.report(job.stage if running else job.state, job.fraction if running else 0.0, job.place)
            news = events.next()
            task.check()
            job = get_through(connection, job.id, task, patience) if news is None else _job(news, job)
    finally:
        events.close()
    if job.state == "failed":
        raise JobFailedError(job.reason or "The inference failed.", job.hint, job.problem)
    if job.state == "cancelled":
        raise JobFailedError("The inference was cancelled on the server.", "Start it again.", "cancelled")
    return job


def result_as_task(
    connection: Connection, job_id: str, task: Task, patience: Patience, wanted: Collection[str] = PARTS
) -> JobResult:
    """Fetch a result and report to the task; see :func:`result`.

    Args:
        wanted: parts to fetch, if the result has them.
    """
    listing = patience.persist(task, lambda: connection.json("GET", f"{_path(job_id)}/result", task=task))
    listed, summary = _parts_and_summary(listing)
    parts = {name: part for name, part in listed.items() if name in wanted}
    total = sum(size for _, size in parts.values())
    there = dict.fromkeys(parts, 0)

    def fetch_part(name: str, _failed: threading.Event) -> bytes:
        def on_bytes(count: int) -> None:
            there[name] = count
            task.report("downloading", min(sum(there.values()) / max(total, 1), 1.0))

        path = f"{_path(job_id)}/result/{quote(name, safe='')}"
        sha256, size = parts[name]
        return patience.persist(task, lambda: fetch(connection, path, sha256, size, on_bytes, task))

    files = run_parallel([partial(fetch_part, name) for name in parts], _AT_ONCE)
    return JobResult(dict(zip(parts, files, strict=True)), summary)


def _parts_and_summary(listing: Any) -> tuple[dict[str, tuple[str, int]], dict[str, Any]]:
    """Part → (SHA-256, size in bytes), and the summary."""
    try:
        summary = listing.get("summary") or {}
        files = {name: part for name, part in listing.items() if name != "summary" and part is not None}
        return {name: (str(part["sha256"]), int(part["bytes"])) for name, part in files.items()}, dict(summary)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's description of the result cannot be understood.") from error


def _path(job_id: str) -> str:
    return f"/v1/inferences/{quote(job_id, safe='')}"


def _job(document: object, before: Job | None = None) -> Job:
    """A job from JSON; what an event leaves out stays as it was ``before``."""
    known: dict[str, Any] = {} if before is None else {**vars(before), "place": None, "preview": None}
    if isinstance(document, dict):
        names = {"problem": "kind"}
        for name, accepted in _JOB_FIELDS.items():
            value = document.get(names.get(name, name))
            if isinstance(value, accepted) and not isinstance(value, bool):
                known[name] = value
    if not known.get("id") or known.get("state") not in _STATES:
        raise NotMahtAIError("The server's description of a job cannot be understood.")
    return Job(**known)


_JOB_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "state": str,
    "place": int,
    "stage": str,
    "fraction": (int, float),
    "reason": str,
    "hint": str,
    "problem": str,
    "preview": int,
}
_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
