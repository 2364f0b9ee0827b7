"""One run of a model: the study goes out, the result comes in. Only one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import WrongTokenError
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.study import StudyResult, StudyVolume, segment_study
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.doubt import Place, doubtful_places, doubtful_slices
from MahtAILib.scene.provenance import Provenance

OPTIONS = ("register", "brain_mask", "check_sequences")


@dataclass(frozen=True, eq=False)
class Outcome:
    """A result, made ready in the thread so that nothing is left to compute on the main thread."""

    result: StudyResult
    segmentation: Segmentation
    confidence: tuple[NDArray[Any], Geometry] | None
    places: list[Place]
    slices: list[Place]


class RunState:
    """Runs a model on the study of the panel.

    Attributes:
        progress: stage, fraction 0..1 and place in the queue while a run is under way; None otherwise.
        message: how the last run ended, for the reader.
        error: why it failed, or None.
    """

    def __init__(self, background: Background, server: ServerState, study: StudyState, review: ReviewState) -> None:
        self.changed = Topic()
        self.progress: tuple[str, float, int | None] | None = None
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._server = server
        self._study = study
        self._review = review
        self._errand: Errand[Outcome] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._errand is not None

    def start(self, model: str, options: Mapping[str, str]) -> None:
        """Take the volumes as they are now and run; what is edited meanwhile does not change what was sent.

        Raises:
            ExplainedError: nothing was started, and why.
        """
        connection = self._server.connection
        if self.is_running:
            raise ExplainedError(_("A run is under way."), _("Wait for it, or cancel it first."))
        if connection is None:
            raise ExplainedError(_("There is no connection to a server."), _("Connect to a server first."))
        sent = self._study.take(options.get("register", "auto"))
        self.error, self.message, self.progress = None, "", ("hashing", 0.0, None)
        volumes = sent.volumes

        def work(errand: Errand[Outcome]) -> Outcome:
            return run_model(connection, volumes, model, options, errand)

        def done(outcome: Outcome) -> None:
            if self._errand is errand:
                self._end()
                self._placed(outcome, connection.url, sent.changed_since())

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._end()
                self._failed(error)

        def progressed(stage: str, fraction: float, place: int | None) -> None:
            if self._errand is errand:
                self.progress = (stage, fraction, place)
                self.changed.publish()

        errand = self._background.run(work, done, failed, progressed)
        self._errand = errand
        self.changed.publish()

    def cancel(self) -> None:
        """Stop the run, here and on the server; the scene stays as it is."""
        if self._errand is not None:
            self._errand.cancel()

    def abandon(self, message: str) -> None:
        """Stop the run and drop whatever it still brings, because its scene is gone."""
        if self._errand is not None:
            self._errand.cancel()
            self._end()
            self.message = message
            self.changed.publish()

    def _end(self) -> None:
        self._errand, self.progress = None, None

    def _placed(self, outcome: Outcome, url: str, changes: list[str]) -> None:
        result = outcome.result
        origin = provenance_of(result, url, outcome.segmentation.provenance)
        where = self._review.show_result(
            outcome.segmentation, outcome.confidence, outcome.places, outcome.slices, origin
        )
        seconds = float(result.summary.get("timings_s", {}).get("total", 0))
        done = _("Done: {seconds:.1f} s on the server.").format(seconds=seconds)
        self.message = " ".join(part for part in (done, where, *changes) if part)
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        if was_cancelled(error):
            self.message = _("Cancelled. Nothing was changed.")
        else:
            self.error = error
        self.changed.publish()
        if isinstance(error, WrongTokenError):
            self._server.check()


def run_model(
    connection: Connection,
    volumes: Mapping[str, StudyVolume],
    model: str,
    options: Mapping[str, str],
    errand: Errand[Outcome],
) -> Outcome:
    """In a thread: run, fetch, decode, find the doubtful places.

    Raises:
        ClientError: what went wrong on the way; a ``CancelledError`` if it was cancelled.
        SegmentationError: the server's result cannot be read.
    """
    result = segment_study(connection, volumes, model, options, errand.progress, errand.cancelled)
    segmentation = files.decode(result.segmentation)
    confidence, places, slices = None, [], []
    if result.confidence is not None:
        volume = nrrd.decode(result.confidence)
        confidence = (np.asarray(volume.array), Geometry(volume.array.shape, volume.ijk_to_ras))
        places, slices = doubtful_places(*confidence), doubtful_slices(*confidence)
    return Outcome(result, segmentation, confidence, places, slices)


def provenance_of(result: StudyResult, url: str, file: Mapping[str, str]) -> Provenance:
    """What is noted with the segmentation of a result; ``file`` is what its file's header says."""
    summary = result.summary
    model = summary.get("model", {})
    return Provenance(
        server=url,
        job=result.job_id,
        model=f"{model.get('id', '')} {model.get('version', '')}".strip(),
        model_sha256=str(model.get("sha256", "")),
        inputs=result.inputs,
        **Provenance.of_summary(summary),
        file=file,
    )
