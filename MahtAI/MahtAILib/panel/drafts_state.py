"""Drafts: unsaved work, kept every minute on this computer and on the server, offered when the case is opened again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import qt
from slicer.i18n import tr as _

from MahtAILib.client.acting import plain_name
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import Draft, discard_draft, draft_content, list_drafts, send_draft
from MahtAILib.client.errors import ClientError
from MahtAILib.client.local_drafts import LocalDraft, LocalDrafts, now
from MahtAILib.client.volumes import Blob
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.topics import Topic
from MahtAILib.scene import provenance as origins
from MahtAILib.scene.case_volumes import CaseRef
from MahtAILib.scene.edits import content_fingerprint, is_edited, mark_edited, not_by_the_reader, seconds_of_work
from MahtAILib.scene.provenance import Provenance

_EVERY_MS = 60_000


@dataclass(frozen=True)
class _Taken:
    """Work taken out of the scene for a draft, and the case that it is of."""

    case: CaseRef
    draft: Draft
    encode: Callable[[], bytes]
    fingerprint: str


class DraftsState:
    """Keeps drafts of the open case.

    Attributes:
        offer: a draft of this reader that the open case had before; None where there is none.
        message: what the reader should know of the last draft.
        error: why it could not be kept, or None.

    Args:
        folder: of drafts on this computer.
        case_of_study: the case that the chosen images of a task are.
    """

    def __init__(
        self,
        background: Background,
        folder: Path,
        server: ServerState,
        task: Callable[[], Task],
        case_of_study: Callable[[Task], CaseRef | None],
    ) -> None:
        self.changed = Topic()
        self.offer: Draft | None = None
        self.message = ""
        self.error: ExplainedError | None = None
        self._background = background
        self._folder = folder
        self._local = LocalDrafts(folder)
        self._server = server
        self._task = task
        self._case_of_study = case_of_study
        self._case: CaseRef | None = None
        self._session = str(uuid4())
        self._reader = ""
        self._kept = self._sent = ""
        self._ended: set[str] = set()
        self._is_keeping = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.tick)
        self._timer.start()

    @property
    def session(self) -> str:
        """Name of the editing session."""
        return self._session

    def begin(self, case: CaseRef | None) -> None:
        """Another case is open: a new session, and what was left of an earlier one is looked for."""
        self._case, self._session, self.offer, self.message, self.error = case, str(uuid4()), None, "", None
        self._kept = self._sent = ""
        self._reader = self._server.person.name
        self.changed.publish()
        if case is None:
            return
        connection, reader = self._server.connection, self._server.person.name

        def work(_errand: Errand[Any]) -> list[Draft]:
            found = [one.draft for one in self._local.of_case(case.server, case.id)]
            if connection is not None and connection.url == case.server:
                with suppress(ClientError):  # those on this computer are offered all the same
                    known = {one.session for one in found}
                    found += [one for one in list_drafts(connection, case.id) if one.session not in known]
            mine = [one for one in found if plain_name(one.author) == plain_name(reader)]
            return sorted(mine, key=lambda one: one.saved_at, reverse=True)

        def done(found: list[Draft]) -> None:
            if self._case == case and found:
                self.offer = found[0]
                self.changed.publish()

        self._background.run(work, done, lambda _error: None)

    def reader_changed(self) -> None:
        """Somebody else may have signed in: what is edited from now on is theirs, and only their drafts are offered."""
        if plain_name(self._server.person.name) == plain_name(self._reader):
            return
        before, node = self._reader, self._task().node
        self.begin(self._case)
        if is_edited(node):
            self._kept = self._sent = content_fingerprint(node)
            self.message = _(
                "What was edited here before is not saved ({name}). What you save now is saved under your name."
            ).format(name=before or _("nobody was signed in"))
            self.changed.publish()

    def keep_if_edited(self, then: Callable[[], None]) -> None:
        """Before somebody leaves: keep a draft of what is not saved, if it is of a case, and go on."""
        if is_edited(self._task().node) and self._case_of_study(self._task()) is not None:
            self.keep(then)
        else:
            then()

    def take(self) -> None:
        """Go on with the draft that is offered; it comes as one step that can be undone."""
        offer, case, task, connection = self.offer, self._case, self._task(), self._server.connection
        if offer is None or case is None:
            return

        def work(_errand: Errand[Any]) -> tuple[Any, dict[str, str]]:
            data = self._local.read(offer.session)
            if data is None or (offer.sha256 and Blob(data).sha256 != offer.sha256):
                data = draft_content(_needed(connection), offer)
            content = task.decode(data)
            return task.prepare(content), dict(content.provenance)

        def done(found: tuple[Any, dict[str, str]]) -> None:
            if self._case != case:
                return
            content, file = found
            inputs = {slot: volume.identity.sha256 for slot, volume in task.volumes().items()}
            task.open(
                content,
                Provenance(
                    status=origins.EDITED,
                    server=case.server,
                    job=offer.inference,
                    model=file.get("Model", ""),
                    model_sha256=file.get("ModelSHA256", ""),
                    inputs=inputs,
                    case=case.id,
                    version=offer.parent,
                    file=file,
                ),
            )
            with not_by_the_reader():
                mark_edited(task.node, offer.seconds_of_work)
            self._session, self.offer, self.error = offer.session, None, None
            self._kept = self._sent = content_fingerprint(task.node)
            self.message = _("Your draft is open. It is not a version yet.")
            self.changed.publish()

        self._background.run(work, done, self._failed)

    def discard(self) -> None:
        """The reader does not want the draft that is offered."""
        offer, case = self.offer, self._case
        self.offer = None
        if offer is not None and case is not None:
            self._drop(case, offer.session)
        self.changed.publish()

    def tick(self) -> None:
        """A minute has passed: keep what was edited since."""
        node = self._task().node
        if self._is_keeping or not is_edited(node) or self._case_of_study(self._task()) is None:
            return
        present = content_fingerprint(node)
        if present != self._kept or (present != self._sent and self._server.connection is not None):
            self.keep()

    def keep(self, then: Callable[[], None] = lambda: None) -> None:
        """Keep a draft now; ``then`` is called once it is safe on this computer."""
        try:
            taken = self._take()
        except ExplainedError as error:
            self._failed(error)
            return
        connection, self._is_keeping = self._server.connection, True

        def work(errand: Errand[Any]) -> bool:
            data = taken.encode()
            draft = replace(taken.draft, sha256=Blob(data).sha256)
            self._local.keep(LocalDraft(taken.case.server, taken.case.id, draft), data)
            errand.preview(taken.fingerprint)
            if connection is None or connection.url != taken.case.server:
                return False
            with suppress(ClientError):  # it is on this computer; the next one goes to the server again
                send_draft(connection, taken.case.id, draft, data)
                return True
            return False

        def written(fingerprint: str) -> None:
            self.error = None
            if taken.draft.session == self._session:
                self._kept = fingerprint
            self.message = _("Draft kept at {time}.").format(time=f"{datetime.now():%H:%M}")
            then()
            self.changed.publish()

        def done(was_sent: bool) -> None:
            self._is_keeping = False
            if taken.draft.session in self._ended:  # saved as a version meanwhile
                self._drop(taken.case, taken.draft.session)
            elif taken.draft.session == self._session:
                self._sent = taken.fingerprint if was_sent else ""

        def failed(error: ExplainedError) -> None:
            self._is_keeping = False
            self._failed(error)

        self._background.run(work, done, failed, on_preview=written)

    def saved(self) -> None:
        """A version was saved: it takes the place of the draft. A new session, so that no late draft follows it."""
        case, session = self._case, self._session
        self._ended.add(session)
        self._session, self._kept, self._sent, self.message = str(uuid4()), "", "", ""
        if case is not None:
            self._drop(case, session)
        self.changed.publish()

    def keep_before_closing(self, tasks: tuple[Task, ...]) -> None:
        """Before the scene goes: write edits that were not saved into files, wait for that, and say where they are."""
        for task in tasks:
            if task.node is not None and is_edited(task.node):
                self._keep_at_once(task)
        self._case, self.offer = None, None
        self.changed.publish()

    def stop(self) -> None:
        """The panel goes away, perhaps with Slicer: what is not saved of a case is kept on this computer."""
        self._timer.stop()
        task = self._task()
        if task.node is not None and is_edited(task.node) and self._case_of_study(task) is not None:
            self._keep_at_once(task)

    def _keep_at_once(self, task: Task) -> None:
        node, case = task.node, self._case_of_study(task)
        try:
            if case is None:
                path = self._folder / f"{datetime.now():%Y-%m-%d %H-%M-%S}{task.words.draft}"
                data = task.snapshot(node, _edited(task))()
                self._folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            else:
                taken = self._take(task)
                data = taken.encode()
                draft = replace(taken.draft, sha256=Blob(data).sha256)
                path = self._local.keep(LocalDraft(case.server, case.id, draft), data)
                self._send_late(case, draft, data)
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
            if case is not None:
                self.message += " " + _("They are offered when you open the case again.")

    def _send_late(self, case: CaseRef, draft: Draft, data: bytes) -> None:
        connection = self._server.connection
        if connection is not None and connection.url == case.server:
            self._background.run(
                lambda _errand: send_draft(connection, case.id, draft, data), lambda _sent: None, lambda _error: None
            )

    def _take(self, task: Task | None = None) -> _Taken:
        """The work as it is now.

        Raises:
            ExplainedError: there is none, or it cannot be saved.
        """
        task = task or self._task()
        node, case = task.node, self._case_of_study(task)
        if node is None or case is None:
            raise ExplainedError(_("There is nothing of which a draft could be kept."))
        origin = _edited(task)
        is_of_case = origin.server == case.server and origin.case in ("", case.id)
        draft = Draft(
            self._session,
            "",
            self._server.person.name,
            parent=origin.version if is_of_case else "",
            inference=origin.job if origin.server == case.server else "",
            seconds_of_work=seconds_of_work(node),
            saved_at=now(),
            kind="landmarks" if node.IsA("vtkMRMLMarkupsNode") else "segmentation",
        )
        return _Taken(case, draft, task.snapshot(node, origin), content_fingerprint(node))

    def _drop(self, case: CaseRef, session: str) -> None:
        self._local.drop(session)
        connection = self._server.connection
        if connection is not None and connection.url == case.server:
            self._background.run(
                lambda _errand: discard_draft(connection, case.id, session), lambda _done: None, lambda _error: None
            )

    def _failed(self, error: ExplainedError) -> None:
        self.error, self.message = error, ""
        self.changed.publish()


def _edited(task: Task) -> Provenance:
    return replace(task.provenance or Provenance(), status=origins.EDITED)


def _needed(connection: Connection | None) -> Connection:
    if connection is None:
        raise ExplainedError(_("The draft is on the server, which cannot be reached."), _("Connect, then try again."))
    return connection
