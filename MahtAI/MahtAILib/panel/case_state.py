"""The case of the work list that is open, and the way to the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError, ForbiddenError, RequestRefusedError
from MahtAILib.client.worklist import Lease, Offer, WorkCase, claim, next_case, read_case, release
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.case_ahead import CaseAhead
from MahtAILib.panel.case_opening import CaseSource, ReadyCase
from MahtAILib.panel.case_placing import CasePlacing
from MahtAILib.panel.lease_state import LeaseState
from MahtAILib.panel.section import single_shot
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.case_volumes import CaseRef


@dataclass(frozen=True)
class Opened:
    """A case that can be shown.

    Attributes:
        lease: on it, None where there is none yet.
        words: for the reader.
        wants_lease: whether one is asked for from now on.
    """

    ready: ReadyCase
    lease: Lease | None
    words: str
    wants_lease: bool = True


class CaseState:
    """Opens cases, one at a time.

    Attributes:
        changed: another case, another message, further on the way to a case.
        opened: a case was brought into the scene.
        case: the open one as the server described it last; None where none is open.
        progress: stage and fraction 0..1 while a case is being fetched; None otherwise.
        message: what the reader should know of the last thing asked for.
        error: why it failed, or None.

    Args:
        url: of the server that is meant while there is no connection.
    """

    def __init__(
        self,
        background: Background,
        server: ServerState,
        source: CaseSource,
        ahead: CaseAhead,
        placing: CasePlacing,
        lease: LeaseState,
        task: Callable[[], Task],
        url: Callable[[], str],
    ) -> None:
        self.changed = Topic()
        self.opened = Topic()
        self.case: WorkCase | None = None
        self.progress: tuple[str, float] | None = None
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._server = server
        self._source = source
        self._ahead = ahead
        self._placing = placing
        self._lease = lease
        self._task = task
        self._url = url
        self._errand: Errand[Any] | None = None
        self._skipped: list[str] = []
        self._finished: set[str] = set()
        self._steps: list[Callable[[], None]] = []
        self._step_soon = single_shot(0, self._step)

    @property
    def ref(self) -> CaseRef | None:
        """The case that the chosen images are."""
        return self._placing.case(self._task())

    @property
    def is_busy(self) -> bool:
        """Whether a case is on its way."""
        return self._errand is not None or bool(self._steps)

    def next(self, strategy: str, kept: Any = None) -> None:
        """Open the next case of the present task; without the server, the one that was fetched ahead.

        Args:
            kept: node whose edits are kept in a draft.
        """
        connection, task = self._server.connection, self._task().id
        if connection is None:
            self._next_here(None, kept)
            return
        present = self._present()

        def work(errand: Errand[Any]) -> Opened | None:
            offer = next_case(connection, strategy, task, True, [*present, *self._skipped])
            if offer is None and self._skipped:
                self._skipped = []
                offer = next_case(connection, strategy, task, True, present)
            return None if offer is None else self._fetched(connection, offer, errand)

        def failed(error: ExplainedError) -> None:
            if isinstance(error, ClientError) and error.temporary and not was_cancelled(error):
                self._next_here(error, kept)
                self._server.check()
            else:
                self._failed(error)

        self._run(work, kept, failed)

    def open(self, case_id: str, kept: Any = None) -> None:
        """Open a case of the list; one that somebody else works on is shown all the same, and that is said."""
        connection, url, reader = self._server.connection, self._url(), self._server.person.name

        def from_here(reason: ExplainedError | None) -> Opened:
            ready = self._source.here(url, case_id, reader)
            if ready is None:
                raise reason or _not_here()
            return Opened(ready, None, _("The server cannot be reached; this is the case as it was fetched before."))

        def work(errand: Errand[Any]) -> Opened:
            if connection is None:
                return from_here(None)
            try:
                case = read_case(connection, case_id)
                lease, words = _claimed(connection, case)
                ready = self._ahead.if_it_is(case) or self._source.fetch(connection, case, errand)
            except ClientError as error:
                if not error.temporary or was_cancelled(error):
                    raise
                return from_here(error)
            return Opened(ready, lease, words, not words)

        self._run(work, kept, self._failed)

    def cancel(self) -> None:
        """Do not wait for the case that is on its way; the open one stays."""
        if self._errand is not None:
            self._errand.cancel()

    def release(self) -> None:
        """Give the open case back; its images stay."""
        self._lease.give_back()
        self.error, self.message = None, _("Given back. Its images stay until you open another case.")
        self.changed.publish()

    def finished(self) -> None:
        """The open case was handed in or reviewed, with which the server ends the lease."""
        self._lease.forget()
        self._finished.update(self._present())
        self.case = None
        self.changed.publish()

    def scene_closed(self) -> None:
        """The open case is gone."""
        self._lease.give_back()
        self.cancel()
        self._steps = []
        self.case, self.message, self.error = None, "", None
        self.changed.publish()

    def look_ahead(self, strategy: str) -> None:
        """Fetch the case that would come next, so that it is there when it is asked for."""
        if not self.is_busy:
            self._ahead.look(strategy, self._task().id, [*self._skipped, *self._present()])

    def _present(self) -> list[str]:
        return [] if self.ref is None else [self.ref.id]

    def _fetched(self, connection: Connection, offer: Offer, errand: Errand[Any]) -> Opened:
        """In a thread: all of a case that was claimed; it is given back where it cannot be had."""
        try:
            ready = self._ahead.if_it_is(offer.case) or self._source.fetch(connection, offer.case, errand)
        except ExplainedError:
            if offer.lease is not None:
                release(connection, offer.lease)
            raise
        return Opened(ready, offer.lease, offer.why)

    def _next_here(self, reason: ExplainedError | None, kept: Any) -> None:
        """The server is gone: go on with what is on this computer."""
        ahead, url, reader = self._ahead.ready, self._url(), self._server.person.name
        known = {*self._skipped, *self._finished, *self._present()}

        def work(_errand: Errand[Any]) -> Opened:
            words = _(
                "The server cannot be reached. This case was fetched before, so that you can work on it; what you save "
                "is sent when the server is back."
            )
            if ahead is not None:
                return Opened(ahead, None, words)
            for case in self._source.cases_here(url, reader):
                ready = None if case.id in known else self._source.here(url, case.id, reader)
                if ready is not None:
                    return Opened(ready, None, words)
            raise reason or _not_here()

        self._run(work, kept, self._failed)

    def _run(
        self, work: Callable[[Errand[Any]], Opened | None], kept: Any, failed: Callable[[ExplainedError], None]
    ) -> None:
        if self._steps:
            return  # the case that is being shown is asked to be shown whole
        if self._errand is not None:
            self._errand.cancel()
        self._ahead.stop()

        def done(opened: Opened | None) -> None:
            if self._errand is not errand:
                return
            self._errand, self.progress = None, None
            if opened is None:
                self.message = _("No case is left that is free and meant for you.")
                self.changed.publish()
            else:
                self._show(opened, kept)

        def ended(error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand, self.progress = None, None
                failed(error)

        def progressed(stage: str, fraction: float, _place: int | None) -> None:
            if self._errand is errand:
                self.progress = (stage, fraction)
                self.changed.publish()

        self.error, self.message, self.progress = None, "", ("asking", 0.0)
        errand = self._background.run(work, done, ended, progressed)
        self._errand = errand
        self.changed.publish()

    def _show(self, opened: Opened, kept: Any) -> None:
        ready, before = opened.ready, self.case
        if before is not None and before.id != ready.case.id:
            self._skipped = [one for one in self._skipped if one != before.id] + [before.id]
            self._lease.give_back()
        self._ahead.forget()
        self._steps = [*self._placing.steps(ready, kept), lambda: self._shown(opened)]
        self._step()

    def _step(self) -> None:
        """One step a turn, so that Slicer is never held up by all of them."""
        if self._steps:
            step = self._steps.pop(0)
            if self._steps:
                self._step_soon.start()
            try:
                step()
            except ExplainedError as error:
                self._failed(error)

    def _shown(self, opened: Opened) -> None:
        ready = opened.ready
        self._skipped = [one for one in self._skipped if one != ready.case.id]
        self.case, self.error = ready.case, None
        self.message = " ".join(part for part in (opened.words, _about_review(ready.case)) if part)
        if opened.wants_lease:
            self._lease.hold(ready.ref, opened.lease)
        self.opened.publish()
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        if was_cancelled(error):
            self.message = _("Cancelled. The case that was open stays open.")
        else:
            self.error = error
        self.changed.publish()


def _claimed(connection: Connection, case: WorkCase) -> tuple[Lease | None, str]:
    """In a thread: a lease, or why there is none.

    Raises:
        RequestRefusedError: the case was taken off the list.
    """
    if case.state == "approved":
        return None, _("This case is approved. What you save is a new version all the same.")
    try:
        return claim(connection, case.id), ""
    except ForbiddenError:
        return None, _("You may look at it; your account may not save labels.")
    except RequestRefusedError as error:
        if error.problem != "case-held":
            raise
        return None, _("{name} works on this case. You may look at it; what you save is kept beside theirs.").format(
            name=case.holder or _("Somebody else")
        )


def _about_review(case: WorkCase) -> str:
    if case.state == "rejected":
        return _("It was sent back. {words}").format(words=case.review)
    return _("It waits for a review: approve it, or reject it with a comment.") if case.state == "submitted" else ""


def _not_here() -> ExplainedError:
    return ExplainedError(
        _("The server cannot be reached, and no other case was fetched to this computer."),
        _("Go on with the open case: what you save is kept and sent when the server is back."),
    )
