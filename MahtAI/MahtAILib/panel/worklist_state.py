"""The work list as the panel shows it: cases by filter and search, and the orders in which the next one can come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.worklist import UNFINISHED, Filter, Strategy, WorkCase, find_cases, strategies
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.case_opening import CaseSource
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.topics import Topic

STATES = {
    "unfinished": UNFINISHED,
    "submitted": ("submitted",),
    "rejected": ("rejected",),
    "approved": ("approved",),
    "all": (),
    "hard": (),
}
"""Choice of the reader → states of the cases that are listed."""

IN_ORDER = Strategy("order", "", "", True, "")


class WorkListState:
    """Cases of the present task.

    Attributes:
        changed: another list, another filter.
        cases: the newest first.
        has_more: whether there are more than these.
        is_from_here: the server cannot be asked; these are the cases on this computer.
        strategies: of this server.
        error: why there is no list, or None.
    """

    def __init__(
        self,
        background: Background,
        server: ServerState,
        source: CaseSource,
        task: Callable[[], str],
        url: Callable[[], str],
    ) -> None:
        self.changed = Topic()
        self.cases: list[WorkCase] = []
        self.has_more = False
        self.is_from_here = False
        self.strategies: list[Strategy] = [IN_ORDER]
        self.error: ExplainedError | None = None
        self._background = background
        self._server = server
        self._source = source
        self._task = task
        self._url = url
        self._errand: Errand[Any] | None = None
        self._strategies_of: tuple[object, str] | None = None

    @property
    def is_asking(self) -> bool:
        """Whether the list is on its way."""
        return self._errand is not None

    def refresh(self, choice: str = "unfinished", mine: bool = False, search: str = "") -> None:
        """Ask for the list.

        Args:
            choice: one of ``STATES``.
            mine: only what the reader holds, or what is meant for them.
        """
        connection, url, task = self._server.connection, self._url(), self._task()
        person = self._server.person.name
        wanted = Filter(STATES[choice], task, person if mine else "", search.strip(), choice == "hard")
        wants_strategies = self._strategies_of != (connection, task)

        def work(_errand: Errand[Any]) -> tuple[list[WorkCase], bool, list[Strategy] | None]:
            if connection is None:
                return [case for case in self._source.cases_here(url, person) if case.task == task], False, None
            found = strategies(connection, task) if wants_strategies else None
            return (*find_cases(connection, wanted), found)

        def done(answer: tuple[list[WorkCase], bool, list[Strategy] | None]) -> None:
            if self._errand is not errand:
                return  # of an earlier letter of the search
            self.cases, self.has_more, found = answer
            if found is not None:
                self.strategies, self._strategies_of = found, (connection, task)
            self._errand, self.error, self.is_from_here = None, None, connection is None
            self.changed.publish()

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand, self.error = None, error
                self.changed.publish()

        errand = self._background.run(work, done, failed)
        self._errand = errand


def who(case: WorkCase, reader: str) -> str:
    """Who has a case, or for whom it is meant."""
    if case.holder:
        return _("you") if case.holder == reader else case.holder
    return _("for {name}").format(name=case.assignee) if case.assignee else ""


def state_words(state: str) -> str:
    """A state, for the reader."""
    words = {
        "new": _("new"),
        "claimed": _("begun"),
        "draft": _("draft"),
        "submitted": _("in review"),
        "approved": _("approved"),
        "rejected": _("sent back"),
    }
    return words.get(state, state)
