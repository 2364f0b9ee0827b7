"""Local corrections: the reader's strokes go out with the region around them, new labels of it come in as one step."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.connection import Connection
from MahtAILib.client.corrections import correct, proposal
from MahtAILib.client.errors import RequestRefusedError, WrongTokenError
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.labels import Layers, layers_of
from MahtAILib.scene.provenance import Provenance, correction_of
from MahtAILib.scene.strokes import Baseline, Change, Patch, find_region, put_in, settle


class CorrectionState:
    """Corrects the segmentation under review around the reader's strokes; one correction at a time.

    The baseline of the strokes is fetched from the server that has to correct anyway, and not kept in the scene:
    so it can neither go stale nor be edited, and a scene that was loaded goes on like one that was never closed,
    except that what was corrected before counts as the reader's own strokes.

    Attributes:
        stage: what is being done while a correction is under way; empty otherwise.
        message: how the last one ended, for the reader.
        error: why it failed, or None.
    """

    def __init__(self, background: Background, server: ServerState, review: ReviewState) -> None:
        self.changed = Topic()
        self.stage = ""
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._server = server
        self._review = review
        self._errand: Errand[Change] | None = None
        self._proposal: tuple[str, Segmentation] | None = None
        self._patches: dict[tuple[str, str, int], tuple[Patch, ...]] = {}

    @property
    def is_running(self) -> bool:
        """Whether a correction is under way."""
        return self._errand is not None

    def start(self) -> None:
        """Take the strokes as they are now and have the model look again around them."""
        if self.is_running:
            return
        self.error, self.message = None, ""
        try:
            self._start()
        except ExplainedError as error:
            self.error = error
        self.changed.publish()

    def cancel(self) -> None:
        """Stop waiting for the correction; the segmentation stays as it is."""
        if self._errand is not None:
            self._errand.cancel()

    def abandon(self) -> None:
        """The scene goes: drop whatever is under way, and what is known of its corrections."""
        self.cancel()
        self._end()
        self._patches.clear()
        self.error, self.message = None, ""
        self.changed.publish()

    def _start(self) -> None:
        """Begin.

        Raises:
            ExplainedError: nothing was started, and why.
        """
        node, connection = self._review.node, self._server.connection
        origin = self._review.provenance or Provenance()
        if node is None:
            raise ExplainedError(_("There is no segmentation to correct."), _("Run the model (section AI) first."))
        if not origin.job:
            raise ExplainedError(
                _("This segmentation has no AI result of this server to go on from. Nothing was changed."),
                _("Run the model (section AI), and paint or erase in its result."),
            )
        if connection is None:
            raise ExplainedError(_("There is no connection to a server."), _("Connect to a server first."))
        layers, patches = layers_of(node).copied(), self._patches.get(correction_of(node), ())

        def work(errand: Errand[Change]) -> Change:
            return self._ask(connection, origin, layers, patches, errand)

        def done(change: Change) -> None:
            if self._errand is errand:
                self._end()
                self._arrived(node, change)

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._end()
                self._failed(error)

        def progressed(stage: str, _fraction: float, _place: int | None) -> None:
            if self._errand is errand:
                self.stage = stage
                self.changed.publish()

        self.stage = "fetching"
        errand = self._background.run(work, done, failed, progressed)
        self._errand = errand

    def _ask(
        self,
        connection: Connection,
        origin: Provenance,
        layers: Layers,
        patches: tuple[Patch, ...],
        errand: Errand[Change],
    ) -> Change:
        """In a thread: find the strokes, send them and what is around them.

        Raises:
            ExplainedError: there are none, or the server could not correct.
        """
        try:
            baseline = Baseline(self._proposed(connection, origin.job, errand), patches)
            region = find_region(layers, baseline)
            correction = correct(
                connection,
                origin.job,
                region.labels,
                region.strokes,
                region.geometry,
                errand.progress,
                errand.cancelled,
            )
        except RequestRefusedError as error:
            if error.problem != "unknown-inference":
                raise
            raise ExplainedError(
                _("The server does not have the AI result that this segmentation comes from. Nothing was changed."),
                _("Connect to {url}, which made it, or run the model again.").format(url=origin.server)
                if origin.server and origin.server != connection.url
                else _("Run the model again: the result comes beside your edits."),
            ) from error
        return settle(region, correction.labels)

    def _proposed(self, connection: Connection, job: str, errand: Errand[Change]) -> Segmentation:
        """In a thread: what the job proposed, fetched once."""
        if self._proposal is None or self._proposal[0] != job:
            self._proposal = job, proposal(connection, job, errand.cancelled)
        return self._proposal[1]

    def _arrived(self, node: Any, change: Change) -> None:
        """Put the answer in, unless the segmentation is another one by now."""
        try:
            if self._review.node is not node:
                raise ExplainedError(
                    _("Another segmentation was chosen while the model looked, so its correction was not put in."),
                    _("Choose the segmentation with your strokes, then press this again."),
                )
            before = self._patches.get(correction_of(node), ())
            put_in(node, change, self._review.save_state)
        except ExplainedError as error:
            self._failed(error)
            return
        if change.where.size:
            self._patches[correction_of(node)] = (*before, change.patch)
        self.message = _words(change)
        self.changed.publish()

    def _end(self) -> None:
        self._errand, self.stage = None, ""

    def _failed(self, error: ExplainedError) -> None:
        if was_cancelled(error):
            self.message = _("Cancelled. Nothing was changed.")
        else:
            self.error = error
        self.changed.publish()
        if isinstance(error, WrongTokenError):
            self._server.check()


def _words(change: Change) -> str:
    """What a correction came to, for the reader."""
    said = _("The model would change nothing beyond your strokes.")
    if change.where.size:
        said = _("Corrected around your strokes: {count} voxels ({ml:.2f} ml) changed. Undo takes it back.").format(
            count=change.where.shape[1], ml=change.volume_ml
        )
    if change.region.other_names:
        names = ", ".join(f"“{name}”" for name in change.region.other_names)
        said += " " + _("Left as they are, for the model does not know them: {names}.").format(names=names)
    return said
