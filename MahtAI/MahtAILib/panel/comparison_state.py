"""What is made of saved versions: two side by side as outlines and a table, one of both, an older one brought back."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from slicer.i18n import tr as _

from MahtAILib.client.cases import LabelVersion, NewLabel
from MahtAILib.client.comparison import Comparison, Side, compare, merge
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.remark import Remark
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import fetch_version, keep_restored
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.comparison import remove_comparison, show_comparison


class ComparisonState:
    """Compares the version that the reader chose with the one that they work on.

    Attributes:
        comparison: that is shown; ``first`` is the reader's, ``second`` the other one. None where none is.
        take: part → the version from which it comes when they are merged.
        message: what became of the last thing asked for.
        error: why it failed, or None.
    """

    def __init__(
        self,
        scene: Any,
        background: Background,
        spool: Spool,
        server: ServerState,
        versions: VersionsState,
        review: ReviewState,
    ) -> None:
        self.changed = Topic()
        self.comparison: Comparison | None = None
        self.take: dict[str, Side] = {}
        self.message = ""
        self.error: ExplainedError | None = None
        self._scene = scene
        self._background = background
        self._spool = spool
        self._server = server
        self._versions = versions
        self._review = review
        self._errand: Errand[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether versions are being fetched or merged."""
        return self._errand is not None

    def compare(self, mine: LabelVersion, other: LabelVersion, task: Task) -> None:
        """Show how two versions differ; what is under review stays as it is, hidden while the outlines are there.

        Raises:
            ExplainedError: nothing was done, and why.
        """
        connection, case = self._server.connection, self._versions.case_of(other)
        if connection is None or case is None:
            raise ExplainedError(_("There is no connection to a server."), _("Connect, then compare them again."))

        def work(_errand: Errand[Any]) -> tuple[Comparison, list[Any]]:
            found = compare(connection, case.id, mine.id, other.id)
            if found.first.kind != "segmentation":
                return found, []
            contents = [fetch_version(connection, case, one, task.decode)[0] for one in (mine, other)]
            return found, [task.prepare(content) for content in contents]

        def done(answer: tuple[Comparison, list[Any]]) -> None:
            found, contents = answer
            self.comparison = found
            self.take = {part.id: "second" if contents and part.first_ml is None else "first" for part in found.parts}
            self.message = _("Blue: version {first} of {mine}. Orange: version {second} of {other}.").format(
                first=mine.number, mine=mine.author, second=other.number, other=other.author
            )
            if contents:
                names = [_("Version {number}").format(number=one.number) for one in (mine, other)]
                show_comparison(self._scene, ((names[0], contents[0]), (names[1], contents[1])))
                self._review.show_at_all(False)

        self._run(work, done)

    def turn(self, part: str) -> None:
        """Take a part from the other version."""
        if part in self.take:
            self.take[part] = "second" if self.take[part] == "first" else "first"
            self.changed.publish()

    def merge(self, remark: Remark) -> None:
        """Save one version of both, and open it.

        Raises:
            ExplainedError: nothing was done, and why.
        """
        connection, found = self._server.connection, self.comparison
        case = None if found is None else self._versions.case_of(found.first)
        if connection is None or found is None or case is None:
            raise ExplainedError(_("There is nothing to merge."), _("Connect, and compare two versions first."))
        self._server.person = remark.person
        take, key, comment = dict(self.take), str(uuid4()), remark.comment

        def work(_errand: Errand[Any]) -> LabelVersion:
            return merge(connection, case.id, found.first.id, found.second.id, take, key, comment)

        def done(version: LabelVersion) -> None:
            self.end()
            self.message = _("Merged into version {number}.").format(number=version.number)
            self._versions.sibling = ""
            self._versions.opened_from(case, version)

        self._run(work, done)

    def restore(self, version: LabelVersion, remark: Remark) -> None:
        """Save what a version holds as a new version and open that; it comes as one step that can be undone.

        Raises:
            ExplainedError: nothing was done, and why.
        """
        connection, case, person = self._server.connection, self._versions.case_of(version), remark.person
        if connection is None or case is None:
            raise ExplainedError(
                _("There is no connection to a server, so that the version cannot be read."), _("Connect first.")
            )
        label = NewLabel(
            person.name,
            person.role,
            parent=max(self._versions.versions, key=lambda one: one.number).id,
            comment=remark.comment or _("Version {number} brought back.").format(number=version.number),
            restores=version.id,
        )

        def work(_errand: Errand[Any]) -> tuple[FlushReport, LabelVersion | None]:
            return keep_restored(self._spool, connection, case, version, label)

        def done(answer: tuple[FlushReport, LabelVersion | None]) -> None:
            report, new = answer
            self._versions.report(report)
            if new is not None:
                self.message = _("What version {old} holds is version {new} now.").format(
                    old=version.number, new=new.number
                )
                self._versions.opened_from(case, new)

        self._run(work, done)

    def end(self) -> None:
        """Take the outlines away and show what is under review again."""
        remove_comparison(self._scene)
        self.comparison, self.take, self.message, self.error = None, {}, "", None
        self._review.show_at_all(True)
        self._review.show()
        self.changed.publish()

    def forget(self) -> None:
        """Another case or scene: nothing of it is shown any more."""
        if self.comparison is not None:
            self.end()

    def _run(self, work: Any, done: Any) -> None:
        def ended(answer: Any) -> None:
            self._errand, self.error = None, None
            done(answer)
            self.changed.publish()

        def failed(error: ExplainedError) -> None:
            self._errand, self.error = None, error
            self.changed.publish()

        self._errand = self._background.run(work, ended, failed)
        self.changed.publish()
