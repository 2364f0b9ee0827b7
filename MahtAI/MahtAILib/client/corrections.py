"""A local correction: the labels of a region and what the reader said in it go out, new labels of it come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError, RequestRefusedError, ServerFaultError, ServerTooOldError
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.nrrd_header import NrrdError
from MahtAILib.client.segmentation import Segmentation

CONTENT_TYPE = "application/x-nrrd"
READ_TIMEOUT_S = 30.0

_MAX_PROPOSAL_BYTES = 2**30
_HEADER_BYTES = 2**20
_NO_SUCH_CALL = {"not-found": 404, "method-not-allowed": 405}


@dataclass(frozen=True, eq=False)
class Correction:
    """What the server answers.

    Attributes:
        labels: [i, j, k] uint8, new labels of the region; where the reader said something they are what he said.
        seconds: that the server took.
        changed: voxels that differ from what was sent.
    """

    labels: NDArray[np.uint8]
    seconds: float
    changed: int


def correct(
    connection: Connection,
    job_id: str,
    labels: NDArray[np.uint8],
    strokes: NDArray[np.uint8],
    geometry: Geometry,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
) -> Correction:
    """Have a region of a job's result corrected around the reader's strokes; nothing changes on the server.

    Args:
        connection: to the server that has the job.
        job_id: an inference that succeeded.
        labels: [i, j, k] of the region as they are now; 0 is background.
        strokes: [i, j, k] of the region; 0 none, 1 the reader says background, 1 + v he says label v.
        geometry: of the region, a box of the grid of the job's segmentation.
        on_progress: called in this thread with the stage ``correcting``.
        cancelled: says when to stop waiting.

    Raises:
        ServerTooOldError: the server cannot correct.
        RequestRefusedError: no such job (``unknown-inference``) or result, or a region that does not fit it.
        ServerFaultError: the answer is of another region, or does not keep to the strokes.
        CancelledError: ``cancelled`` said so.
        ClientError: the server could not be reached, is busy, or answers nonsense.
    """
    body = nrrd.encode(np.stack([labels, strokes]).astype(np.uint8, copy=False), geometry.ijk_to_ras, None, "gzip")

    def work(task: Task) -> bytes:
        task.report("correcting")
        path = f"/v1/inferences/{quote(job_id, safe='')}/corrections"
        return connection.ask(path, body, CONTENT_TYPE, 2 * labels.size + _HEADER_BYTES, READ_TIMEOUT_S, task)

    try:
        answer = run_cancellable(work, on_progress, cancelled)
    except RequestRefusedError as error:
        if _NO_SUCH_CALL.get(error.problem) == error.status:
            raise ServerTooOldError(
                "The server is too old: it cannot correct around strokes. Nothing was changed.",
                "Ask the person who runs the server to update it, or correct by hand.",
            ) from error
        raise
    return _checked(answer, labels, strokes, geometry)


def proposal(connection: Connection, job_id: str, cancelled: Cancelled | None = None) -> Segmentation:
    """What a job proposed, as it was before anybody edited it.

    Raises:
        RequestRefusedError: no such job (``unknown-inference``) or no result.
        SegmentationError: it cannot be read.
        ClientError: the server could not be reached.
    """
    path = f"/v1/inferences/{quote(job_id, safe='')}/result/segmentation"
    return files.decode(
        run_cancellable(lambda task: connection.download(path, _MAX_PROPOSAL_BYTES, None, task), cancelled=cancelled)
    )


def _checked(answer: bytes, labels: NDArray[np.uint8], strokes: NDArray[np.uint8], geometry: Geometry) -> Correction:
    """The answer, if it is of this region and keeps to the strokes.

    Raises:
        NotMahtAIError: it cannot be read.
        ServerFaultError: it is not what was asked for.
    """
    try:
        volume = nrrd.decode(answer, labels.size)
        seconds = float(volume.fields.get("MahtAI_Seconds", "0"))
    except (NrrdError, ValueError) as error:
        raise NotMahtAIError(f"The server's correction cannot be read: {error} Nothing was changed.") from error
    found: NDArray[Any] = volume.array
    if (
        found.shape != labels.shape
        or found.dtype != np.uint8
        or not Geometry(found.shape, volume.ijk_to_ras).same_grid(geometry)
    ):
        raise _faulty("does not lie where the strokes are")
    said = strokes > 0
    if not np.array_equal(found[said], strokes[said] - 1):
        raise _faulty("does not keep to the strokes")
    return Correction(found, seconds, int(np.count_nonzero(found != labels)))


def _faulty(fault: str) -> ServerFaultError:
    return ServerFaultError(
        f"The server's correction {fault}, so it was not used. Nothing was changed.",
        "Correct by hand, and tell the person who runs the server.",
    )
