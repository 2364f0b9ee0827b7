"""The lease on the open case: renewed while somebody works, given back after; without it work goes on all the same."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import RequestRefusedError
from MahtAILib.client.worklist import Lease, claim, local_time, release
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.case_volumes import CaseRef

_LEAST_PAUSE_S = 0.2
_AGAIN_S = 20.0
"""After a renewal that did not reach the server; several fit into a lease."""


class LeaseState:
    """Holds one case.

    Attributes:
        lease: that was given last; None where there is none, or where it was lost.
        message: what the reader should know of it; empty while all is well.
    """

    def __init__(self, background: Background, server: ServerState) -> None:
        self.changed = Topic()
        self.lease: Lease | None = None
        self.message = ""
        self._background = background
        self._server = server
        self._wanted: CaseRef | None = None
        self._asking = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.renew)

    def hold(self, case: CaseRef, lease: Lease | None) -> None:
        """Keep this case from now on; without a lease it is asked for as soon as its server is there."""
        self._wanted, self.lease, self.message = case, lease, ""
        self._plan(_LEAST_PAUSE_S if lease is None else lease.renew_after_s)
        self.changed.publish()

    def renew(self) -> None:
        """Ask for the case, or for more time."""
        connection, case, lease = self._server.connection, self._wanted, self.lease
        if case is None or self._asking:
            return
        if connection is None or connection.url != case.server:
            self._lonely()
            return
        self._asking = True

        def done(renewed: Lease) -> None:
            self._asking = False
            if self._wanted == case:
                self.lease, self.message = renewed, ""
                self._plan(renewed.renew_after_s)
                self.changed.publish()
            else:
                self._send_back(connection, renewed)

        def failed(error: ExplainedError) -> None:
            self._asking = False
            if self._wanted != case:
                return
            if isinstance(error, RequestRefusedError):
                self._lost(error)
            else:
                self._lonely()
                self._server.check()

        asked = "" if lease is None else lease.id
        self._background.run(lambda _errand: claim(connection, case.id, asked), done, failed)

    def give_back(self) -> None:
        """Somebody else may have the case; nobody waits for the answer."""
        connection, case, lease = self._server.connection, self._wanted, self.lease
        self.forget()
        if connection is not None and case is not None and connection.url == case.server and lease is not None:
            self._send_back(connection, lease)

    def forget(self) -> None:
        """The server ended the lease, or nothing of it matters any more."""
        self._timer.stop()
        self._wanted, self.lease, self.message = None, None, ""
        self.changed.publish()

    def _send_back(self, connection: Connection, lease: Lease) -> None:
        def nothing(_answer: Any) -> None:
            """It ends by itself if this was not heard."""

        self._background.run(lambda _errand: release(connection, lease), nothing, nothing)

    def _lost(self, error: RequestRefusedError) -> None:
        """Nobody asks again: what is saved is kept all the same."""
        self.lease = None
        if error.problem == "case-removed":
            words = _("The case was taken off the work list meanwhile. Go on if you like: what you save is kept.")
        else:
            words = _("{reason} Nothing is lost: go on, and what you save is kept as a version beside theirs.").format(
                reason=error.reason
            )
        self.message = words
        self.changed.publish()

    def _lonely(self) -> None:
        """There is no way to the server now."""
        if self.lease is None:
            self.message = _("Nobody else knows that you work on this case, because the server cannot be reached.")
        else:
            self.message = _(
                "The server cannot be reached. The case is kept for you until {time}; nothing is lost after that."
            ).format(time=local_time(self.lease.held_until))
        self._plan(_AGAIN_S)
        self.changed.publish()

    def _plan(self, seconds: float) -> None:
        self._timer.start(round(1000 * max(seconds, _LEAST_PAUSE_S)))
