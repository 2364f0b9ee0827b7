"""Saved versions of the study: a new one goes to the spool on this computer first, then to the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client import segmentation as files
from MahtAILib.client.cases import Case, LabelVersion, NewLabel
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.client.volumes import pack
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import Saved, age, fetch_version, keep_and_send, versions_of
from MahtAILib.scene import provenance as origins
from MahtAILib.scene.edits import is_edited, mark_edited, mark_saved, seconds_of_work
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments import geometry_of, take_segments


@dataclass(frozen=True)
class Remark:
    """What the reader says of a segmentation when it is saved; ``verdict`` is agree, disagree or empty."""

    author: str
    role: str
    verdict: str = ""
    comment: str = ""


class VersionsState:
    """Saving, listing and opening versions.

    Attributes:
        versions: of the study, the newest first, as far as the server told.
        waiting: versions on this computer that the server does not have yet.
        message: what became of the last thing asked for.
        error: why it failed, or None.
    """

    def __init__(
        self, background: Background, spool: Spool, server: ServerState, study: StudyState, review: ReviewState
    ) -> None:
        self.changed = Topic()
        self.versions: list[LabelVersion] = []
        self.waiting = 0
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._spool = spool
        self._server = server
        self._study = study
        self._review = review
        self._cases: dict[str, Case] = {}
        self._errands: set[Errand[Any]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is being saved, sent, listed or fetched."""
        return bool(self._errands)

    def save(self, remark: Remark, url: str, then: Callable[[], None] = lambda: None) -> None:
        """Save the segmentation under review as a new version of the study for the server at ``url``.

        The edits count as saved as soon as the version is safe on this computer; ``then`` is called then.

        Raises:
            ExplainedError: nothing was saved, and why; the segmentation is as it was.
        """
        node = self._review.node
        if node is None:
            raise ExplainedError(_("There is no segmentation to save."), _("Run the model, or choose a segmentation."))
        if not remark.author.strip():
            raise ExplainedError(_("The reader's name is missing."), _("Type your name or initials under Reader."))
        origin = self._review.provenance or Provenance()
        volumes = self._study.volumes()
        if not (volumes or origin.inputs):
            raise ExplainedError(
                _("It is not known to which study the segmentation belongs."),
                _("Choose the volumes of the study in the section Study, then save again."),
            )
        geometry = geometry_of(node) or self._study.reference_geometry()
        taken = take_segments(node, geometry)
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
        segmentation = replace(taken.segmentation, provenance=replace(origin, status=status).for_file())
        connection = self._server.connection
        case = origin.case if origin.server == url else ""
        parent_key = origin.version_key if not label.parent and origin.server == url else ""

        def work(_errand: Errand[Saved]) -> Saved:
            return keep_and_send(
                self._spool, connection, url, case, volumes, origin.inputs, segmentation, label, parent_key
            )

        def done(saved: Saved) -> None:
            self._noted(node, replace(origin, status=status, server=url, inputs=dict(saved.inputs)), saved)
            then()
            if taken.resampled:
                self.message += " " + _("Brought to the grid of the study: {names}.").format(
                    names=", ".join(taken.resampled)
                )
            self.changed.publish()

        # an edit that is made while the version is being written is not in it
        mark_saved(node)
        self._run(work, done, lambda: mark_edited(node, seconds) if edited else None)

    def keep_draft(self, folder: Path) -> None:
        """Before the scene goes: write edits that were not saved into a file, and say where."""
        node = self._review.node
        if not is_edited(node):
            return
        try:
            geometry = geometry_of(node) or self._study.reference_geometry()
            origin = self._review.provenance or Provenance()
            segmentation = replace(
                take_segments(node, geometry).segmentation, provenance=replace(origin, status=origins.EDITED).for_file()
            )
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{datetime.now():%Y-%m-%d %H-%M-%S}.seg.nrrd"
            path.write_bytes(files.encode(segmentation))
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
        """Ask the server for the versions of the study in the slots."""
        connection = self._server.connection
        if connection is None or self._study.is_empty():
            self.versions, self._cases = [], {}
            self.changed.publish()
            return
        origin = self._review.provenance
        known = dict(origin.inputs) if origin is not None and origin.inputs else None
        try:
            volumes = {} if known else self._study.volumes()
        except ExplainedError:  # the section Study says what is wrong with them
            volumes = {}

        asked = self._study.volume_ids()

        def work(_errand: Errand[Any]) -> list[tuple[Case, LabelVersion]]:
            inputs = known or {slot: pack(one.array, one.ijk_to_ras).sha256 for slot, one in volumes.items()}
            return versions_of(connection, inputs)

        def done(found: list[tuple[Case, LabelVersion]]) -> None:
            if self._study.volume_ids() != asked:
                return  # of a study that is no longer in the slots
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
        case, asked = self._cases[version.id], self._study.volume_ids()

        def work(_errand: Errand[Any]) -> tuple[Segmentation, Provenance]:
            return fetch_version(connection, case, version)

        def done(found: tuple[Segmentation, Provenance]) -> None:
            if self._study.volume_ids() != asked:
                self.message = _("The study was changed meanwhile; version {number} was not opened.").format(
                    number=version.number
                )
                self.changed.publish()
                return
            self._review.place(*found)
            self._review.line_up()
            self._review.arrived.publish()
            self._review.refresh()
            self.message = _("Version {number} is open.").format(number=version.number)
            self.changed.publish()

        self._run(work, done)

    def _noted(self, node: Any, origin: Provenance, saved: Saved) -> None:
        receipt = self._spool.receipt(saved.client_key)
        self._review.note(
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
