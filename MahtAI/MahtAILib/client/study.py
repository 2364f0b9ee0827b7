"""The main job in one call: a study goes to the server; a segmentation or landmarks come back."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import ArrayLike, NDArray

from MahtAILib.client import jobs
from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable, run_parallel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError, RequestRefusedError
from MahtAILib.client.patience import DEFAULT_PATIENCE, Patience
from MahtAILib.client.preview import OnPreview, PreviewFetcher
from MahtAILib.client.volumes import AT_ONCE, Blob, Upload, missing, pack, upload

CEPHALOGRAM = "ceph"
"""Channel of a cephalogram."""


@dataclass(eq=False)
class Identity:
    """What is known of a volume's file, by all who hold the same volume.

    Attributes:
        sha256: empty until somebody hashed it.
        servers: addresses of those that have it, as far as is known.
    """

    sha256: str = ""
    servers: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Something of it turned out to be wrong."""
        self.sha256 = ""
        self.servers.clear()


@dataclass(frozen=True, eq=False)
class StudyVolume:
    """One sequence of a study.

    Attributes:
        array: [i, j, k].
        ijk_to_ras: 4×4, voxel index → RAS in mm.
        identity: with a known one the voxels are looked at only if the server lacks them.
        is_shared: somebody else may change the voxels, so that they are copied before they are used.
    """

    array: NDArray[Any]
    ijk_to_ras: ArrayLike
    identity: Identity = field(default_factory=Identity)
    is_shared: bool = False

    def pack(self) -> Blob:
        """Its file, to be made in a worker thread; from now on its identity is known.

        Raises:
            NrrdError: the array or the matrix cannot be written.
        """
        blob = pack(self.array.copy(order="K") if self.is_shared else self.array, self.ijk_to_ras)
        if blob.sha256 != self.identity.sha256:
            self.identity.forget()
            self.identity.sha256 = blob.sha256
        return blob

    def identify(self) -> str:
        """Its SHA-256, found out in a worker thread if it is not known.

        Raises:
            NrrdError: as ``pack``.
        """
        return self.identity.sha256 or self.pack().sha256


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
    on_preview: OnPreview | None = None,
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
        on_preview: given a coarse segmentation (``.seg.nrrd``) while the job runs, if the server makes one; called in
            a thread of its own.

    Raises:
        CancelledError: ``cancelled`` said so; raised within two seconds.
        NrrdError: an array or a matrix cannot be written.
        RequestRefusedError: the server cannot use a volume, or does not know the model, channel or option.
        JobFailedError: the job failed; reason and hint are the server's.
        ClientError: the server could not be reached or stayed away too long. The same call goes on where it was.
    """

    run = run_model(
        connection,
        volumes,
        model,
        options,
        on_progress,
        cancelled,
        rerun=rerun,
        patience=patience,
        parts=("segmentation", "confidence"),
        on_preview=on_preview,
    )
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
    run = run_model(
        connection,
        volumes,
        model,
        options,
        on_progress,
        cancelled,
        rerun=rerun,
        patience=patience,
        parts=("landmarks", "measurements"),
    )
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
    parts: Collection[str] = jobs.PARTS,
    on_preview: OnPreview | None = None,
) -> ModelRun:
    """Volumes out, the parts of the result back, whatever the model is for; see ``segment_study``."""

    def work(task: Task) -> ModelRun:
        start = partial(jobs.start, connection, model, options=options, rerun=rerun, task=task)
        sent = deliver(connection, volumes.values(), task)
        try:
            job = start(inputs=_inputs(volumes))
        except RequestRefusedError as error:
            if error.problem != "volume-missing":
                raise
            # lost since it was sent: once more, whatever is thought to be known of it
            for volume in volumes.values():
                volume.identity.forget()
            again = deliver(connection, volumes.values(), task)
            sent = Upload(sent.sent + again.sent, sent.wire_bytes + again.wire_bytes)
            job = start(inputs=_inputs(volumes))
        inputs = _inputs(volumes)
        jobs.cancel_if_cancelled(connection, job.id, task, patience)
        with PreviewFetcher(connection, task, on_preview) as previews:
            jobs.follow_as_task(connection, job, task, patience, previews.look)
        result = jobs.result_as_task(connection, job.id, task, patience, parts)
        return ModelRun(job.id, inputs, result.files, result.summary, sent)

    return run_cancellable(work, on_progress, cancelled)


def deliver(connection: Connection, volumes: Iterable[StudyVolume], task: Task) -> Upload:
    """Have the server hold these volumes, for a job; what it is known to hold costs nothing.

    Raises:
        NrrdError, ClientError: as ``segment_study``.
    """
    new = [volume for volume in volumes if connection.url not in volume.identity.servers]
    known = [volume for volume in new if volume.identity.sha256]
    blobs = _packed([volume for volume in new if not volume.identity.sha256], task)
    connection.require_mahtai()
    if known:
        lacking = missing(connection, [volume.identity.sha256 for volume in known], task)
        blobs += _packed([volume for volume in known if volume.identity.sha256 in lacking], task)
    sent = _upload(connection, blobs, task) if blobs else Upload()
    for volume in new:
        volume.identity.servers.add(connection.url)
    return sent


def _inputs(volumes: Mapping[str, StudyVolume]) -> dict[str, str]:
    return {channel: volume.identity.sha256 for channel, volume in volumes.items()}


def _packed(volumes: Sequence[StudyVolume], task: Task) -> list[Blob]:
    """Their files, made several at a time."""

    def pack_one(volume: StudyVolume, _failed: threading.Event) -> Blob:
        return volume.pack()

    if not volumes:
        return []
    task.report("hashing")
    blobs = run_parallel([partial(pack_one, volume) for volume in volumes], AT_ONCE)
    task.check()
    return blobs


def _upload(connection: Connection, blobs: Sequence[Blob], task: Task) -> Upload:
    def on_sent(done: int, total: int) -> None:
        task.report("uploading", done / max(total, 1))

    return upload(connection, blobs, on_sent, task)
