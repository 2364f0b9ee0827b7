"""Saved versions of what is under review: a new one goes to the spool on this computer first, then to the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.cases import Case, LabelVersion, NewLabel, get_case, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.client.spool_receipt import Receipt
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.remark import Remark
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import Saved, age, fetch_version, keep_and_send, versions_of
from MahtAILib.scene import provenance as origins
from MahtAILib.scene.case_volumes import CaseRef
from MahtAILib.scene.edits import is_edited, mark_edited, mark_saved, seconds_of_work
from MahtAILib.scene.provenance import Provenance


class VersionsState:
    """Saving, listing and opening versions.

    Attributes:
        versions: of the images, the newest first, as far as the server told.
        waiting: versions on this computer that the server does not have yet.
        others: names of those whose versions among them wait until they sign in themselves.
        message: what became of the last thing asked for.
        error: why it failed, or None.
        saved: a version of the work list's case is safe on this computer.
        sibling: another version of the same parent as the one that was saved last, by somebody who was sooner; its id.

    ``case_of_study`` and ``session`` are set by whoever has the work list: the case that the chosen images are, and
    the name of the editing session whose draft a saved version ends.
    """

    def __init__(self, background: Background, spool: Spool, server: ServerState, task: Callable[[], Task]) -> None:
        self.changed = Topic()
        self.saved = Topic()
        self.sibling = ""
        self.case_of_study: Callable[[], CaseRef | None] = lambda: None
        self.session: Callable[[], str] = lambda: ""
        self.versions: list[LabelVersion] = []
        self.waiting = 0
        self.others: tuple[str, ...] = ()
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._spool = spool
        self._server = server
        self._task = task
        self._cases: dict[str, Case] = {}
        self._errands: set[Errand[Any]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is being saved, sent, listed or fetched."""
        return bool(self._errands)

    def save(self, remark: Remark, url: str, then: Callable[[], None] = lambda: None, submit: bool = False) -> None:
        """Save what is under review as a new version for the server at ``url``, that of a case for the case's server.

        The edits count as saved as soon as the version is safe on this computer; ``then`` is called then.

        Args:
            submit: it is finished and waits for a review.

        Raises:
            ExplainedError: nothing was saved, and why; the scene is as it was.
        """
        task = self._task()
        node = task.node
        if node is None:
            raise ExplainedError(*task.words.nothing_to_save)
        person, origin, study = remark.person, task.provenance or Provenance(), self.case_of_study()
        volumes = task.volumes()
        if not (volumes or origin.inputs):
            raise ExplainedError(*task.words.no_images)
        url = url if study is None else study.server
        edited, seconds = is_edited(node), seconds_of_work(node)
        is_proposal = bool(origin.job or (origin.model and not origin.version))
        status = origins.EDITED if edited or not is_proposal else origins.ACCEPTED
        is_here = origin.server == url
        case = study.id if study is not None else origin.case if is_here else ""
        follows = is_here and origin.case in ("", case)
        label = NewLabel(
            author=person.name,
            role=person.role,
            inference=origin.job or None if is_here else None,
            parent=origin.version or None if follows else None,
            seconds_of_work=round(seconds, 1),
            verdict=remark.verdict or None,  # type: ignore[arg-type]
            comment=remark.comment,
            submit=submit,
            session=self.session() or None if study is not None else None,
        )
        file = task.for_file(node, replace(origin, status=status))
        connection = self._server.connection
        parent_key = origin.version_key if follows and not label.parent else ""

        def work(_errand: Errand[Saved]) -> Saved:
            return keep_and_send(
                self._spool, connection, url, task.id, case, volumes, origin.inputs, file.encode, label, parent_key
            )

        def done(saved: Saved) -> None:
            self._noted(task, node, replace(origin, status=status, server=url, inputs=dict(saved.inputs)), saved)
            if file.remark:
                self.message += " " + file.remark
            if study is not None:
                self.saved.publish()
            then()
            self.changed.publish()

        # an edit that is made while the version is being written is not in it
        mark_saved(node)
        self._run(work, done, lambda: mark_edited(node, seconds) if edited else None)

    def send(self) -> None:
        """Send what waits on this computer."""
        connection = self._server.connection
        if connection is None:
            self.count_waiting()
            return
        self._run(lambda errand: self._spool.flush(connection, errand.progress, errand.cancelled), self.report)

    def count_waiting(self) -> None:
        """Look into the spool."""

        def done(count: int) -> None:
            self.waiting = count
            self.changed.publish()

        self._run(lambda _errand: len(self._spool.pending()), done)

    def refresh(self) -> None:
        """Ask the server for the versions of the chosen images."""
        connection, task = self._server.connection, self._task()
        if connection is None or task.is_empty():
            self.versions, self._cases = [], {}
            self.changed.publish()
            return
        origin = task.provenance
        known = dict(origin.inputs) if origin is not None and origin.inputs else None
        try:
            volumes = {} if known else task.volumes()
        except ExplainedError:  # the section with the images says what is wrong with them
            volumes = {}

        asked = task.volume_ids()

        study = self.case_of_study()

        def work(_errand: Errand[Any]) -> list[tuple[Case, LabelVersion]]:
            if study is not None and study.server == connection.url:
                case = get_case(connection, study.id)
                return [(case, version) for version in list_labels(connection, study.id)]
            inputs = known or {slot: one.identify() for slot, one in volumes.items()}
            return versions_of(connection, inputs)

        def done(found: list[tuple[Case, LabelVersion]]) -> None:
            if self._task() is not task or task.volume_ids() != asked:
                return  # of images that are no longer chosen
            self._cases = {version.id: case for case, version in found}
            self.versions = sorted((version for _case, version in found), key=age, reverse=True)
            self.changed.publish()

        self._run(work, done)

    def case_of(self, version: LabelVersion) -> Case | None:
        """The case of a listed version."""
        return self._cases.get(version.id)

    def open(self, version: LabelVersion) -> None:
        """Bring a saved version into the scene; unsaved edits stay in a segmentation of their own."""
        connection = self._server.connection
        if connection is None:
            self._failed(ExplainedError(_("There is no connection to a server."), _("Connect, then open it again.")))
            return
        self._open(connection, self._cases[version.id], version)

    def opened_from(self, case: Case, version: LabelVersion) -> None:
        """A version came into being on the server: list it and bring it into the scene."""
        self.refresh()
        if self._server.connection is not None:
            self._open(self._server.connection, case, version)

    def _open(self, connection: Connection, case: Case, version: LabelVersion) -> None:
        task = self._task()
        asked = task.volume_ids()

        def work(_errand: Errand[Any]) -> tuple[Any, Provenance]:
            return fetch_version(connection, case, version, task.decode)

        def done(found: tuple[Any, Provenance]) -> None:
            if task.volume_ids() != asked:
                self.message = _("The study was changed meanwhile; version {number} was not opened.").format(
                    number=version.number
                )
                self.changed.publish()
                return
            task.open(*found)
            self.message = _("Version {number} is open.").format(number=version.number)
            self.changed.publish()

        self._run(work, done)

    def read(
        self, version: LabelVersion, done: Callable[[Any], None], failed: Callable[[ExplainedError], None]
    ) -> None:
        """Fetch a saved version's content and hand it on; the scene stays as it is."""
        connection, case, task = self._server.connection, self._cases.get(version.id), self._task()
        if connection is None or case is None:
            failed(ExplainedError(_("There is no connection to a server."), _("Connect, then choose it again.")))
            return
        self._background.run(lambda _errand: fetch_version(connection, case, version, task.decode)[0], done, failed)

    def _noted(self, task: Task, node: Any, origin: Provenance, saved: Saved) -> None:
        receipt = self._spool.receipt(saved.client_key)
        task.note(
            node,
            status=origin.status,
            server=origin.server,
            inputs=origin.inputs,
            case=receipt.case_id if receipt else origin.case,
            version=receipt.version_id if receipt else "",
            version_key=saved.client_key,
        )
        self.report(saved.report)
        if receipt is not None:
            self.message = _("Saved. The server has it.") + self._about_others(receipt)
        elif not saved.report.refused:
            self.message = _("Saved on this computer. It will be sent when the server is back.")

    def report(self, report: FlushReport) -> None:
        """Show what sending came to."""
        self.waiting, self.others = report.kept, report.of_others
        self.error = report.error if report.error is not None and report.kept else None
        if report.refused:
            refused = report.refused[0]
            self.error = ExplainedError(
                _("The server does not take what was saved: {reason} It is kept on this computer.").format(
                    reason=refused.reason
                ),
                refused.hint,
            )
        if report.sent:
            told = next((words for receipt in report.sent if (words := self._about_others(receipt))), "")
            self.message = _("{count} sent.").format(count=len(report.sent)) + told
            self.refresh()
        self.changed.publish()

    def tell(self, message: str, error: ExplainedError | None) -> None:
        """Show what became of a draft."""
        if message or error:
            self.message, self.error = message, error
            self.changed.publish()

    def _about_others(self, receipt: Receipt) -> str:
        """What the second of two savers is told."""
        if receipt.sibling_of:
            self.sibling = receipt.sibling_of
            return " " + _(
                "Somebody else saved a version of the same one before you. Both are kept: compare them below, and "
                "merge them if you want one of both."
            )
        if receipt.held_by:
            return " " + _("{name} works on this case now; your version is kept beside theirs.").format(
                name=receipt.held_by
            )
        return ""

    def _run(
        self, work: Callable[[Errand[Any]], Any], done: Callable[[Any], None], undo: Callable[[], None] = lambda: None
    ) -> None:
        def ended(answer: Any) -> None:
            self._errands.discard(errand)
            self.error = None
            done(answer)

        def failed(error: ExplainedError) -> None:
            self._errands.discard(errand)
            undo()
            self._failed(error)

        errand = self._background.run(work, ended, failed)
        self._errands.add(errand)
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        self.error, self.message = error, ""
        self.changed.publish()
