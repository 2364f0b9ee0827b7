"""Section Review: the four views, doubtful places, Slicer's segment editor, the volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MahtAILib.panel.correction_section import KEY, CorrectionSection
from MahtAILib.panel.correction_state import CorrectionState
from MahtAILib.panel.review_state import ReviewState, VolumeRow
from MahtAILib.panel.section import (
    Keys,
    Section,
    fill_choices,
    fill_table,
    prepare_table,
    quiet,
    show_layout,
    single_shot,
)
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.study_state import StudyState
from MahtAILib.scene import views
from MahtAILib.scene.editing import UNDO_STEPS, editor_node
from MahtAILib.scene.layout import LAYOUT_ID, VIEWS, register_layout
from MahtAILib.scene.parameters import Parameters

_TABLE_DELAY_MS = 300
"""Volumes are counted this long after the last edit, not during a stroke."""

_EFFECTS = [
    "Paint",
    "Erase",
    "Draw",
    "Scissors",
    "Islands",
    "Threshold",
    "Level tracing",
    "Grow from seeds",
    "Fill between slices",
    "Margin",
    "Smoothing",
]


class ReviewSection(Section):
    """Shows ``ReviewState`` and holds the segment editor.

    Attributes:
        correction: the part with the local correction, above the segment editor.
    """

    def __init__(
        self,
        scene: Any,
        parameters: Callable[[], Parameters],
        study: StudyState,
        review: ReviewState,
        correction: CorrectionState,
        server: ServerState,
    ) -> None:
        super().__init__("Review")
        self._scene = scene
        self._parameters = parameters
        self._study, self._review = study, review
        ui = self.ui
        self._editor = ui.segmentEditorWidget
        self._edited_node: Any = None
        self._set_up_editor()
        self.correction = CorrectionSection(correction, review, server)
        column = ui.reviewCollapsibleButton.layout()
        column.insertWidget(column.indexOf(self._editor), self.correction.widget)
        review.save_state = self._save_state
        prepare_table(ui.volumesTable)
        ui.segmentationSelector.connect("nodeActivated(vtkMRMLNode*)", self._review.choose)
        ui.layoutButton.clicked.connect(self.show_views)
        ui.fillCheckBox.connect("toggled(bool)", self._fill_toggled)
        ui.lineUpCheckBox.connect("toggled(bool)", self._line_up_toggled)
        ui.opacitySlider.connect("valueChanged(double)", self._opacity_changed)
        ui.doubtComboBox.connect("currentIndexChanged(int)", self._doubt_chosen)
        ui.nextButton.clicked.connect(lambda *_arguments: self._review.go(1))
        ui.previousButton.clicked.connect(lambda *_arguments: self._review.go(-1))
        self._count_later = single_shot(_TABLE_DELAY_MS, self._show_volumes)
        self._keys = Keys({"Ctrl+Right": self._goer(1), "Ctrl+Left": self._goer(-1), KEY: self.correction.start})
        self._is_open = False
        self._came_unseen = False
        review.changed.subscribe(self.refresh)
        review.edited.subscribe(self._count_later.start)
        # in a turn of its own, so that Slicer is not held up by both
        self._show_soon = single_shot(0, self._show_what_arrived)
        review.arrived.subscribe(self._show_soon.start)
        self._preview_soon = single_shot(0, self._show_preview)
        review.previewed.subscribe(self._preview_soon.start)

    def enter(self) -> None:
        """The panel is in front: its keys work, and what came meanwhile is shown."""
        self._is_open = True
        self.give_editor_node()
        self._editor.setupViewObservations()
        self._editor.installKeyboardShortcuts()
        self._keys.take()
        if self._came_unseen:
            self._show_soon.start()

    def exit(self) -> None:
        """The panel is left: its keys are given back, and no effect stays active unseen."""
        self._editor.setActiveEffectByName("")
        self._editor.uninstallKeyboardShortcuts()
        self._editor.removeViewObservations()
        self._keys.give_back()
        self._is_open = False
        self._review.remove_mark()

    def close(self) -> None:
        """The panel goes away."""
        self._count_later.stop()
        self._show_soon.stop()
        self._preview_soon.stop()

    def give_editor_node(self) -> None:
        """The segment editor needs a node of the present scene."""
        self._editor.setMRMLSegmentEditorNode(editor_node(self._scene))

    def refresh(self) -> None:
        """Show how things stand."""
        ui, parameters = self.ui, self._parameters()
        node = self._review.node
        with quiet(ui.segmentationSelector):
            ui.segmentationSelector.setCurrentNode(node)
        with quiet(ui.fillCheckBox):
            ui.fillCheckBox.checked = parameters.get("fill") == "1"
        with quiet(ui.lineUpCheckBox):
            ui.lineUpCheckBox.checked = parameters.get("line_up") == "1"
        provenance = self._review.provenance
        ui.lineUpCheckBox.setVisible(provenance is not None and bool(provenance.registration))
        with quiet(ui.opacitySlider):
            ui.opacitySlider.value = float(parameters.get("opacity"))
        self._show_doubt()
        self._point_editor(node)
        self._show_volumes()

    def show_views(self, *_arguments: object) -> None:
        """Choose the layout, fill it, and bring the whole head into view."""
        manager = show_layout(register_layout)
        if manager is None:
            return
        self._study.show()
        self._study.face_views()
        leader = next((view for view in VIEWS if self._study.volume(view.slot) is not None), VIEWS[0])
        widget = manager.sliceWidget(leader.tag)
        if widget is not None:
            widget.fitSliceToBackground()
            views.follow(self._scene, leader)

    def _show_what_arrived(self) -> None:
        """Four views and the first doubtful place; not while the reader is in another module."""
        self._came_unseen = not self._is_open
        if self._came_unseen:
            return
        self._fill_views()
        if self._review.position < 0:
            self._review.go(1)

    def _show_preview(self) -> None:
        """Four views and the middle of what the preview found."""
        if self._is_open:
            self._fill_views()
            if self._review.preview_ras_mm is not None:
                views.jump(self._scene, self._review.preview_ras_mm)

    def _fill_views(self) -> None:
        manager = slicer.app.layoutManager()
        if manager is not None and manager.layout == LAYOUT_ID:
            self._study.show()
        else:
            self.show_views()

    def _set_up_editor(self) -> None:
        editor = self._editor
        editor.setEffectNameOrder(_EFFECTS)
        editor.unorderedEffectsVisible = False
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        editor.setUndoEnabled(True)
        editor.setMaximumNumberOfUndoStates(UNDO_STEPS)
        # filling the views is left to the four-up layout
        editor.setAutoShowSourceVolumeNode(False)

    def _point_editor(self, node: Any) -> None:
        """Give the editor the segmentation; the source volume stays the one that the reader chose."""
        self.give_editor_node()
        is_new = node is not self._edited_node
        self._edited_node = node
        self._editor.setSegmentationNode(node)
        reference = self._study.reference()
        if node is not None and reference is not None and (is_new or self._editor.sourceVolumeNode() is None):
            self._editor.setSourceVolumeNode(reference)

    def _save_state(self, node: Any) -> None:
        """The next change of this node becomes one step of undo."""
        self._point_editor(node)
        self._editor.saveStateForUndo()

    def _show_doubt(self) -> None:
        ui, review = self.ui, self._review
        kinds = [("places", _("places")), ("slices", _("slices"))]
        fill_choices(ui.doubtComboBox, kinds, self._parameters().get("doubt"))
        stations = review.stations()
        ui.nextButton.enabled = ui.previousButton.enabled = bool(stations)
        if not stations:
            ui.doubtLabel.setText(_("none known"))
        elif review.position < 0:
            ui.doubtLabel.setText(_("{count}").format(count=len(stations)))
        else:
            place = stations[review.position]
            ui.doubtLabel.setText(
                _("{number} of {count}: {size:.1f} ml").format(
                    number=review.position + 1, count=len(stations), size=place.size_ml
                )
            )

    def _show_volumes(self) -> None:
        fill_table(self.ui.volumesTable, [volume_cells(row) for row in self._review.volume_rows()])

    def _fill_toggled(self, filled: bool) -> None:
        self._parameters().set("fill", "1" if filled else "0")
        self._review.show()

    def _line_up_toggled(self, wanted: bool) -> None:
        self._parameters().set("line_up", "1" if wanted else "0")
        self._review.line_up()

    def _opacity_changed(self, opacity: float) -> None:
        self._parameters().set("opacity", f"{opacity:.2f}")
        self._review.show()

    def _doubt_chosen(self, *_arguments: object) -> None:
        self._parameters().set("doubt", str(self.ui.doubtComboBox.currentData))
        self._review.position = -1
        self._show_doubt()

    def _goer(self, step: int) -> Callable[[], None]:
        return lambda: self._review.go(step)


def volume_cells(row: VolumeRow) -> tuple[str, str, str, str]:
    """Name, proposed, now, change in percent; what is indeterminate is called so."""
    if row.proposed_ml is None:
        return row.name, "–", f"{row.now_ml:.2f}", "–"
    if row.is_indeterminate:
        name = _("{name}, indeterminate ⚠").format(name=row.name)
        return name, f"({row.proposed_ml:.2f})", f"{row.now_ml:.2f}", "–"
    if row.proposed_ml == 0:
        change = "0 %" if row.now_ml == 0 else _("new")
    else:
        change = f"{100 * (row.now_ml / row.proposed_ml - 1):+.1f} %".replace("+0.0 %", "0 %").replace("-0.0 %", "0 %")
    return row.name, f"{row.proposed_ml:.2f}", f"{row.now_ml:.2f}", change
