"""Section Landmarks: the table, the doubtful ones, confirming, placing and removing, how the tracing is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MahtAILib.cephalometry import landmark_sets
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.landmarks_state import LandmarkRow, LandmarksState
from MahtAILib.panel.section import (
    Keys,
    Section,
    fill_choices,
    fit_height,
    fix_columns,
    prepare_table,
    quiet,
    say,
    show_layout,
    single_shot,
)
from MahtAILib.scene.landmarks import set_of
from MahtAILib.scene.layout import IMAGE_LAYOUT_ID, IMAGE_VIEW, register_image_layout
from MahtAILib.scene.parameters import Parameters

_MOST_ROWS = 12
_LOOK_MS = 250

_DOUBTFUL, _MISSING = "#d9730d", "#8a8a8a"


class LandmarksSection(Section):
    """Shows ``LandmarksState``."""

    def __init__(self, parameters: Callable[[], Parameters], image: ImageState, landmarks: LandmarksState) -> None:
        super().__init__("Landmarks")
        self._parameters = parameters
        self._image, self._landmarks = image, landmarks
        self._shown: list[LandmarkRow] = []
        ui = self.ui
        prepare_table(ui.landmarksTable)
        fix_columns(ui.landmarksTable, {1: "100 %", 2: "± 12.3", 3: "confirmed"})
        ui.imageViewButton.clicked.connect(lambda *_arguments: self.show_image())
        ui.setComboBox.connect("currentIndexChanged(int)", self._set_chosen)
        ui.undoButton.clicked.connect(lambda *_arguments: landmarks.step(back=True))
        ui.redoButton.clicked.connect(lambda *_arguments: landmarks.step(back=False))
        ui.nextButton.clicked.connect(lambda *_arguments: landmarks.go(1))
        ui.previousButton.clicked.connect(lambda *_arguments: landmarks.go(-1))
        ui.confirmButton.clicked.connect(lambda *_arguments: landmarks.confirm_and_go())
        ui.placeButton.clicked.connect(lambda *_arguments: self._place())
        ui.clearButton.clicked.connect(lambda *_arguments: landmarks.clear(landmarks.selected))
        ui.landmarksTable.connect("cellClicked(int,int)", self._row_clicked)
        for name, box in self._boxes.items():
            box.connect("toggled(bool)", self._box_toggler(name))
        self._keys = Keys(
            {
                "Ctrl+Right": lambda: landmarks.go(1),
                "Ctrl+Left": lambda: landmarks.go(-1),
                "Ctrl+Down": landmarks.confirm_and_go,
                "Z": lambda: landmarks.step(back=True),
                "Y": lambda: landmarks.step(back=False),
                "Esc": landmarks.stop_placing,
            }
        )
        self._is_open = False
        self._came_unseen = False
        self._look_again = single_shot(_LOOK_MS, self._look)
        # in a turn of its own, so that Slicer is not held up by both
        self._show_soon = single_shot(0, self._show_what_arrived)
        self.show_image_soon = single_shot(0, self.show_image)
        landmarks.changed.subscribe(self.refresh)
        landmarks.arrived.subscribe(self._show_soon.start)

    @property
    def _boxes(self) -> dict[str, Any]:
        ui = self.ui
        return {
            "show_circles": ui.circlesCheckBox,
            "show_planes": ui.planesCheckBox,
            "show_angles": ui.anglesCheckBox,
        }

    def enter(self) -> None:
        """The section is in front: its keys work, and what came meanwhile is shown."""
        self._is_open = True
        self._keys.take()
        if self._came_unseen:
            self._show_soon.start()

    def exit(self) -> None:
        """The section is left: its keys are given back."""
        self._is_open = False
        self._keys.give_back()

    def close(self) -> None:
        """The panel goes away."""
        self._look_again.stop()
        self._show_soon.stop()
        self.show_image_soon.stop()

    def refresh(self) -> None:
        """Show how things stand."""
        ui, landmarks, has_image = self.ui, self._landmarks, self._image.node is not None
        sets = [(one.id, one.name) for one in landmark_sets().values()]
        fill_choices(ui.setComboBox, sets, set_of(landmarks.node))
        ui.setComboBox.enabled = ui.imageViewButton.enabled = has_image
        for name, box in self._boxes.items():
            with quiet(box):
                box.checked = self._parameters().get(name) == "1"
        self._show_banner()
        self._show_rows(landmarks.rows() if has_image or landmarks.node is not None else [])
        self._show_doubt()
        selected = next((row for row in self._shown if row.id == landmarks.selected), None)
        ui.placeButton.enabled = has_image and selected is not None and not landmarks.is_placing()
        ui.clearButton.enabled = selected is not None and selected.is_placed
        ui.confirmButton.enabled = selected is not None and selected.about.state == "ai"
        ui.undoButton.enabled, ui.redoButton.enabled = landmarks.can_undo, landmarks.can_redo
        say(ui.landmarkStateLabel, self._words(selected))

    def show_image(self) -> None:
        """Choose the layout with one large view, and bring the whole image into it, upright."""
        manager = show_layout(register_image_layout)
        if manager is None:
            return
        self._image.show()
        widget = manager.sliceWidget(IMAGE_VIEW.tag)
        if widget is not None:
            widget.fitSliceToBackground()

    def _show_what_arrived(self) -> None:
        """The image and the first doubtful landmark; not while the reader is in another module."""
        self._came_unseen = not self._is_open
        if self._came_unseen:
            return
        manager = slicer.app.layoutManager()
        if manager is None or manager.layout != IMAGE_LAYOUT_ID:
            self.show_image()

    def _show_banner(self) -> None:
        reasons = self._landmarks.indeterminate
        words = _("⚠ Indeterminate: do not measure by these landmarks before you have checked each. {reasons}")
        say(self.ui.bannerLabel, words.format(reasons=" ".join(reasons)) if reasons else "")

    def _show_rows(self, rows: list[LandmarkRow]) -> None:
        """Only what differs from what is shown is written: a table made anew would lose the reader's place."""
        table = self.ui.landmarksTable
        with quiet(table):
            if len(rows) != len(self._shown):
                table.setRowCount(len(rows))
                self._shown = []
            mm_per_unit = self._image.mm_per_unit
            for number, row in enumerate(rows):
                cells = landmark_cells(row, mm_per_unit)
                if table.item(number, 0) is None:
                    for column in range(4):
                        table.setItem(number, column, qt.QTableWidgetItem(""))
                        if column:
                            table.item(number, column).setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                for column, text in enumerate(cells):
                    item = table.item(number, column)
                    if item.text() != text:
                        item.setText(text)
                if number >= len(self._shown) or self._shown[number] != row:
                    self._dress(number, row)
            self._shown = rows
            ids = [row.id for row in rows]
            if self._landmarks.selected in ids:
                table.setCurrentCell(ids.index(self._landmarks.selected), 0)
            else:
                table.clearSelection()
            fit_height(table, _MOST_ROWS)

    def _dress(self, number: int, row: LandmarkRow) -> None:
        """The definition as a tool-tip, doubtful and missing ones in their colour."""
        color = _DOUBTFUL if row.is_placed and row.about.is_doubtful else "" if row.is_placed else _MISSING
        brush = qt.QBrush(qt.QColor(color)) if color else qt.QBrush()
        tip = f"{row.id}: {row.name}. {row.definition}"
        if row.about.flag:
            tip += "\n⚠ " + row.about.flag
        for column in range(4):
            item = self.ui.landmarksTable.item(number, column)
            item.setForeground(brush)
            item.setToolTip(tip)

    def _show_doubt(self) -> None:
        ui, landmarks = self.ui, self._landmarks
        stations = landmarks.doubtful()
        ui.nextButton.enabled = ui.previousButton.enabled = bool(stations)
        if not stations:
            ui.doubtLabel.setText(_("none") if landmarks.node is not None else _("–"))
        elif landmarks.selected in stations:
            position = stations.index(landmarks.selected) + 1
            words = _("{number} of {count}: {name}")
            ui.doubtLabel.setText(words.format(number=position, count=len(stations), name=landmarks.selected))
        else:
            ui.doubtLabel.setText(_("{count}").format(count=len(stations)))

    def _words(self, selected: LandmarkRow | None) -> str:
        if self._landmarks.is_placing() and selected is not None and not selected.is_placed:
            return _("Click in the image where {name} lies (Esc to stop). {definition}").format(
                name=selected.name, definition=selected.definition
            )
        if self._landmarks.refused:
            return self._landmarks.refused
        if selected is None:
            return ""
        flag = f" ⚠ {selected.about.flag}" if selected.about.is_doubtful and selected.about.flag else ""
        return f"{selected.name}: {selected.definition}{flag}"

    def _place(self) -> None:
        self._landmarks.place(self._landmarks.selected)
        self._look_again.start()

    def _look(self) -> None:
        """Whether the point is placed by now, or the reader stopped: Slicer does not tell."""
        if self._landmarks.is_placing():
            self._look_again.start()
        else:
            self.refresh()

    def _row_clicked(self, row: int, _column: int = 0) -> None:
        if 0 <= row < len(self._shown):
            self._landmarks.select(self._shown[row].id)

    def _set_chosen(self, *_arguments: object) -> None:
        self._landmarks.choose_set(str(self.ui.setComboBox.currentData))
        self.refresh()

    def _box_toggler(self, name: str) -> Callable[[bool], None]:
        def toggled(checked: bool) -> None:
            self._parameters().set(name, "1" if checked else "0")
            self._landmarks.measure()

        return toggled


def landmark_cells(row: LandmarkRow, mm_per_unit: float | None) -> tuple[str, str, str, str]:
    """Name, confidence, radius of the 90 % circle in mm, and state."""
    states = {
        "ai": _("AI"),
        "moved": _("moved"),
        "confirmed": _("confirmed"),
        "manual": _("by hand"),
        "missing": _("missing"),
    }
    about = row.about
    marked = row.is_placed and about.is_doubtful
    name = f"{'⚠ ' if marked else ''}{row.id}  {row.name}"
    if not row.is_placed:
        return name, "–", "–", states["missing"]
    sure = "–" if about.confidence is None or about.state not in ("ai", "confirmed") else f"{about.confidence:.0%}"
    radius = "–" if about.radius is None or mm_per_unit is None else f"{about.radius * mm_per_unit:.1f}"
    return name, sure, radius, states[about.state]
