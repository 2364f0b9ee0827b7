"""The main job in one call: a study goes to the server; a segmentation or landmarks come back."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike, NDArray

from MahtAILib.client import jobs
from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable, run_parallel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError, RequestRefusedError
from MahtAILib.client.patience import DEFAULT_PATIENCE, Patience
from MahtAILib.client.volumes import AT_ONCE, Blob, Upload, pack, upload

CEPHALOGRAM = "ceph"
"""Channel of a cephalogram."""


@dataclass(frozen=True, eq=False)
class StudyVolume:
    """One sequence of a study.

    Attributes:
        array: [i, j, k].
        ijk_to_ras: 4×4, voxel index → RAS in mm.
    """

    array: NDArray[Any]
    ijk_to_ras: ArrayLike


@dataclass(frozen=True)
class StudyResult:
    """What the server made of a study.

    Attributes:
        job_id: names the inference, for the label version that will be made from it.
        inputs: channel → SHA-256 of the volume.
        segmentation: a ``.seg.nrrd`` file.
        confidence: a ``.nrrd`` file with a confidence a voxel, or None.
        summary: volumes in ml, confidence, warnings, steps, timings, model; plain JSON.
        upload: what had to travel.
    """

    job_id: str
    inputs: dict[str, str]
    segmentation: bytes
    confidence: bytes | None
    summary: dict[str, Any]
    upload: Upload


@dataclass(frozen=True)
class LandmarksResult:
    """What the server made of a cephalogram.

    Attributes:
        job_id: names the inference, for the label version that will be made from it.
        inputs: channel → SHA-256 of the image.
        landmarks: a ``.mrk.json`` file.
        measurements: a JSON file, or None.
        summary: what was found of the image, its spacing and the points; warnings, timings, model; plain JSON.
        upload: what had to travel.
    """

    job_id: str
    inputs: dict[str, str]
    landmarks: bytes
    measurements: bytes | None
    summary: dict[str, Any]
    upload: Upload


@dataclass(frozen=True)
class ModelRun:
    """What a model made; ``files`` by part, the rest as in ``StudyResult``."""

    job_id: str
    inputs: dict[str, str]
    files: dict[str, bytes]
    summary: dict[str, Any]
    upload: Upload

    def part(self, name: str) -> bytes:
        """A file that the result must hold.

        Raises:
            NotMahtAIError: it does not.
        """
        if name not in self.files:
            raise NotMahtAIError(f"The server's result holds no {name}.", "Check that the model makes such a result.")
        return self.files[name]


def segment_study(
    connection: Connection,
    volumes: Mapping[str, StudyVolume],
    model: str,
    options: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
    *,
    rerun: bool = False,
    patience: Patience = DEFAULT_PATIENCE,
) -> StudyResult:
    """Hash the volumes, upload those that the server lacks, run the model, fetch the result.

    To be called from a worker thread: it returns when all is done. ``on_progress`` is called in that
    thread, with the stages ``hashing``, ``uploading``, ``queued``, those of the server, ``downloading``,
    and ``reconnecting`` while the server is gone.

    Args:
        connection: to the server.
        volumes: channel id (``t1c``, ``t1``, ``t2``, ``flair``) → its volume. The arrays must not change meanwhile.
        model: its id in the catalogue.
        options: of the pipeline.
        on_progress: told the stage, how much of it is done, and while queued the number of jobs before.
        cancelled: says when to stop; the job is then cancelled on the server as well.
        rerun: do the work again even if the server has the result of the same study, model and options.
        patience: how the job is followed.

    Raises:
        CancelledError: ``cancelled`` said so; raised within two seconds.
        NrrdError: an array or a matrix cannot be written.
        RequestRefusedError: the server cannot use a volume, or does not know the model, channel or option.
        JobFailedError: the job failed; reason and hint are the server's.
        ClientError: the server could not be reached or stayed away too long. The same call goes on where it was.
    """

    run = run_model(connection, volumes, model, options, on_progress, cancelled, rerun=rerun, patience=patience)
    return StudyResult(
        run.job_id, run.inputs, run.part("segmentation"), run.files.get("confidence"), run.summary, run.upload
    )


def detect_landmarks(
    connection: Connection,
    image: StudyVolume,
    model: str,
    options: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
    *,
    rerun: bool = False,
    patience: Patience = DEFAULT_PATIENCE,
) -> LandmarksResult:
    """As ``segment_study``, for one cephalogram (W × H × 1, grey) and its landmarks.

    Raises:
        as ``segment_study``.
    """
    volumes = {CEPHALOGRAM: image}
    run = run_model(connection, volumes, model, options, on_progress, cancelled, rerun=rerun, patience=patience)
    return LandmarksResult(
        run.job_id, run.inputs, run.part("landmarks"), run.files.get("measurements"), run.summary, run.upload
    )


def run_model(
    connection: Connection,
    volumes: Mapping[str, StudyVolume],
    model: str,
    options: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
    *,
    rerun: bool = False,
    patience: Patience = DEFAULT_PATIENCE,
) -> ModelRun:
    """Volumes out, all parts of the result back, whatever the model is for; see ``segment_study``."""

    def work(task: Task) -> ModelRun:
        task.report("hashing")
        blobs = run_parallel([partial(_pack, volume) for volume in volumes.values()], AT_ONCE)
        task.check()
        inputs = {channel: blob.sha256 for channel, blob in zip(volumes, blobs, strict=True)}
        connection.require_mahtai()
        sent = _upload(connection, blobs, task)
        job, sent = _start(connection, model, inputs, options, rerun, blobs, sent, task)
        jobs.cancel_if_cancelled(connection, job.id, task, patience)
        jobs.follow_as_task(connection, job, task, patience)
        result = jobs.result_as_task(connection, job.id, task, patience)
        return ModelRun(job.id, inputs, result.files, result.summary, sent)

    return run_cancellable(work, on_progress, cancelled)


def _pack(volume: StudyVolume, _failed: threading.Event) -> Blob:
    return pack(volume.array, volume.ijk_to_ras)


def _upload(connection: Connection, blobs: Sequence[Blob], task: Task) -> Upload:
    def on_sent(done: int, total: int) -> None:
        task.report("uploading", done / max(total, 1))

    return upload(connection, blobs, on_sent, task)


def _start(
    connection: Connection,
    model: str,
    inputs: Mapping[str, str],
    options: Mapping[str, Any] | None,
    rerun: bool,
    blobs: Sequence[Blob],
    sent: Upload,
    task: Task,
) -> tuple[jobs.Job, Upload]:
    """The job; a volume that the server lost between the question and the start is sent again, once."""
    start = partial(jobs.start, connection, model, inputs, options, rerun=rerun, task=task)
    try:
        return start(), sent
    except RequestRefusedError as error:
        if error.problem != "volume-missing":
            raise
    again = _upload(connection, blobs, task)
    return start(), Upload(sent.sent + again.sent, sent.wire_bytes + again.wire_bytes)
