"""Saved versions of what is under review: a new one goes to the spool on this computer first, then to the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.cases import Case, LabelVersion, NewLabel
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import Saved, age, fetch_version, keep_and_send, versions_of
from MahtAILib.scene import provenance as origins
from MahtAILib.scene.edits import is_edited, mark_edited, mark_saved, seconds_of_work
from MahtAILib.scene.provenance import Provenance


@dataclass(frozen=True)
class Remark:
    """What the reader says of a version when it is saved; ``verdict`` is agree, disagree or empty."""

    author: str
    role: str
    verdict: str = ""
    comment: str = ""


class VersionsState:
    """Saving, listing and opening versions.

    Attributes:
        versions: of the images, the newest first, as far as the server told.
        waiting: versions on this computer that the server does not have yet.
        message: what became of the last thing asked for.
        error: why it failed, or None.
    """

    def __init__(self, background: Background, spool: Spool, server: ServerState, task: Callable[[], Task]) -> None:
        self.changed = Topic()
        self.versions: list[LabelVersion] = []
        self.waiting = 0
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

    def save(self, remark: Remark, url: str, then: Callable[[], None] = lambda: None) -> None:
        """Save what is under review as a new version for the server at ``url``.

        The edits count as saved as soon as the version is safe on this computer; ``then`` is called then.

        Raises:
            ExplainedError: nothing was saved, and why; the scene is as it was.
        """
        task = self._task()
        node = task.node
        if node is None:
            raise ExplainedError(*task.words.nothing_to_save)
        if not remark.author.strip():
            raise ExplainedError(_("The reader's name is missing."), _("Type your name or initials under Reader."))
        origin = task.provenance or Provenance()
        volumes = task.volumes()
        if not (volumes or origin.inputs):
            raise ExplainedError(*task.words.no_images)
        edited, seconds = is_edited(node), seconds_of_work(node)
        status = origins.EDITED if edited or not origin.job else origins.ACCEPTED
        label = NewLabel(
            author=remark.author.strip(),
            role=remark.role,
            inference=origin.job or None if origin.server == url else None,
            parent=origin.version or None if origin.server == url else None,
            seconds_of_work=round(seconds, 1),
            verdict=remark.verdict or None,  # type: ignore[arg-type]
            comment=remark.comment,
        )
        file = task.for_file(node, replace(origin, status=status))
        connection = self._server.connection
        case = origin.case if origin.server == url else ""
        parent_key = origin.version_key if not label.parent and origin.server == url else ""

        def work(_errand: Errand[Saved]) -> Saved:
            return keep_and_send(
                self._spool, connection, url, task.id, case, volumes, origin.inputs, file.encode, label, parent_key
            )

        def done(saved: Saved) -> None:
            self._noted(task, node, replace(origin, status=status, server=url, inputs=dict(saved.inputs)), saved)
            then()
            if file.remark:
                self.message += " " + file.remark
            self.changed.publish()

        # an edit that is made while the version is being written is not in it
        mark_saved(node)
        self._run(work, done, lambda: mark_edited(node, seconds) if edited else None)

    def keep_draft(self, folder: Path, task: Task) -> None:
        """Before the scene goes: write edits that were not saved into a file, and say where."""
        node = task.node
        if not is_edited(node):
            return
        try:
            file = task.for_file(node, replace(task.provenance or Provenance(), status=origins.EDITED))
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{datetime.now():%Y-%m-%d %H-%M-%S}{task.words.draft}"
            path.write_bytes(file.encode())
        except (ExplainedError, OSError) as error:
            self.error = ExplainedError(
                _("The edits of “{name}” were not saved, and no draft could be written ({error}).").format(
                    name=node.GetName(), error=error
                )
            )
        else:
            self.error = None
            self.message = _("The scene was closed with edits that were not saved. They are kept in {path}").format(
                path=path
            )
        self.changed.publish()

    def send(self) -> None:
        """Send what waits on this computer."""
        connection = self._server.connection
        if connection is None:
            self.count_waiting()
            return
        self._run(lambda errand: self._spool.flush(connection, errand.progress, errand.cancelled), self._sent)

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

        def work(_errand: Errand[Any]) -> list[tuple[Case, LabelVersion]]:
            inputs = known or {slot: one.identify() for slot, one in volumes.items()}
            return versions_of(connection, inputs)

        def done(found: list[tuple[Case, LabelVersion]]) -> None:
            if self._task() is not task or task.volume_ids() != asked:
                return  # of images that are no longer chosen
            self._cases = {version.id: case for case, version in found}
            self.versions = sorted((version for _case, version in found), key=age, reverse=True)
            self.changed.publish()

        self._run(work, done)

    def open(self, version: LabelVersion) -> None:
        """Bring a saved version into the scene; unsaved edits stay in a segmentation of their own."""
        connection = self._server.connection
        if connection is None:
            self._failed(ExplainedError(_("There is no connection to a server."), _("Connect, then open it again.")))
            return
        task = self._task()
        case, asked = self._cases[version.id], task.volume_ids()

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
        self._sent(saved.report)
        if receipt is not None:
            self.message = _("Saved. The server has it.")
        elif not saved.report.refused:
            self.message = _("Saved on this computer. It will be sent when the server is back.")

    def _sent(self, report: FlushReport) -> None:
        self.waiting = report.kept
        self.error = report.error if report.error is not None and report.kept else None
        if report.refused:
            refused = report.refused[0]
            self.error = ExplainedError(
                _("The server does not take a version: {reason} It is kept on this computer.").format(
                    reason=refused.reason
                ),
                refused.hint,
            )
        if report.sent:
            self.message = _("{count} sent.").format(count=len(report.sent))
            self.refresh()
        self.changed.publish()

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
