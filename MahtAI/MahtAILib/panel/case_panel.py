"""The part of the panel that is for the work list: its state, its sections, and how they hear of each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from MahtAILib.client.address import clean_url
from MahtAILib.client.case_files import CaseFiles
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import BadAddressError
from MahtAILib.client.spool import Spool
from MahtAILib.client.worklist import release
from MahtAILib.panel.background import Background
from MahtAILib.panel.case_ahead import CaseAhead
from MahtAILib.panel.case_opening import CaseSource
from MahtAILib.panel.case_placing import CasePlacing
from MahtAILib.panel.case_state import CaseState
from MahtAILib.panel.comparison_section import ComparisonSection
from MahtAILib.panel.comparison_state import ComparisonState
from MahtAILib.panel.decisions import Decisions
from MahtAILib.panel.drafts_state import DraftsState
from MahtAILib.panel.lease_state import LeaseState
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.save_section import SaveSection
from MahtAILib.panel.section import Keys, single_shot
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.task import Task
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.panel.worklist_section import WorkListSection
from MahtAILib.panel.worklist_state import WorkListState
from MahtAILib.scene.case_volumes import CaseRef

_TRY_AGAIN_MS = 20_000


class CasePanel:
    """Everything of the work list.

    Attributes:
        files: of cases, on this computer.

    Args:
        folder: of this user; holds the files of cases and the drafts.
        address: the server that is meant while there is no connection.
        show_views: brings the images of a case that was opened into the views.
        run: starts the model on the open case.
    """

    def __init__(
        self,
        scene: Any,
        background: Background,
        server: ServerState,
        settings: Settings,
        spool: Spool,
        versions: VersionsState,
        review: ReviewState,
        placing: CasePlacing,
        tasks: dict[str, Task],
        task: Callable[[], Task],
        address: Callable[[], str],
        show_views: Callable[[], None],
        run: Callable[[], None],
    ) -> None:
        folder: Path = settings.folder
        self._settings = settings
        self._server, self._versions, self._task, self._address = server, versions, task, address
        self._show_views, self._run = show_views, run
        self.files = CaseFiles(folder / "cases")
        source = CaseSource(self.files, tasks)
        self.placing = placing
        self.lease = LeaseState(background, server)
        self.ahead = CaseAhead(background, server, source)
        self.case = CaseState(background, server, source, self.ahead, placing, self.lease, task, self._url)
        self.drafts = DraftsState(background, folder / "drafts", server, task, placing.case)
        self.listed = WorkListState(background, server, source, lambda: task().id, self._url)
        self.comparison = ComparisonState(scene, background, spool, server, versions, review)
        self.decisions = Decisions(background, spool, server, task, versions, lambda: self.case.ref, self._submitted)
        versions.case_of_study = lambda: self.case.ref
        versions.session = lambda: self.drafts.session
        versions.saved.subscribe(self.drafts.saved)
        self.case.opened.subscribe(self._opened)
        self.decisions.decided.subscribe(self._decided)
        self._known_connection: Any = None
        self._begun: CaseRef | None = None
        self._try_again = single_shot(_TRY_AGAIN_MS, self._connect_again)
        server.changed.subscribe(self._server_changed)

    def make_sections(self, save: SaveSection, settings: Settings) -> None:
        """The section of the work list, and the part of the section Save with which versions are compared."""
        self.section = WorkListSection(
            self._server, self.listed, self.case, self.lease, self.drafts, self.decisions, save, self._task, settings
        )
        self.comparison_section = ComparisonSection(self.comparison, self._versions, self._server, save, self._task)
        save.ui.saveCollapsibleButton.layout().addWidget(self.comparison_section.widget)
        self._keys = Keys({**self.section.keys, **self.comparison_section.keys})

    def enter(self) -> None:
        """The panel is in front."""
        self._keys.take()
        if self.section.is_unfolded:
            self.section.list_again()

    def exit(self) -> None:
        """The panel is left."""
        self._keys.give_back()

    def scene_closing(self, tasks: tuple[Task, ...]) -> None:
        """The scene goes: what is not saved is kept as a draft, and the case is given back."""
        self.drafts.keep_before_closing(tasks)
        self._versions.tell(self.drafts.message, self.drafts.error)
        self.comparison.forget()
        self.case.scene_closed()
        self._begun = None

    def scene_replaced(self) -> None:
        """A scene was loaded; a case that was saved with it is open again."""
        ref, reader = self.case.ref, self._server.person.name
        if ref is not None and ref != self._begun:
            self.drafts.begin(ref)
            if reader:
                self.lease.hold(ref, None)
        self._begun = ref

    def before_leaving(self, then: Callable[[Callable[[Connection], None]], None]) -> None:
        """Somebody signs out: a draft is kept first; then the case is given back and fetched images are removed."""

        def last() -> None:
            lease, removes = self.lease.lease, self._settings.text("RemoveImages", "1") == "1"
            self.lease.forget()
            self.ahead.forget()

            def work(connection: Connection) -> None:
                if removes:
                    self.files.forget(connection.url)
                if lease is not None:
                    release(connection, lease)

            then(work)

        self.drafts.keep_if_edited(last)

    def close(self) -> None:
        """The panel goes away."""
        self.section.close()
        self._try_again.stop()
        self.drafts.stop()
        self.lease.forget()
        self.ahead.stop()

    def _opened(self) -> None:
        self.comparison.forget()
        self.section.forget_review()
        self._begun = self.case.ref
        self.drafts.begin(self._begun)
        self._show_views()
        case = self.case.case
        if case is not None and not case.label_count and self.section.wants_run and self._server.connection is not None:
            self._run()
        self.case.look_ahead(self.section.strategy)
        if self.section.is_unfolded:
            self.section.list_again()

    def _decided(self) -> None:
        self.section.forget_review()
        self.case.finished()
        if self.section.is_unfolded:
            self.section.list_again()

    def _server_changed(self) -> None:
        connection = self._server.connection
        if self._server.account is not None:
            self.drafts.reader_changed()
        if self._server.wanted is not None:
            self._try_again.stop()  # it is there; somebody has to sign in
        elif connection is None and self._known_connection is not None:
            self._try_again.start()
        if connection is not None and connection is not self._known_connection:
            self._known_connection = connection
            self._try_again.stop()
            self.lease.renew()
            if self.section.is_unfolded:
                self.section.list_again()
            if self.case.ref is not None:
                self.case.look_ahead(self.section.strategy)

    def _connect_again(self) -> None:
        """The server that was there is gone: it is asked now and then, so that nobody has to think of what waits."""
        is_gone = self._server.connection is None and self._server.wanted is None
        if is_gone and self._known_connection is not None:
            self._try_again.start()
            if not self._server.is_asking and self._address() == self._known_connection.url:
                self._server.connect(self._known_connection.url)

    def _submitted(self) -> str:
        return "" if self.case.case is None else self.case.case.submitted

    def _url(self) -> str:
        if self._server.connection is not None:
            return self._server.connection.url
        try:
            return clean_url(self._address())
        except BadAddressError:
            return ""
