"""The case that would come next, fetched while the reader works on the present one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from MahtAILib.client.worklist import WorkCase, next_case
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.case_opening import CaseSource, ReadyCase
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.topics import Topic


class CaseAhead:
    """Holds one case, ready to be shown; nobody is told when it cannot be had, for asking for it tells that.

    Attributes:
        ready: the case, None until it is there.
    """

    def __init__(self, background: Background, server: ServerState, source: CaseSource) -> None:
        self.changed = Topic()
        self.ready: ReadyCase | None = None
        self._background = background
        self._server = server
        self._source = source
        self._errand: Errand[Any] | None = None

    def look(self, strategy: str, task: str, exclude: Collection[str]) -> None:
        """Fetch the case that would come next, without claiming it."""
        self.forget()
        connection = self._server.connection
        if connection is None:
            return

        def work(errand: Errand[Any]) -> ReadyCase | None:
            offer = next_case(connection, strategy, task, False, exclude)
            return None if offer is None else self._source.fetch(connection, offer.case, errand)

        def done(ready: ReadyCase | None) -> None:
            if self._errand is errand:
                self.ready, self._errand = ready, None
                self.changed.publish()

        def failed(_error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand = None

        errand = self._background.run(work, done, failed)
        self._errand = errand

    def stop(self) -> None:
        """Fetch no more; what is ready stays, and what was fetched stays on this computer."""
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None

    def forget(self) -> None:
        """Another case may come next."""
        self.stop()
        self.ready = None

    def if_it_is(self, case: WorkCase) -> ReadyCase | None:
        """What is ready, if it is this case as it is now."""
        return self.ready if self.ready is not None and self.ready.fits(case) else None
