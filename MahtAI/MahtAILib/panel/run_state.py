"""One run of a model: the images go out, the result comes in. Only one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.errors import WrongTokenError
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.monai_label_state import MonaiLabelState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Sent, Task
from MahtAILib.panel.topics import Topic


class RunState:
    """Runs a model of the panel's task on its images.

    Attributes:
        changed: a run began or ended.
        progressed: a run is at another stage, or has a preview to show.
        progress: stage, fraction 0..1 and place in the queue while a run is under way; None otherwise.
        message: how the last run ended, for the reader.
        error: why it failed, or None.
        has_preview: a coarse result is shown until the full one is there.
    """

    def __init__(
        self, background: Background, server: ServerState, task: Callable[[], Task], guests: MonaiLabelState
    ) -> None:
        self.changed = Topic()
        self.progressed = Topic()
        self.progress: tuple[str, float, int | None] | None = None
        self.message = ""
        self.error: ExplainedError | None = None
        self.has_preview = False
        self._background = background
        self._server = server
        self._task = task
        self._guests = guests
        self._errand: Errand[Any] | None = None
        self._running: Task | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._errand is not None

    def way(self, model: str) -> tuple[Any, Task]:
        """Where a model runs (a ``Connection``, a ``MonaiLabelServer``, or None), and what is done there."""
        other = self._guests.server_of(model)
        return (self._server.connection, self._task()) if other is None else (other, self._guests.task)

    def start(self, model: str, options: Mapping[str, str]) -> None:
        """Take the images as they are now and run; what is edited meanwhile does not change what was sent.

        Raises:
            ExplainedError: nothing was started, and why.
        """
        connection, task = self.way(model)
        if self.is_running:
            raise ExplainedError(_("A run is under way."), _("Wait for it, or cancel it first."))
        if connection is None:
            raise ExplainedError(_("There is no connection to a server."), _("Connect to a server first."))
        sent = task.take(options)
        self.error, self.message, self.progress = None, "", ("hashing", 0.0, None)

        def work(errand: Errand[Any]) -> Any:
            return task.work(connection, sent, model, options, errand)

        def done(outcome: Any) -> None:
            if self._errand is errand:
                self._placed(task, outcome, sent, connection.url)

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._end()
                self._failed(error)

        def progressed(stage: str, fraction: float, place: int | None) -> None:
            if self._errand is errand:
                self.progress = (stage, fraction, place)
                self.progressed.publish()

        def previewed(preview: Any) -> None:
            if self._errand is errand:
                task.show_preview(preview)
                self.has_preview = True
                self.progressed.publish()

        errand = self._background.run(work, done, failed, progressed, previewed)
        self._errand, self._running = errand, task
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
        if self.has_preview and self._running is not None:
            self._running.remove_preview()
        self._errand, self._running, self.progress, self.has_preview = None, None, None, False

    def _placed(self, task: Task, outcome: Any, sent: Sent, url: str) -> None:
        try:
            where = task.place(outcome, sent, url)
        finally:
            self._end()
        seconds = float(outcome.result.summary.get("timings_s", {}).get("total", 0))
        done = _("Done: {seconds:.1f} s on the server.").format(seconds=seconds)
        self.message = " ".join(part for part in (done, where, *sent.changed_since()) if part)
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        if was_cancelled(error):
            self.message = _("Cancelled. Nothing was changed.")
        else:
            self.error = error
        self.changed.publish()
        if isinstance(error, WrongTokenError):
            self._server.check()
