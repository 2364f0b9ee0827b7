"""Section Measurements: the table that follows the mouse, the chart against the norm, an earlier tracing, exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MahtAILib.cephalometry import Result, chart
from MahtAILib.panel.landmarks_state import LandmarksState
from MahtAILib.panel.measurement_export import norm_words
from MahtAILib.panel.overlay_state import OverlayState
from MahtAILib.panel.section import (
    Section,
    fill_choices,
    fit_height,
    fix_columns,
    prepare_table,
    quiet,
    say,
    single_shot,
)
from MahtAILib.panel.wiggle_chart import color_of, draw_chart, png_of
from MahtAILib.scene.parameters import Parameters

_MOST_ROWS = 16
_COLUMNS = 4
_CHART_DELAY_MS = 120
"""The chart is drawn this long after the last move, not during a drag."""


class MeasurementsSection(Section):
    """Shows the evaluation of ``LandmarksState``.

    Args:
        exports: button's object name → what it does.
    """

    def __init__(
        self,
        parameters: Callable[[], Parameters],
        landmarks: LandmarksState,
        overlay: OverlayState,
        exports: dict[str, Callable[[], None]],
    ) -> None:
        super().__init__("Measurements")
        self._parameters = parameters
        self._landmarks, self._overlay = landmarks, overlay
        self._shown: list[str] = []
        self._texts: dict[tuple[int, int], str] = {}
        ui = self.ui
        prepare_table(ui.measurementsTable)
        fix_columns(ui.measurementsTable, {1: "−12.3 ±12.3 mm", 2: "123.0 ± 5.0"})
        self._draw_soon = single_shot(_CHART_DELAY_MS, self._draw_if_seen)
        self._rows_soon = single_shot(0, self._make_rows)
        self._names = {one.id: one.name for one in landmarks.live.analyses}
        fill_choices(ui.sexComboBox, [("", _("both sexes")), ("female", _("women")), ("male", _("men"))], "")
        ui.analysisComboBox.connect("currentIndexChanged(int)", self._analysis_chosen)
        ui.sexComboBox.connect("currentIndexChanged(int)", self._patient_changed)
        ui.ageSpinBox.connect("valueChanged(int)", self._patient_changed)
        ui.chartGroupBox.connect("toggled(bool)", lambda *_arguments: self._draw_soon.start())
        ui.earlierComboBox.connect("currentIndexChanged(int)", self._earlier_chosen)
        for name, export in exports.items():
            getattr(ui, name).clicked.connect(_slot(export))
        landmarks.changed.subscribe(self.refresh)
        landmarks.moved.subscribe(self.follow)
        overlay.changed.subscribe(self._show_overlay)

    def close(self) -> None:
        """The panel goes away."""
        self._draw_soon.stop()
        self._rows_soon.stop()

    def refresh(self) -> None:
        """Show how things stand."""
        ui, parameters = self.ui, self._parameters()
        choices = [("", _("All analyses")), *self._names.items()]
        fill_choices(ui.analysisComboBox, choices, parameters.get("analysis"))
        with quiet(ui.sexComboBox):
            ui.sexComboBox.setCurrentIndex(max(ui.sexComboBox.findData(parameters.get("sex")), 0))
        with quiet(ui.ageSpinBox):
            ui.ageSpinBox.value = int(parameters.get("age") or 0)
        self._show_overlay()
        self.follow()

    def follow(self) -> None:
        """Show the values as they are now; called at each move of a landmark."""
        evaluation, results = self._landmarks.live.evaluation, self._results()
        has_points = bool(results) and any(result.value is not None for result in results)
        uncalibrated = has_points and evaluation is not None and evaluation.mm_per_unit is None
        words = _("Not calibrated: angles and ratios only. Calibrate in the section Cephalogram.")
        self._say_if_new(self.ui.uncalibratedLabel, words if uncalibrated else "")
        notes = evaluation.notes if evaluation is not None and has_points else ()
        told = " ".join(note for note in notes if "calibrat" not in note)
        own = self._landmarks.live.error
        self._say_if_new(self.ui.measurementsStateLabel, f"⚠ {own}" if own is not None else told)
        self._show_results(results)
        self._draw_soon.start()

    def _results(self) -> list[Result]:
        """Of the chosen analysis, or of all."""
        evaluation = self._landmarks.live.evaluation
        chosen = self._parameters().get("analysis")
        results = () if evaluation is None else evaluation.results
        return [result for result in results if chosen in ("", result.measurement.analysis)]

    def chart_picture(self, scale: int = 1) -> Any:
        """The chart of the chosen analysis, in the colours of the panel, or for paper."""
        evaluation = self._landmarks.live.evaluation
        chosen = self._parameters().get("analysis") or None
        rows = () if evaluation is None else chart(evaluation, chosen)
        is_dark = scale == 1 and self.widget.palette.color(qt.QPalette.Window).lightness() < 128
        width = max(self.widget.width - 56, 340) if scale == 1 else 560
        return draw_chart(rows, self._names, width, is_dark, scale)

    def _show_results(self, results: list[Result]) -> None:
        """Write only what changed: this runs while the mouse moves."""
        rows = self._rows(results)
        if [key for key, _result in rows] != self._shown:
            self._rows_soon.start()
            return
        with quiet(self.ui.measurementsTable):
            for number, (_key, result) in enumerate(rows):
                if result is not None:
                    self._show_result(number, result)

    def _rows(self, results: list[Result]) -> list[tuple[str, Result | None]]:
        """A heading before each analysis where there are several."""
        rows: list[tuple[str, Result | None]] = []
        analyses = dict.fromkeys(result.measurement.analysis for result in results)
        for analysis in analyses:
            if len(analyses) > 1:
                rows.append((analysis, None))
            rows += [(one.measurement.id, one) for one in results if one.measurement.analysis == analysis]
        return rows

    def _make_rows(self) -> None:
        """Other measurements than those in the table: its rows are made anew, in a turn of their own."""
        table, rows = self.ui.measurementsTable, self._rows(self._results())
        with quiet(table):
            table.clearSpans()
            table.setRowCount(0)
            table.setRowCount(len(rows))
            self._name_rows(table, rows)
        self._shown, self._texts = [key for key, _result in rows], {}
        self._show_results(self._results())
        fit_height(table, _MOST_ROWS)

    def _name_rows(self, table: Any, rows: list[tuple[str, Result | None]]) -> None:
        for number, (key, result) in enumerate(rows):
            for column in range(_COLUMNS):
                item = qt.QTableWidgetItem("")
                if column in (1, 2):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(number, column, item)
            first = table.item(number, 0)
            if result is None:
                font = first.font()
                font.setBold(True)
                first.setFont(font)
                first.setText(self._names.get(key, key))
                table.setSpan(number, 0, 1, _COLUMNS)
            else:
                first.setText(result.measurement.name)
                first.setToolTip(measurement_tip(result))

    def _show_result(self, number: int, result: Result) -> None:
        table = self.ui.measurementsTable
        cells = result_cells(result, is_trusted=not self._landmarks.indeterminate)
        for column, text in enumerate(cells, start=1):
            if self._texts.get((number, column)) == text:
                continue
            self._texts[number, column] = text
            item = table.item(number, column)
            item.setText(text)
            if column == 3:
                away = deviation_of(result)
                item.setForeground(qt.QBrush(qt.QColor(color_of(away))) if away is not None else qt.QBrush())
                item.setToolTip(result.note or text)
            elif column == 1:
                item.setToolTip(value_tip(result))

    def draw_chart(self) -> None:
        """Show the chart as the values are now."""
        pixmap = qt.QPixmap()
        pixmap.loadFromData(png_of(self.chart_picture()))
        self.ui.chartLabel.setPixmap(pixmap)

    def _draw_if_seen(self) -> None:
        if not self.ui.chartGroupBox.collapsed and not self.widget.isHidden():
            self.draw_chart()

    def _show_overlay(self) -> None:
        choices = [("", _("nothing")), *self._overlay.choices()]
        fill_choices(self.ui.earlierComboBox, choices, self._overlay.chosen)
        self.ui.earlierComboBox.enabled = len(choices) > 1
        say(self.ui.earlierLabel, self._overlay.words(), self._overlay.error)

    def _say_if_new(self, label: Any, text: str) -> None:
        """A label that is set anew makes the whole panel lay itself out, which takes longer than a move may."""
        if label.text != text or label.isHidden() == bool(text):
            say(label, text)

    def _analysis_chosen(self, *_arguments: object) -> None:
        self._parameters().set("analysis", str(self.ui.analysisComboBox.currentData))
        self.follow()

    def _patient_changed(self, *_arguments: object) -> None:
        age = int(self.ui.ageSpinBox.value)
        self._parameters().set("sex", str(self.ui.sexComboBox.currentData))
        self._parameters().set("age", str(age) if age else "")
        self._landmarks.measure()
        self._make_rows()  # the norms in the tool-tips are others
        self.follow()

    def _earlier_chosen(self, *_arguments: object) -> None:
        self._overlay.choose(str(self.ui.earlierComboBox.currentData))


def result_cells(result: Result, is_trusted: bool = True) -> tuple[str, str, str]:
    """Value with its 90 % interval, norm, and class or what is missing.

    Args:
        is_trusted: whether the points are of an image that the model understood, or were checked by the reader.
    """
    places, text = result.measurement.decimals, result.text
    if result.low is not None and result.high is not None and result.value is not None:
        unit = text.lstrip("−0123456789.")
        half = (result.high - result.low) / 2
        lies_in_the_middle = abs(result.value - (result.low + half)) <= 0.1 * half + 10**-places
        spread = f"±{half:.{places}f}{unit}" if lies_in_the_middle else f"({result.interval_text})"
        text = f"{text.removesuffix(unit)} {spread}"
    norm = norm_words(result.norm, places).replace(" to ", "–")
    if result.missing:
        said = _("lacks {names}").format(names=", ".join(result.missing))
    elif result.needs_calibration:
        said = _("needs calibration")
    elif not is_trusted:
        said = _("check the points")
    else:
        said = result.classification or ""
        if result.borderline and said:
            said = f"{said} ?"
    return text, norm, said


def deviation_of(result: Result) -> float | None:
    """Standard deviations from the norm; of a norm that is a range, 0 within it and 1.5 outside."""
    norm, value = result.norm, result.value
    if result.deviation_sd is not None or norm is None or value is None or norm.low is None or norm.high is None:
        return result.deviation_sd
    return 0.0 if norm.low <= value <= norm.high else 1.5


def value_tip(result: Result) -> str:
    """The interval in full, and how far the value lies from the norm."""
    parts = []
    if result.interval_text:
        parts.append(_("90 % interval: {interval}").format(interval=result.interval_text))
    if result.deviation_sd is not None:
        words = f"{result.deviation_sd:+.1f}".replace("-", "−")
        parts.append(_("{deviation} standard deviations from the norm").format(deviation=words))
    return "\n".join(parts)


def measurement_tip(result: Result) -> str:
    """What is measured, how its sign is meant, and whose the norm is."""
    measurement, norm = result.measurement, result.norm
    parts = [f"{measurement.name}: {measurement.definition}"]
    if measurement.published_as:
        parts.append(_("Published as “{name}”.").format(name=measurement.published_as))
    if measurement.sign:
        parts.append(measurement.sign)
    if norm is not None:
        whom = ", ".join(part for part in (norm.sex if norm.sex != "any" else "", norm.age, norm.population) if part)
        parts.append(_("Norm: {words} ({whom}). {source}").format(
            words=norm_words(norm, measurement.decimals), whom=whom, source=norm.source
        ))  # fmt: skip
    return "\n".join(parts)


def _slot(do: Callable[[], None]) -> Callable[..., None]:
    return lambda *_arguments: do()
