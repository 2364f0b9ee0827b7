"""Handing the open case in, and what a second reader says of it; without the server it waits on this computer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.reviews import Decision, What
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.remark import Remark
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.case_volumes import CaseRef
from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.provenance import Provenance


class Decisions:
    """Submit, approve, reject.

    Attributes:
        decided: a decision is safe on this computer, or with the server.
        message: what became of the last one.
        error: why it was not taken, or None.

    Args:
        case_of_study: the case that is open.
        submitted: id of the version of it that waits for a review, as far as is known; empty for none.
    """

    def __init__(
        self,
        background: Background,
        spool: Spool,
        server: ServerState,
        task: Callable[[], Task],
        versions: VersionsState,
        case_of_study: Callable[[], CaseRef | None],
        submitted: Callable[[], str],
    ) -> None:
        self.changed = Topic()
        self.decided = Topic()
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._spool = spool
        self._server = server
        self._task = task
        self._versions = versions
        self._case_of_study = case_of_study
        self._submitted = submitted
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """Whether a decision is being kept."""
        return self._is_busy

    def decide(self, what: What, remark: Remark, comment: str = "") -> None:
        """Tell a decision about what is open; what was edited is saved first, for it is what is handed in or approved.

        Raises:
            ExplainedError: nothing was done, and why.
        """
        self.error, self.message = None, ""
        case, task, person = self._case_of_study(), self._task(), remark.person
        if case is None:
            raise ExplainedError(_("No case of the work list is open."), _("Press Next case, or open one of the list."))
        if what == "reject" and not comment.strip():
            raise ExplainedError(
                _("A label is not sent back without a word."), _("Say in the comment what is to be changed.")
            )
        origin = task.provenance or Provenance()
        is_unsaved = is_edited(task.node) or not (origin.version or origin.version_key)

        def tell() -> None:
            self._tell(case, what, remark, comment)

        if what == "submit" and is_unsaved:
            self._versions.save(remark, case.server, lambda: self._told(what, not _is_there(task)), submit=True)
        elif what == "approve" and is_unsaved:
            self._versions.save(remark, case.server, tell, submit=True)
        else:
            Decision(what, person, "", comment)  # says what is wrong with it before anything is done
            tell()

    def _tell(self, case: CaseRef, what: What, remark: Remark, comment: str) -> None:
        origin, connection = self._task().provenance or Provenance(), self._server.connection
        version = self._submitted() if what == "reject" else ""
        verdict: Any = remark.verdict or None
        decision = Decision(what, remark.person, version or origin.version, comment, verdict)
        parent_key = None if decision.version else origin.version_key or None

        def work(_errand: Errand[Any]) -> tuple[str, FlushReport | None]:
            key = self._spool.add_decision(case.server, case.id, decision, parent_key)
            if connection is None or connection.url != case.server:
                return key, None
            return key, self._spool.flush(connection)

        def done(answer: tuple[str, FlushReport | None]) -> None:
            key, report = answer
            self._is_busy = False
            if report is None:
                self._versions.count_waiting()
                self._told(what, True)
                return
            self._versions.report(report)
            refused = [one for one in report.refused if one.item is not None and one.item.client_key == key]
            if refused:
                self.error = ExplainedError(refused[0].reason, refused[0].hint)
                self.changed.publish()
            else:
                self._told(what, self._spool.receipt(key) is None)
                if report.error is not None and report.kept:
                    self._server.check()

        def failed(error: ExplainedError) -> None:
            self._is_busy = False
            self.error = error
            self.changed.publish()

        self._is_busy = True
        self._background.run(work, done, failed)
        self.changed.publish()

    def _told(self, what: What, is_kept: bool) -> None:
        """It is safe: with the server, or kept here until there is one."""
        words = {
            "submit": _("Handed in for review."),
            "approve": _("Approved."),
            "reject": _("Sent back with your comment."),
        }
        later = " " + _("It is kept on this computer and sent when the server is back.") if is_kept else ""
        self.message = words[what] + later
        self.decided.publish()
        self.changed.publish()


def _is_there(task: Task) -> bool:
    """Whether the server has what is under review."""
    return task.provenance is not None and bool(task.provenance.version)
