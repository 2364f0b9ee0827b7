"""Files for others: the landmarks, the table, the tracing and the chart, each where the reader wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from MahtAILib.cephalometry import tracing
from MahtAILib.client.markups import encode_markups
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.landmarks_state import LandmarksState
from MahtAILib.panel.measurement_export import table_csv
from MahtAILib.panel.tracing_picture import Picture, draw_tracing
from MahtAILib.panel.wiggle_chart import png_of
from MahtAILib.scene.landmarks import take_points


class LandmarkExports:
    """Asks for a file's name and writes it.

    Args:
        chart: draws the chart for paper.
        say: told what became of it.
    """

    def __init__(
        self,
        background: Background,
        image: ImageState,
        landmarks: LandmarksState,
        chart: Callable[[], Any],
        say: Callable[[str, ExplainedError | None], None],
    ) -> None:
        self._background = background
        self._image, self._landmarks = image, landmarks
        self._chart, self._say = chart, say

    def slots(self) -> dict[str, Callable[[], None]]:
        """Button's object name → what it does."""
        return {
            "exportPointsButton": self.points,
            "exportTableButton": self.table,
            "exportTracingButton": self.tracing,
            "exportChartButton": self.chart,
        }

    def points(self) -> None:
        """The landmarks as ``.mrk.json``."""
        if self._is_ready():
            file = take_points(self._landmarks.node, self._image.mm_per_unit, self._provenance())
            self._write(_("Landmarks"), ".mrk.json", lambda: encode_markups(file))

    def table(self) -> None:
        """Landmarks and measurements as ``.csv``."""
        evaluation = self._landmarks.live.evaluation
        if self._is_ready() and evaluation is not None:
            file = take_points(self._landmarks.node, self._image.mm_per_unit, self._provenance())
            analyses = self._landmarks.live.analyses
            there = {key: point.tolist() for key, point in self._landmarks.plane_points().items()}
            # with a mark of its encoding, or spreadsheets take it for another
            self._write(
                _("Table"), ".csv", lambda: ("\ufeff" + table_csv(file, evaluation, there, analyses)).encode("utf-8")
            )

    def tracing(self) -> None:
        """The image with its tracing as ``.png``."""
        landmarks, plane = self._landmarks, self._image.plane()
        if not self._is_ready() or landmarks.live.drawing is None or plane is None:
            return
        try:
            taken = self._image.take().taken
        except ExplainedError as error:
            self._say("", error)
            return
        laid = landmarks.live.superimposition
        picture = Picture(
            np.asarray(taken.array[:, :, 0].T),
            plane.spacing,
            landmarks.plane_points(),
            landmarks.live.drawing,
            tracing(laid.points) if laid is not None and laid.points else None,
            self._caption(),
        )
        self._write(_("Tracing"), ".png", lambda: png_of(draw_tracing(picture)))

    def chart(self) -> None:
        """The chart against the norm as ``.png``."""
        if self._is_ready():
            picture = self._chart()
            self._write(_("Chart"), ".png", lambda: png_of(picture))

    def _caption(self) -> tuple[str, ...]:
        provenance = self._landmarks.provenance
        lines = []
        if provenance is not None and provenance.model:
            lines.append(_("Landmarks: {model}, {status}").format(model=provenance.model, status=provenance.status))
        if self._landmarks.indeterminate:
            lines.append(_("Indeterminate: {reasons}").format(reasons=" ".join(self._landmarks.indeterminate)))
        if self._image.mm_per_unit is None:
            lines.append(_("Not calibrated: angles and ratios only"))
        return (*lines, _("Research software, not a medical device"))

    def _provenance(self) -> dict[str, str]:
        provenance = self._landmarks.provenance
        return provenance.for_file() if provenance is not None else {}

    def _is_ready(self) -> bool:
        if self._landmarks.plane_points():
            return True
        self._say("", ExplainedError(_("There is nothing to export yet."), _("Place landmarks first.")))
        return False

    def _write(self, title: str, ending: str, make: Callable[[], bytes]) -> None:
        """Ask where to, then make and write it in a thread."""
        chosen = str(
            qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, f"{title}{ending}", f"{title} (*{ending})")
        )
        if not chosen:
            return
        path = Path(chosen if chosen.lower().endswith(ending) else chosen + ending)

        def work(_errand: Errand[str]) -> str:
            try:
                path.write_bytes(make())
            except OSError as error:
                raise ExplainedError(
                    _("{path} could not be written ({error}).").format(path=path, error=error.strerror),
                    _("Choose another folder."),
                ) from error
            return str(path)

        def done(written: str) -> None:
            self._say(_("Written: {path}").format(path=written), None)

        self._background.run(work, done, lambda error: self._say("", error))
