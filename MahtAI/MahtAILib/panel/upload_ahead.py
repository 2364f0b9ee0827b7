"""The chosen images go to the server before Run is pressed, so that Run has nothing left to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MahtAILib.client.ahead import send_ahead
from MahtAILib.client.connection import Connection
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.run_state import RunState
from MahtAILib.panel.section import single_shot
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic

_SETTLE_MS = 500
"""Images and options are often chosen one after the other; they are sent this long after the last change."""


class UploadAhead:
    """Sends what the panel's task would send, and has the server make it ready; nothing of it is needed.

    To a server on another computer only after the reader agreed to that. Failures are not told: Run does
    the same again, and tells them.

    Attributes:
        is_ready: the server has the images that are chosen now.

    Args:
        model: id of the model that Run would run, empty where there is none.
    """

    def __init__(
        self,
        background: Background,
        server: ServerState,
        run: RunState,
        task: Callable[[], Task],
        model: Callable[[], str],
        settings: Settings,
    ) -> None:
        self.changed = Topic()
        self.is_ready = False
        self._background = background
        self._server, self._run, self._task = server, run, task
        self._model = model
        self._settings = settings
        self._errand: Errand[Any] | None = None
        self._sent: tuple[object, ...] | None = None
        self._images: tuple[list[str], object] = ([], None)
        self._soon = single_shot(_SETTLE_MS, self._send)
        server.changed.subscribe(self.look)
        run.changed.subscribe(self.look)

    def look(self) -> None:
        """Something may have changed: the server, the images, the model, an option, or a run began or ended."""
        if self._server.connection is None or self._run.is_running:
            self.stop()
            return
        if self._task().volume_ids() != self._images[0]:
            self._set_ready(False)
        self._soon.start()

    def stop(self) -> None:
        """Send nothing; what was sent stays on the server."""
        self._soon.stop()
        self._cancel()
        self._set_ready(False)

    def _send(self) -> None:
        connection, task, model = self._server.connection, self._task(), self._model()
        if connection is None or self._run.is_running:
            return
        if not model or task.is_empty() or not self._may_send(connection):
            self.stop()
            return
        options = task.options()
        try:
            sent = task.take(options)
        except ExplainedError:
            self.stop()
            return
        wanted = (connection, model, sent.key, sorted(options.items()))
        if wanted == self._sent:
            return
        self._cancel()
        images = (task.volume_ids(), sent.key)
        if images != self._images:
            self._set_ready(False)
        self._sent, self._images = wanted, images

        def work(errand: Errand[None]) -> None:
            send_ahead(connection, sent.volumes, model, options, errand.cancelled)
            task.warm_up()

        def done(_answer: None) -> None:
            if self._errand is errand:
                self._errand = None
                self._set_ready(True)

        def failed(_error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand = None

        errand = self._background.run(work, done, failed)
        self._errand = errand

    def _may_send(self, connection: Connection) -> bool:
        may = self._server.may("images.send") and self._server.may("inferences.run")
        return may and (connection.is_local or self._settings.consents(connection.url))

    def _cancel(self) -> None:
        if self._errand is not None:
            self._errand.cancel()
        self._errand, self._sent = None, None

    def _set_ready(self, is_ready: bool) -> None:
        if is_ready != self.is_ready:
            self.is_ready = is_ready
            self.changed.publish()
