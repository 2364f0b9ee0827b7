"""The server on this computer: installing it after consent, starting and stopping it, its log."""

from __future__ import annotations

import os

import qt
from slicer.i18n import tr as _

from MahtAILib.errors import ExplainedError
from MahtAILib.local_server import (
    Installation,
    InstallationStage,
    InstallProgress,
    InstallStage,
    LocalServer,
    NoInternetError,
    ServerStage,
    find_source,
    installation_folder,
)
from MahtAILib.local_server import ServerState as Found
from MahtAILib.local_server.process import DEVELOPER_PYTHON
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.topics import Topic

_LOG_EVERY_MS = 1000
_LOG_LINES = 200


class LocalState:
    """The server that Slicer runs for its user.

    Attributes:
        message: what is being done or came of it.
        fraction: of the installation, 0..1.
        log: last lines of the server's log, or of the installation's.
        error: why it did not work, or None.
    """

    def __init__(self, background: Background, server: ServerState) -> None:
        self.changed = Topic()
        self.message = ""
        self.fraction = 0.0
        self.log = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._server = server
        self._local: LocalServer | None = None
        self._installation: Installation | None = None
        self._errand: Errand[Found] | None = None
        self._log_timer = qt.QTimer()
        self._log_timer.setInterval(_LOG_EVERY_MS)
        self._log_timer.timeout.connect(self._look)

    @property
    def is_busy(self) -> bool:
        """Whether it is being installed or started."""
        return self._errand is not None

    @property
    def is_running(self) -> bool:
        """Whether a server that was started here is running."""
        return self._local is not None and self._local.state.is_ours and self._local.state.stage is ServerStage.RUNNING

    def consent_question(self) -> str:
        """What to ask before anything is installed; empty where nothing has to be."""
        try:
            local = self._prepared()
        except ExplainedError as error:
            self.error = error
            self.changed.publish()
            return ""
        if not local.needs_installation:
            return ""
        assert self._installation is not None
        return _(
            "{why}\n\nThe server's libraries (PyTorch, MONAI and others, some gigabytes) are fetched from the internet "
            "and installed into a folder of their own:\n{folder}\n\nSlicer itself is not changed. It takes some "
            "minutes; it can be cancelled, and goes on later where it stopped.\n\nInstall it now?"
        ).format(why=self._installation.state().why, folder=self._installation.folder)

    def start(self) -> None:
        """Install what is missing, start, and connect; the reader was asked before."""
        if self.is_busy:
            return
        try:
            local = self._prepared()
        except ExplainedError as error:
            self.error = error
            self.changed.publish()
            return
        self.error, self.fraction, self.message = None, 0.0, _("Looking for a server on this computer …")

        def work(errand: Errand[Found]) -> Found:
            found = local.find()
            if found.stage is ServerStage.RUNNING:
                return found
            if local.needs_installation or self._is_outdated():
                self._install(local, errand)
            errand.progress("starting", 1.0)
            return local.start(errand.cancelled)

        self._errand = self._background.run(work, self._started, self._failed, self._progressed)
        self._log_timer.start()
        self.changed.publish()

    def stop(self) -> None:
        """Stop installing or starting, or the server that was started here."""
        if self._errand is not None:
            self._errand.cancel()
            self.message = _("Stopping …")
        elif self._local is not None:
            local = self._local
            self.message = _("Stopping the server …")
            self._server.disconnect()
            self._errand = self._background.run(lambda _errand: self._stopped_by(local), self._stopped, self._failed)
        self.changed.publish()

    def forget_error(self) -> None:
        """The reader went on to something else."""
        self.error, self.message = None, ""

    def close(self) -> None:
        """Slicer quits, or the module is loaded anew: the server that was started here ends."""
        self._log_timer.stop()
        if self._errand is not None:
            self._errand.cancel()
        if self._local is not None:
            self._local.stop()

    def _prepared(self) -> LocalServer:
        """
        Raises:
            LocalServerError: the server's source did not come with this copy.
        """
        if self._local is None:
            self._installation = Installation(installation_folder(), find_source())
            self._local = LocalServer(self._installation)
        return self._local

    def _is_outdated(self) -> bool:
        installation = self._installation
        if os.environ.get(DEVELOPER_PYTHON) or installation is None:
            return False
        return installation.state().stage is InstallationStage.OUTDATED

    def _install(self, local: LocalServer, errand: Errand[Found]) -> None:
        """Install or update; without the internet an older server is better than none."""
        assert self._installation is not None

        def on_progress(progress: InstallProgress) -> None:
            errand.progress(f"install:{progress.stage.value}:{progress.line}", progress.fraction)

        try:
            self._installation.install(on_progress, errand.cancelled)
        except NoInternetError:
            if local.needs_installation:
                raise

    def _progressed(self, stage: str, fraction: float, _place: int | None) -> None:
        self.fraction = fraction
        if stage.startswith("install:"):
            _kind, step, line = stage.split(":", 2)
            self.message = f"{_install_words()[InstallStage(step)]} {line}".strip()
        else:
            self.message = _("The server is starting …")
        self.changed.publish()

    def _started(self, found: Found) -> None:
        self._errand = None
        self.message = found.why
        self.changed.publish()
        self._server.connect(found.url)

    def _stopped_by(self, local: LocalServer) -> Found:
        local.stop()
        return local.state

    def _stopped(self, _found: Found) -> None:
        self._errand = None
        self.message = _("The server on this computer is stopped.")
        self._log_timer.stop()
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        self._errand = None
        if was_cancelled(error):
            self.message = _("Stopped. What was fetched is kept; the installation goes on there next time.")
        else:
            self.error = error
        self._look()
        self.changed.publish()

    def _look(self) -> None:
        """Read the log's end, and see whether the server has gone."""
        if self._local is None:
            return
        log = "\n".join(self._local.log_tail(_LOG_LINES))
        state = self._local.state
        if state.stage is ServerStage.ENDED:
            self._log_timer.stop()
            self.error = ExplainedError(
                state.why, _("Its log below says why. Press “Start on this computer” to start it again.")
            )
            self._server.disconnect()
            self._local = None
        if log != self.log or state.stage is ServerStage.ENDED:
            self.log = log
            self.changed.publish()


def _install_words() -> dict[InstallStage, str]:
    return {
        InstallStage.PREPARING: _("Preparing the installation …"),
        InstallStage.RESOLVING: _("Looking up the libraries …"),
        InstallStage.FETCHING: _("Fetching"),
        InstallStage.UNPACKING: _("Installing"),
        InstallStage.FINISHING: _("Finishing the installation …"),
    }
