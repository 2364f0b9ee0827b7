"""Part of section Save: two versions side by side, bringing one back, merging two."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slicer.i18n import tr as _

from MahtAILib.client.cases import LabelVersion
from MahtAILib.client.comparison import Comparison, Part
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.comparison_state import ComparisonState
from MahtAILib.panel.permitted import Permitted
from MahtAILib.panel.save_section import SaveSection
from MahtAILib.panel.section import Section, fill_table, prepare_table, quiet, say
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.task import Task
from MahtAILib.panel.versions_state import VersionsState


class ComparisonSection(Section):
    """Shows ``ComparisonState`` under the list of versions."""

    def __init__(
        self,
        comparison: ComparisonState,
        versions: VersionsState,
        server: ServerState,
        save: SaveSection,
        task: Callable[[], Task],
    ) -> None:
        super().__init__("Comparison")
        self._comparison = comparison
        self._versions = versions
        self._server = server
        self._save = save
        self._task = task
        self._problem: ExplainedError | None = None
        ui = self.ui
        self._restore = Permitted(server, ui.restoreButton, "labels.write")
        self._merge = Permitted(server, ui.mergeButton, "labels.write")
        prepare_table(ui.comparisonTable)
        ui.compareButton.clicked.connect(self.compare)
        ui.restoreButton.clicked.connect(self.restore)
        ui.mergeButton.clicked.connect(self.merge)
        ui.endComparisonButton.clicked.connect(lambda *_arguments: comparison.end())
        ui.comparisonTable.connect("cellActivated(int,int)", self._turn)
        for topic in (comparison.changed, save.selection_changed, server.changed):
            topic.subscribe(self.refresh)
        self.refresh()

    @property
    def keys(self) -> dict[str, Callable[[], None]]:
        """Key → what it does."""
        return {"Ctrl+Shift+K": self.compare_or_end, "Ctrl+Shift+B": self.restore, "Ctrl+Shift+M": self.merge}

    def refresh(self) -> None:
        """Show how things stand."""
        ui, state = self.ui, self._comparison
        can_ask = self._server.connection is not None and not state.is_busy and not self._versions.is_busy
        pair = self._pair()
        ui.compareButton.enabled = can_ask and pair is not None
        self._restore.enable(can_ask and self._save.selected() is not None)
        found = state.comparison
        ui.mergeButton.setVisible(found is not None)
        self._merge.enable(can_ask and found is not None)
        ui.endComparisonButton.setVisible(found is not None)
        with quiet(ui.comparisonTable):
            row = ui.comparisonTable.currentRow()
            fill_table(ui.comparisonTable, [] if found is None else rows(found, state.take))
            if found is not None and row >= 0:
                ui.comparisonTable.setCurrentCell(row, 0)
        say(ui.comparisonLabel, state.message, self._problem or state.error)

    def compare_or_end(self) -> None:
        """The key: show, or take away again."""
        if self._comparison.comparison is not None:
            self._comparison.end()
        else:
            self.compare()

    def compare(self, *_arguments: object) -> None:
        """The reader pressed Compare."""
        pair = self._pair()
        if pair is not None:
            self._try(lambda: self._comparison.compare(*pair, self._task()))

    def restore(self, *_arguments: object) -> None:
        """The reader pressed Restore."""
        version = self._save.selected()
        if version is not None:
            self._try(lambda: self._comparison.restore(version, self._save.remark()))

    def merge(self, *_arguments: object) -> None:
        """The reader pressed Merge."""
        if self._comparison.comparison is not None:
            self._try(lambda: self._comparison.merge(self._save.remark()))

    def _pair(self) -> tuple[LabelVersion, LabelVersion] | None:
        """The version that is worked on, and the selected one, or where that is the same one, what it was made from.

        Without a selection: the one that somebody else saved of the same parent.
        """
        listed = {version.id: version for version in self._versions.versions}
        provenance = self._task().provenance
        mine = listed.get("" if provenance is None else provenance.version)
        if mine is None:
            return None
        chosen = self._save.selected() or listed.get(self._versions.sibling or mine.sibling_of or "")
        if chosen is None or chosen.id == mine.id:
            chosen = listed.get(self._versions.sibling or mine.sibling_of or "") or listed.get(mine.parent or "")
        return None if chosen is None else (mine, chosen)

    def _turn(self, row: int, _column: int) -> None:
        found = self._comparison.comparison
        if found is not None and 0 <= row < len(found.parts):
            self._comparison.turn(found.parts[row].id)

    def _try(self, action: Callable[[], None]) -> None:
        self._problem = None
        try:
            action()
        except ExplainedError as error:
            self._problem = error
        self.refresh()


def rows(found: Comparison, take: Mapping[str, str]) -> list[tuple[str, ...]]:
    """A line a segment or landmark."""
    sides = {"first": _("yours"), "second": _("theirs")}
    return [
        (part.name, _ml(part.first_ml), _ml(part.second_ml), _agreement(part, found.unit), sides[take[part.id]])
        for part in found.parts
    ]


def _ml(volume: float | None) -> str:
    return "–" if volume is None else _("{volume:.2f} ml").format(volume=volume)


def _agreement(part: Part, unit: str) -> str:
    if part.agreement is None:
        return "–"
    return f"{part.agreement:.1f} {unit}" if unit else f"{part.agreement:.3f}"
